"""What a wait does with its watch and its head, against a watch that says what a script has for it."""

import logging
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from dagster_ray.core import Deadline
from dagster_ray.kuberay._head.route import Route
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._kubernetes.watch import WatchEvent
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.wait import ClusterWait, Reach

NEW: dict[str, Any] = {
    "metadata": {"name": "train", "uid": "u", "resourceVersion": "1"},
    "spec": {"rayClusterSpec": {}},
}
HEAD = {"serviceName": "c-head-svc", "podName": "c-head", "podIP": "10.0.0.7"}


def seen(word: str) -> dict[str, Any]:
    cluster = {"head": HEAD, "endpoints": {"client": "10001", "dashboard": "8265"}}
    return {**NEW, "status": {"jobDeploymentStatus": word, "rayClusterName": "c", "rayClusterStatus": cluster}}


SUSPENDED = {**NEW, "status": {"jobDeploymentStatus": "Suspended"}}
HAS_ADDRESS, READY = seen("Initializing"), seen("Waiting")


class Stream:
    """A watch; None is a round in which nothing happens."""

    absence = None

    def __init__(self, script: list[Mapping[str, Any] | None]) -> None:
        self.script = script

    def next(self, _seconds: float) -> WatchEvent | None:
        found = self.script.pop(0) if self.script else None
        return None if found is None else WatchEvent("MODIFIED", found)

    def close(self) -> None:
        """Nothing is open."""


def run(monkeypatch: pytest.MonkeyPatch, script: list[Mapping[str, Any] | None]) -> list[int]:
    """Wait through a port-forward; return how much of the script was left at each dial."""
    stream, dials = Stream(script), list[int]()

    def accepts(_route: Route, _deadline: Deadline) -> bool:
        dials.append(len(stream.script))
        return True

    def watch(*_: object, **__: object) -> Stream:
        return stream

    monkeypatch.setattr(Route, "accepts", accepts)
    api: Any = SimpleNamespace(in_cluster=False, watch=watch)
    reach = Reach("port_forward", None, queue_timeout=60)
    ClusterWait(api, created(RAYJOBS, "ns", NEW), reach, logging.getLogger("waits")).run(Deadline(30))
    return dials


def test_a_queue_is_shown_however_short_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waits")
    run(monkeypatch, [SUSPENDED, READY])
    assert [message for message in caplog.messages if "suspended" in message], caplog.messages


def test_an_open_port_of_a_head_with_tls_says_nothing_before_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert run(monkeypatch, [HAS_ADDRESS, None, None, READY]) == [0]


def test_a_head_without_tls_is_taken_as_soon_as_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "0")
    assert run(monkeypatch, [HAS_ADDRESS, None, None, READY]) == [2]

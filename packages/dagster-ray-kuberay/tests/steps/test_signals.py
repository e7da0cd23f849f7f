"""SIGTERM and SIGKILL of a step in each phase, and the death of its head: what is left of its cluster, who ends it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from fault_world import PATIENCE_SECONDS, eventually, left, simulated
from typing_extensions import override

from dagster_ray.kuberay._sharing.locks import Lock, locks_of
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault, Simulator

pytestmark = pytest.mark.many_processes
SCRIPT = str(Path(__file__).with_name("step_process.py"))


class Step(subprocess.Popen[str]):
    """A step in a process of its own, which does not outlive its test."""

    @override
    def __exit__(self, *error: Any) -> None:
        self.kill()
        super().__exit__(*error)


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def started(simulator: Simulator, backend: str, *words: str, cpus: int = 1) -> Step:
    cluster: dict[str, Any] = {"headGroupSpec": head_group(cpus=cpus, memory="2Gi"), "workerGroupSpecs": []}
    own: dict[str, dict[str, Any]] = {
        "job": {"ray_job": {"spec": {"rayClusterSpec": cluster}}},
        "cluster": {"ray_cluster": {"spec": cluster}, "cluster_sharing": {"enabled": True, "ttl_seconds": 3600}},
    }
    fields = {"kubeconfig_file": str(simulator.kubeconfig), "timeout": 300, **own[backend]}
    return Step(
        [sys.executable, SCRIPT, backend, json.dumps(fields), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def asked(simulator: Simulator, method: str, part: str) -> bool:
    return any(request.method == method and part in request.path for request in simulator.requests)


def in_create(simulator: Simulator, backend: str) -> Step:
    """The POST is under way."""
    simulator.faults.add(Fault(method="POST", path="ray.io", delay_seconds=2))
    process = started(simulator, backend)
    eventually(lambda: asked(simulator, "POST", "ray.io"))
    return process


def in_wait(simulator: Simulator, backend: str) -> Step:
    """The head fits nowhere."""
    process = started(simulator, backend, cpus=10_000)
    eventually(lambda: asked(simulator, "GET", "watch=true") and simulator.store.list("pods"))
    return process


def said(process: Step, text: str) -> None:
    assert process.stdout is not None
    assert any(text in line for line in iter(process.stdout.readline, ""))


def in_connect(simulator: Simulator, backend: str) -> Step:
    """The head takes connections and never answers the driver."""
    process = started(simulator, backend, "connect")
    said(process, "the head accepts drivers")
    return process


def in_body(simulator: Simulator, backend: str) -> Step:
    """The step runs."""
    process = started(simulator, backend)
    said(process, "the body runs")
    return process


def in_cleanup(simulator: Simulator, backend: str) -> Step:
    """A first SIGTERM has ended the body; the cluster is being deleted, and the API server is busy."""
    simulator.faults.add(Fault(method="DELETE", status=503, times=3))
    process = in_body(simulator, backend)
    process.send_signal(signal.SIGTERM)
    eventually(lambda: asked(simulator, "DELETE", "ray.io"))
    return process


Reach: TypeAlias = Callable[[Simulator, str], Step]
PHASES: dict[str, Reach] = {
    "create": in_create,
    "wait": in_wait,
    "connect": in_connect,
    "body": in_body,
    "cleanup": in_cleanup,
}


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigterm_leaves_no_cluster(simulator: Simulator, reach: Reach) -> None:
    with reach(simulator, "job") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not simulator.store.list("rayjobs") and not left(simulator))


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigkill_leaves_a_rayjob_that_the_operator_will_end(simulator: Simulator, reach: Reach) -> None:
    """No driver connects here, so the limit before Running is what ends it: the timeout and a minute."""
    with reach(simulator, "job") as process:
        process.kill()
        process.wait(PATIENCE_SECONDS)
    eventually(lambda: simulator.store.list("rayjobs"))
    (job,) = simulator.store.list("rayjobs")
    assert job["spec"]["preRunningDeadlineSeconds"] == 360
    assert job["spec"]["shutdownAfterJobFinishes"] is True


UNUSED = {"create": in_create, "wait": in_wait}


@pytest.mark.parametrize("reach", UNUSED.values(), ids=UNUSED)
def test_sigterm_before_a_shared_cluster_serves_leaves_none(simulator: Simulator, reach: Reach) -> None:
    """Its maker deletes it, since nobody else holds it; also one whose POST was interrupted."""
    with reach(simulator, "cluster") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not simulator.store.list("rayclusters"))


@pytest.mark.parametrize(
    "stop", [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGKILL, id="SIGKILL")]
)
def test_a_shared_cluster_outlives_a_step_that_is_stopped_by_the_time_of_its_lock(
    simulator: Simulator, stop: signal.Signals
) -> None:
    with in_body(simulator, "cluster") as process:
        process.send_signal(stop)
        assert process.wait(PATIENCE_SECONDS) != 0
    (cluster,) = simulator.store.list("rayclusters")
    (lock,) = locks_of(cluster)
    assert isinstance(lock, Lock)
    assert lock.ttl_seconds == 3600


def test_a_head_that_dies_under_a_connected_step_fails_it_and_leaves_no_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a real head. Ray Client tries to come back for as long as its own variable says, then gives up."""
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
    with Simulator() as simulator, started(simulator, "job", "connect") as process:
        said(process, "the body runs")
        for pod in simulator.store.list("pods"):
            simulator.kubelet.kill_pod("default", pod["metadata"]["name"])
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(PATIENCE_SECONDS) != 0
        assert left(simulator) == []

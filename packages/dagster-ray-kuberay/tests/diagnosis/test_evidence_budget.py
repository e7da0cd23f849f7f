"""What an error needs to know is read within a budget, however long the API server takes."""

import logging
from pathlib import Path
from typing import Any

import pytest
from scripted_server import Reply, ScriptedServer, answer
from test_kubernetes import kubeconfig

from dagster_ray.core import Deadline
from dagster_ray.kuberay._diagnosis import evidence
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._status.cluster_state import created

AWAY: Reply = answer(503, {"message": "away"})


class NoTime(Deadline):
    """Notes the budgets that reads are given, and lets each be tried once."""

    budgets: list[float] = []  # noqa: RUF012 - one list for all, cleared by each test

    def __init__(self, budget_seconds: float, *more: Any) -> None:
        self.budgets.append(budget_seconds)
        super().__init__(0.0, *more)


@pytest.mark.parametrize(
    ("allowed", "given"), [pytest.param(2.0, 2.0, id="little is left"), pytest.param(60.0, 5.0, id="much is left")]
)
def test_all_reads_share_what_is_left(
    allowed: float, given: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "Deadline", NoTime)
    NoTime.budgets.clear()
    manifest = {"metadata": {"name": "a", "uid": "u", "namespace": "ray"}}
    with ScriptedServer(AWAY) as server:
        api = KubernetesApi.load(kubeconfig(tmp_path, server.url))
        found = Evidence(api, created(RAYJOBS, "ray", manifest), logging.getLogger("test"))
        found.look(Question(manifest=manifest, cluster="c"), allowed)
        found.head_log(Question(manifest=manifest, cluster="c"), allowed)
        api.close()
    assert NoTime.budgets == [given, given]

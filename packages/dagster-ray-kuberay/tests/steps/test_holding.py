"""A step that failed holds its cluster for some time, which the operator ends by itself."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from fault_world import eventually, left, resource, simulated, with_late_worker
from pydantic import ValidationError

from dagster_ray.core import Deadline, RayResource, StepOutcome
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._kubernetes.fields import time_of
from dagster_ray.kuberay._steps.holding import holding_patch, why_not_held
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault, Simulator

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
ENDS = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 60}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(ENDS, None, id="the operator deletes the cluster"),
        pytest.param({"shutdownAfterJobFinishes": False}, "never delete", id="nobody would"),
        pytest.param({}, "never delete", id="nothing is said"),
        pytest.param({**ENDS, "deletionStrategy": {"onFailure": {}}}, "`deletionStrategy`", id="a strategy"),
        pytest.param({**ENDS, "clusterSelector": {"ray.io/cluster": "a"}}, "exists without it", id="another's cluster"),
    ],
)
def test_only_what_ends_by_itself_is_held(spec: dict[str, Any], words: str | None) -> None:
    found = why_not_held(spec)
    assert found is None if words is None else words in str(found)


def test_the_operator_deletes_the_cluster_when_the_time_has_run_out() -> None:
    assert holding_patch(900, NOW) == {
        "metadata": {
            "annotations": {"dagster/held-until": "2026-01-01T12:15:30Z"},
            "labels": {"dagster/outcome": "failed"},
        },
        "spec": {"ttlSecondsAfterFinished": 900},
    }
    assert holding_patch(0.5, NOW)["spec"] == {"ttlSecondsAfterFinished": 1}, "0 would delete it at once"


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_a_cluster_is_held_for_a_day_at_most(seconds: float) -> None:
    with pytest.raises(ValidationError, match="hold_on_failure"):
        KubeRayInteractiveJob(hold_on_failure=seconds)


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def pods_of(simulator: Simulator) -> list[str]:
    return [pod["metadata"]["name"] for pod in simulator.store.list("pods")]


def failing(
    simulator: Simulator, outcome: StepOutcome = StepOutcome.FAILED, *, loses_head: bool = False, **more: Any
) -> str:
    """Run a step whose driver, of which only the end is played, is connected until it fails; return the log."""

    @dg.asset
    def step(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
        assert isinstance(ray_cluster, KubeRayInteractiveJob)
        if loses_head:
            (pod,) = simulator.store.list("pods")
            simulator.store.delete("pods", "default", pod["metadata"]["name"])
            eventually(lambda: pod["metadata"]["name"] not in {*pods_of(simulator)} and pods_of(simulator))
        ray_cluster.before_disconnect(context, outcome, Deadline(10))
        raise ValueError("told to fail")

    with dg.DagsterInstance.ephemeral() as instance:
        given = {"hold_on_failure": 900, **more}
        cluster = resource(simulator, **given)
        result = dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance, raise_on_error=False)
        return "\n".join(str(entry) for entry in instance.all_logs(result.run_id))


@pytest.mark.many_processes
def test_a_failed_step_holds_its_cluster_and_says_until_when(simulator: Simulator) -> None:
    log = failing(simulator)
    (rayjob,) = simulator.store.list("rayjobs")
    assert len(left(simulator)) == 2
    until = rayjob["metadata"]["annotations"]["dagster/held-until"]
    assert time_of(until)
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == 900
    name = rayjob["metadata"]["name"]
    assert f"is held until {until} because of hold_on_failure" in log
    assert f"kubectl delete rayjob -n default {name}" in log


@pytest.mark.many_processes
@pytest.mark.parametrize("outcome", [StepOutcome.INTERRUPTED, StepOutcome.RETRY_REQUESTED])
def test_other_ends_hold_nothing(simulator: Simulator, outcome: StepOutcome) -> None:
    assert "is held" not in failing(simulator, outcome)
    assert left(simulator) == []


@pytest.mark.many_processes
def test_what_cannot_be_held_is_deleted(simulator: Simulator) -> None:
    simulator.faults.add(Fault(method="PATCH", status=422))
    log = failing(simulator)
    assert "is not held although hold_on_failure is set" in log
    assert left(simulator) == []


@pytest.mark.many_processes
def test_a_cluster_whose_head_was_lost_is_deleted_since_the_operator_would_see_no_end(simulator: Simulator) -> None:
    log = failing(simulator, loses_head=True)
    assert "is not held: its head was lost, and the operator would never see an end." in log
    assert "is held until" not in log
    assert left(simulator) == []


LATE: dict[str, Any] = {"rayClusterSpec": with_late_worker({"headGroupSpec": head_group(cpus=1, memory="2Gi")})}
ON_FAILURE = {"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED", "ttlSeconds": 5}}


@pytest.mark.many_processes
@pytest.mark.parametrize(
    ("version", "spec", "more", "words"),
    [
        pytest.param("1.4.2", LATE, {}, "is not held: a pod is missing", id="hold_on_failure before KubeRay 1.6"),
        pytest.param(
            "1.7.0",
            {**LATE, "shutdownAfterJobFinishes": False, "deletionStrategy": {"deletionRules": [ON_FAILURE]}},
            {"hold_on_failure": 0},
            "the operator would never see the failure",
            id="deletion rules for a failed job",
        ),
    ],
)
def test_what_nobody_would_end_since_a_pod_is_missing_is_deleted(
    version: str, spec: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with simulated(version) as simulator:
        log = failing(simulator, spec=spec, **more)
        assert words in log
        assert left(simulator) == []

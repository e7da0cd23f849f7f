"""Spot nodes on the simulator: a step is tried again on a new cluster, and its own faults are not."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Generator
from typing import Any

import dagster as dg
import pytest
from fault_world import fields, left, resource, simulated

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob
from dagster_ray.simulator import Fault, Simulator

pytestmark = pytest.mark.many_processes  # make test runs them

BROKEN = "Failed during this or a previous request. Exception that broke the connection: <StatusCode.UNAVAILABLE>"


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def preempt(simulator: Simulator) -> None:
    """Take the head's node away, as a cloud does with a spot node: the pod goes, and events remain."""
    (pod,) = simulator.store.list("pods")
    about = {"kind": "Pod", "namespace": "default", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    simulator.store.create(
        "events",
        {
            "metadata": {"name": f"{about['name']}.1", "namespace": "default"},
            "involvedObject": about,
            "reason": "TaintManagerEviction",
            "message": "Marking for deletion Pod",
        },
    )
    simulator.kubelet.kill_pod("default", pod["metadata"]["name"])


def crash(simulator: Simulator) -> None:
    """Let the head's container run out of memory."""
    (pod,) = simulator.store.list("pods")
    end = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    simulator.operator.freeze()
    status = {**pod["status"], "containerStatuses": [{"name": "ray-head", "restartCount": 1, "lastState": end}]}
    simulator.store.replace_status("pods", {**pod, "status": status})


def retried(
    simulator: Simulator, happens: Callable[[Simulator], None], times: int, retries: int = 2, **more: Any
) -> tuple[bool, list[dict[str, Any]], int, str]:
    """Run a step in whose first attempts something happens that breaks its connection; return what came of it."""

    @dg.asset
    def model(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
        assert isinstance(ray_cluster, KubeRayInteractiveJob)
        if context.retry_number < times:
            happens(simulator)
            raise ConnectionError(BROKEN)

    lifecycle = Lifecycle(connect=False, cleanup="on_exception", retry_infrastructure=retries)
    with dg.DagsterInstance.ephemeral() as instance:
        cluster = resource(simulator, lifecycle=lifecycle, **more)
        result = dg.materialize([model], resources={"ray_cluster": cluster}, instance=instance, raise_on_error=False)
        entries = instance.all_logs(result.run_id)
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    told = [
        {key: value.value for key, value in event.engine_event_data.metadata.items()}
        for event in events
        if event.is_engine_event and "dagster_ray/failure_class" in event.engine_event_data.metadata
    ]
    made = sum(event.is_step_materialization for event in events)
    return result.success, told, made, "\n".join(str(entry) for entry in entries)


def test_two_preemptions_and_then_success_give_one_materialization(simulator: Simulator) -> None:
    success, told, made, log = retried(simulator, preempt, 2)
    assert success, log
    assert made == 1
    assert [one["dagster_ray/infrastructure_retry"] for one in told] == [1, 2]
    assert {one["dagster_ray/failure_class"] for one in told} == {"infrastructure"}
    assert all("Marking for deletion Pod" in one["dagster_ray/failure"] for one in told), told
    clusters = [one["dagster_ray/cluster"] for one in told]
    assert len(set(clusters)) == 2
    posts = [request for request in simulator.requests if request.method == "POST" and "rayjobs" in request.path]
    assert len(posts) == 3
    assert len([name for name in left(simulator) if name.partition("/")[0] in {c.split("/")[1] for c in clusters}]) == 0


def test_a_head_without_memory_is_the_steps_own_failure(simulator: Simulator) -> None:
    success, told, made, log = retried(simulator, crash, 1)
    simulator.operator.thaw()
    assert not success
    assert made == 0
    (one,) = told
    assert one["dagster_ray/failure_class"] == "user", log
    assert "was killed for want of memory" in one["dagster_ray/failure"]


def test_a_set_up_during_an_outage_is_tried_again(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_ray.core._resource._CLEANUP_SECONDS", 2.0)
    simulator.faults.add(Fault(method="POST", path=r"/rayjobs", status=503, times=8))
    success, told, made, log = retried(simulator, preempt, 0, retries=5, timeout=2, preflight="off")
    assert success, log
    assert made == 1
    assert {one["dagster_ray/failure_class"] for one in told} == {"infrastructure"}


def test_a_cluster_of_its_own_begins_again_too(simulator: Simulator) -> None:
    given = fields(simulator)
    spec = given.pop("ray_job")["spec"]["rayClusterSpec"]
    given["lifecycle"] = Lifecycle(connect=False, cleanup="always", retry_infrastructure=1)
    cluster = KubeRayCluster(ray_cluster={"spec": spec}, **given)  # pyright: ignore[reportArgumentType]

    @dg.asset
    def model(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
        if context.retry_number == 0:
            preempt(simulator)
            raise ConnectionError(BROKEN)

    assert dg.materialize([model], resources={"ray_cluster": cluster}).success
    assert left(simulator) == []

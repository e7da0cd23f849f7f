"""A step's cluster on Kubernetes, from the resource to the first remote task and to its end. Knows no target."""

# Dagster's and Ray's decorators are typed in part only.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import ray
from cluster_targets import ClusterTarget, eventually
from ray import cloudpickle

from dagster_ray.core import RayResource
from dagster_ray.kuberay.groups import head_group, worker_group

# A cluster does not have this file, so its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@ray.remote
def sum_of_squares_in_slice(start: int, end: int) -> int:
    return sum(i**2 for i in range(start, end))


@dg.asset
def sum_of_squares(ray_cluster: RayResource) -> int:
    slices = [sum_of_squares_in_slice.remote(start, start + 250) for start in (1, 251, 501, 751)]
    return sum(ray.get(slices))


@pytest.fixture(autouse=True)
def clean(target: ClusterTarget) -> None:
    """A test starts without what an earlier one has kept."""
    target.delete_all()


def one_rayjob(target: ClusterTarget) -> dict[str, Any]:
    (found,) = target.objects("rayjobs")
    return dict(found)


SMALL = {
    "shutdownAfterJobFinishes": True,
    "ttlSecondsAfterFinished": 1,
    "rayClusterSpec": {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2), "workerGroupSpecs": []},
}


def test_the_defaults_compute_the_tutorials_asset(target: ClusterTarget) -> None:
    """Tasks run on a worker that the autoscaler adds; the head takes none."""
    cluster = target.resource()
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([sum_of_squares], resources={"ray_cluster": cluster}, instance=instance)
        logged = [entry.dagster_event for entry in instance.all_logs(result.run_id) if entry.dagster_event]
    assert result.output_for_node("sum_of_squares") == 333833500
    events = [event for event in logged if event.event_type_value == "ENGINE_EVENT"]
    metadata = {key: value.value for event in events for key, value in event.engine_event_data.metadata.items()}
    assert str(metadata["dagster_ray/cluster"]).startswith(f"RayJob {target.namespace}/")
    assert metadata["dagster_ray/job_id"]


def test_a_rayjob_says_whose_it_is_and_after_success_the_operator_deletes_its_cluster(target: ClusterTarget) -> None:
    cluster = target.resource(spec=SMALL)
    assert dg.materialize([sum_of_squares], resources={"ray_cluster": cluster}).success
    eventually(lambda: not target.objects("rayclusters"), "the RayCluster is deleted")
    rayjob = one_rayjob(target)
    status = rayjob["status"]
    assert (status["jobDeploymentStatus"], status["jobStatus"]) == ("Complete", "SUCCEEDED")
    labels = rayjob["metadata"]["labels"]
    assert labels["app.kubernetes.io/managed-by"] == "dagster-ray"
    assert labels["dagster/resource-key"] == "ray_cluster"
    assert labels["dagster/step-key"] == "sum_of_squares"


@ray.remote
def refuse_odd(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def test_two_steps_have_two_clusters_and_leave_none_but_evidence(target: ClusterTarget, tmp_path: Path) -> None:
    """One step succeeds under `always`, the other one fails under the default lifecycle."""
    seen: list[str] = []

    @dg.asset(name="other")
    def other(ray_cluster: RayResource) -> None:
        seen.append(ray_cluster.display_name)
        ray.get(refuse_odd.remote(3))

    @dg.asset(name="one")
    def one(ray_cluster: RayResource) -> None:
        seen.append(ray_cluster.display_name)

    for asset, lifecycle, succeeds in ((one, {"lifecycle": {"cleanup": "always"}}, True), (other, {}, False)):
        cluster = target.resource(spec=SMALL, hours=True, evidence=str(tmp_path), **lifecycle)
        with dg.DagsterInstance.ephemeral() as instance:
            resources = {"ray_cluster": cluster}
            result = dg.materialize([asset], resources=resources, instance=instance, raise_on_error=False)
            figures = figures_of(instance, result.run_id)
        assert result.success is succeeds
        assert figures["dagster_ray/cpu_hours"] > 0
        assert figures["dagster_ray/usage_samples"] > 0
        assert 0 <= figures["dagster_ray/cpu_used_share"] <= 1
        assert figures["dagster_ray/peak_memory_gib"] > 0
        eventually(lambda: not target.objects("rayjobs"), "the RayJob is deleted")
        eventually(lambda: not target.objects("rayclusters"), "the RayCluster is deleted")
    assert len(set(seen)) == 2
    (index,) = tmp_path.rglob("index.md")  # the step that succeeded has left none
    assert "- **Cause**: task refuse_odd failed: ValueError: 3 is odd" in index.read_text(encoding="utf-8")
    assert "error_type: TASK_EXECUTION_EXCEPTION" in (index.parent / "tasks.yaml").read_text(encoding="utf-8")


def figures_of(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """Return what the event about the figures of a run's cluster says."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event is not None]
    (found,) = [event for event in events if (event.message or "").startswith("Figures of ")]
    return {key: value.value for key, value in found.engine_event_data.metadata.items()}


def test_workers_are_waited_for_when_asked(target: ClusterTarget) -> None:
    """Every pod is ready when the driver connects, so the first task finds its CPU."""
    spec = {
        **SMALL,
        "rayClusterSpec": {
            "headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=0),
            "workerGroupSpecs": [worker_group("w", cpus=1, memory="2Gi", min_replicas=1, max_replicas=1)],
        },
    }

    @dg.asset
    def cpus(ray_cluster: RayResource) -> float:
        # A slow worker's first report to the GCS may come after its pod is ready.
        eventually(lambda: ray.cluster_resources().get("CPU"), "the worker's CPU is there")
        return ray.cluster_resources()["CPU"]

    result = dg.materialize([cpus], resources={"ray_cluster": target.resource(spec=spec, wait_for="workers")})
    assert result.output_for_node("cpus") >= 1


def test_an_image_that_does_not_exist_fails_the_step_and_leaves_nothing(target: ClusterTarget) -> None:
    cluster = target.resource(spec=SMALL, image="rayproject/ray:missing")
    result = dg.materialize([sum_of_squares], resources={"ray_cluster": cluster}, raise_on_error=False)
    assert not result.success
    assert "cannot start (ErrImagePull)" in str(result.all_events) or "ImagePullBackOff" in str(result.all_events)
    eventually(lambda: not target.objects("rayjobs"), "the RayJob is deleted")

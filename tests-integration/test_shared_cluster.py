"""Steps and runs on one RayCluster: taken warm, kept under a lock, collected when the lock is over. Knows no target."""

# Dagster's and Ray's decorators are typed in part only.
# pyright: reportUnknownMemberType=false, reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import sys
from typing import Any

import dagster as dg
import pytest
import ray
from cluster_targets import ClusterTarget, eventually
from ray import cloudpickle

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster, build_cleanup_sensor
from dagster_ray.kuberay.groups import head_group

# A cluster does not have this file, so its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SMALL = {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2), "workerGroupSpecs": []}


@ray.remote
def square(number: int) -> int:
    return number * number


@dg.asset
def squares(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dict[str, object]:
    return {"cluster": ray_cluster.display_name, "sum": sum(ray.get([square.remote(n) for n in range(4)]))}


@pytest.fixture(autouse=True)
def clean(target: ClusterTarget) -> None:
    """A test starts without what an earlier one has kept."""
    target.delete_all()


def test_two_runs_meet_on_one_cluster_and_the_sensor_ends_it(target: ClusterTarget) -> None:
    """The second run finds the cluster of the first; a tick leaves it to its lock, and deletes it after that."""
    given = target.cluster_fields(spec=SMALL, cluster_sharing={"enabled": True, "ttl_seconds": 10})
    sensor = build_cleanup_sensor(
        namespaces=[target.namespace], kubeconfig_file=target.kubeconfig, kube_context=target.context
    )
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> str:
            result: Any = sensor(dg.build_sensor_context(instance=instance))
            return str(result.skip_reason.skip_message)

        found: list[dict[str, object]] = []
        for _ in range(2):
            resources = {"ray_cluster": KubeRayCluster(**given)}
            result = dg.materialize([squares], resources=resources, instance=instance)
            found.append(result.output_for_node("squares"))
            assert len(target.objects("rayclusters")) == 1
            assert "the time that its last step left has not run out" in tick()
        assert found[0] == found[1]
        assert found[0]["sum"] == 14
        eventually(lambda: "its last lock ended" in tick(), "the lock is over, and the sensor deletes the cluster")
        eventually(lambda: not target.objects("rayclusters"), "the RayCluster is deleted")


def test_a_cluster_of_its_own_goes_with_its_step(target: ClusterTarget) -> None:
    result = dg.materialize([squares], resources={"ray_cluster": KubeRayCluster(**target.cluster_fields(spec=SMALL))})
    assert result.output_for_node("squares")["sum"] == 14
    eventually(lambda: not target.objects("rayclusters"), "the RayCluster is deleted")

"""KubeRayCluster passes the conformance kit, shared and adopting, on the simulator with real local Ray heads."""

from collections.abc import Generator, Mapping
from importlib.metadata import version
from typing import Any

import pytest
from kit_objects import CALL_SECONDS, exists, opened
from typing_extensions import override

from dagster_ray.core import Deadline, RayResource
from dagster_ray.core.testing import Capability, ExistingCluster, RayResourceContract
from dagster_ray.kuberay import KubeRayCluster, RayClusterConfig
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Simulator

SHARED = {"enabled": True, "ttl_seconds": 3600}


@pytest.fixture(scope="module")
def kubeconfig() -> Generator[str]:
    with Simulator() as simulator:
        yield str(simulator.kubeconfig)


def config(cpus: int, **metadata: str) -> dict[str, Any]:
    group = head_group(cpus=cpus, memory="2Gi", num_cpus=2)
    return {"spec": {"headGroupSpec": group, "workerGroupSpecs": []}, "metadata": metadata}


@pytest.mark.weekly_except(
    "test_it_has_every_member_of_ray_resource",
    "test_a_misspelled_field_is_refused",
    "test_the_lifecycle_that_was_given_is_kept",
    "test_reading_it_before_connect_raises_not_connected_error",
    "test_it_can_be_named_before_it_is_connected",
    "test_the_step_gets_the_defaults_of_the_code_location",
    "test_nothing_is_created_for_a_run_that_has_ended",
    "test_what_remote_tasks_print_reaches_the_step",
    "test_two_resources_of_one_configuration_meet",
    "test_the_first_to_leave_does_not_end_a_shared_cluster",
    "test_a_cluster_that_exists_already_is_used_and_not_deleted",
)
class TestSharedCluster(RayResourceContract):
    # The cleanup sensor deletes a shared cluster, not the step.
    lacks = frozenset({Capability.CLEANUP, Capability.KEPT_CLUSTER})

    @pytest.fixture
    @override
    def fields(self, kubeconfig: str) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"kubeconfig_file": kubeconfig}

    @pytest.fixture
    @override
    def existing(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, kubeconfig: str
    ) -> ExistingCluster:
        name = "theirs"
        wish = RenderInput(name=name, namespace="default", image="rayproject/ray", ray_version=version("ray"))
        manifest = render_raycluster(RayClusterConfig(**config(1)).plain(), wish)
        cluster = f"{kubeconfig} default/{name}"
        if not exists(RAYCLUSTERS, cluster):
            with opened(cluster) as (api, namespace, _):
                api.create(RAYCLUSTERS, namespace, manifest, Deadline(CALL_SECONDS))
        return ExistingCluster(cluster, {"named": name})

    @classmethod
    @override
    def make(cls, **fields: Any) -> RayResource:
        name = fields.pop("named", None)
        own: dict[str, Any] = {"ray_cluster": config(1, name=name)} if name else {"cluster_sharing": SHARED}
        given: dict[str, Any] = {"ray_cluster": config(1), **own, **fields}
        return KubeRayCluster(**given)

    @classmethod
    @override
    def make_never_ready(cls, **fields: Any) -> RayResource:
        given: dict[str, Any] = {"ray_cluster": config(10_000), "cluster_sharing": SHARED, **fields}
        return KubeRayCluster(**given)

    @classmethod
    @override
    def cluster_id(cls, resource: RayResource) -> str:
        """Return all that another process needs to look for it."""
        assert isinstance(resource, KubeRayCluster)
        return f"{resource.kubeconfig_file} {resource.display_name.removeprefix('RayCluster ')}"

    @classmethod
    @override
    def cluster_exists(cls, cluster: str) -> bool:
        return exists(RAYCLUSTERS, cluster)

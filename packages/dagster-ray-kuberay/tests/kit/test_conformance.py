"""KubeRayInteractiveJob passes the conformance kit, on the simulator with real local Ray heads."""

from collections.abc import Generator, Mapping
from typing import Any

import pytest
from kit_objects import CALL_SECONDS, exists, opened
from typing_extensions import override

from dagster_ray.core import Deadline, RayResource
from dagster_ray.core.testing import Capability, RayResourceContract
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Simulator


@pytest.fixture(scope="module")
def kubeconfig() -> Generator[str]:
    with Simulator() as simulator:
        yield str(simulator.kubeconfig)


def spec(cpus: int) -> dict[str, Any]:
    group = head_group(cpus=cpus, memory="2Gi", num_cpus=2)
    return {"spec": {"rayClusterSpec": {"headGroupSpec": group, "workerGroupSpecs": []}}}


class TestInteractiveJob(RayResourceContract):
    # A cluster belongs to one step.
    lacks = frozenset({Capability.SHARING, Capability.ADOPTION})

    @pytest.fixture
    @override
    def fields(self, kubeconfig: str) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"kubeconfig_file": kubeconfig}

    @classmethod
    @override
    def make(cls, **fields: Any) -> RayResource:
        given: dict[str, Any] = {"ray_job": spec(1), **fields}
        return KubeRayInteractiveJob(**given)

    @classmethod
    @override
    def make_never_ready(cls, **fields: Any) -> RayResource:
        given: dict[str, Any] = {"ray_job": spec(10_000), **fields}
        return KubeRayInteractiveJob(**given)

    @classmethod
    @override
    def cluster_id(cls, resource: RayResource) -> str:
        """Return all that another process needs to look for it."""
        assert isinstance(resource, KubeRayInteractiveJob)
        return f"{resource.kubeconfig_file} {resource.display_name.removeprefix('RayJob ')}"

    @classmethod
    @override
    def cluster_exists(cls, cluster: str) -> bool:
        return exists(RAYJOBS, cluster)

    @classmethod
    @override
    def discard(cls, cluster: str) -> None:
        with opened(cluster) as (api, namespace, name):
            api.delete(RAYJOBS, namespace, name, Deadline(CALL_SECONDS))

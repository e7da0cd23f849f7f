"""LocalRay passes the conformance kit, with Ray in the step's process and with a shared cluster."""

# pyright: reportUnknownMemberType=false

import socket
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import ray
from typing_extensions import override

from dagster_ray.core import RayResource, StepOutcome
from dagster_ray.core.testing import Capability, ExistingCluster, RayResourceContract
from dagster_ray.local import LocalRay


class LocalRayContract(RayResourceContract):
    share = False

    @classmethod
    @override
    def make(cls, **fields: Any) -> RayResource:
        # Only the runs with the default lifecycle look at the dashboard; the others do without its processes.
        cheap: dict[str, Any] = {"ray_init_options": {"include_dashboard": False}} if "lifecycle" in fields else {}
        return LocalRay(num_cpus=2, share=cls.share, **{**cheap, **fields})

    @classmethod
    @override
    def cluster_id(cls, resource: RayResource) -> str:
        return resource.address

    @classmethod
    @override
    def cluster_exists(cls, cluster: str) -> bool:
        host, _, port = cluster.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True


class TestInProcess(LocalRayContract):
    # A cluster of its own is what it starts. It never waits for one, so it has no deadline to miss but Ray's.
    # Its driver is native already.
    lacks = frozenset({Capability.SHARING, Capability.DEADLINE, Capability.DRIVER_IN_CLUSTER})

    @classmethod
    @override
    def discard(cls, cluster: str) -> None:
        ray.shutdown()

    @pytest.fixture
    @override
    def existing(self) -> Iterator[ExistingCluster]:  # pyright: ignore[reportIncompatibleMethodOverride]
        context: Any = ray.init(num_cpus=2)
        yield ExistingCluster(context.address_info["gcs_address"])
        ray.shutdown()


@pytest.mark.weekly_except(
    "test_it_has_every_member_of_ray_resource",
    "test_the_lifecycle_that_was_given_is_kept",
    "test_it_can_be_named_before_it_is_connected",
    "test_two_resources_of_one_configuration_meet",
    "test_the_first_to_leave_does_not_end_a_shared_cluster",
    "test_sigterm_ends_the_run_in_time",
)
class TestShared(LocalRayContract):
    share = True
    # A cluster that the lifecycle keeps is kept for the other steps of the process, and ends with the process.
    lacks = frozenset({Capability.DEADLINE, Capability.KEPT_CLUSTER, Capability.DRIVER_IN_CLUSTER})

    @pytest.fixture
    @override
    def existing(self) -> Iterator[ExistingCluster]:  # pyright: ignore[reportIncompatibleMethodOverride]
        resource = self.make(lifecycle={"cleanup": "always"})  # as those that shall meet it
        context = dg.build_init_resource_context()
        resource.create(context)
        yield ExistingCluster(resource.address)
        resource.cleanup(context, StepOutcome.SUCCEEDED)

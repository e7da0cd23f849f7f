"""The backend passes dagster-ray's conformance kit, by either kind of address."""

from collections.abc import Mapping
from typing import Any

import pytest
from ray_head import RayHead, free_ports, listens

from dagster_ray.core import RayResource
from dagster_ray.core.testing import Capability, ExistingCluster, RayResourceContract
from ray_address_backend import RayAddress, RayAddressWithJobs


class AddressContract(RayResourceContract):
    """It makes no cluster, so it deletes none."""

    lacks = frozenset({Capability.CLEANUP, Capability.DRIVER_IN_CLUSTER})

    @classmethod
    def make(cls, **fields: Any) -> RayResource:
        return RayAddress(**fields)

    @classmethod
    def cluster_id(cls, resource: RayResource) -> str:
        return resource.address

    @classmethod
    def cluster_exists(cls, cluster: str) -> bool:
        return listens(int(cluster.rpartition(":")[2]))

    @classmethod
    def make_never_ready(cls, **fields: Any) -> RayResource:
        return cls.make(**{**fields, "ray_address": f"ray://127.0.0.1:{free_ports(1)[0]}"})

    @pytest.fixture
    def existing(self, fields: Mapping[str, Any]) -> ExistingCluster:
        return ExistingCluster(fields["ray_address"])


class TestByRayClient(AddressContract):
    """Through the Ray Client server."""

    @pytest.fixture
    def fields(self, ray_head: RayHead) -> Mapping[str, Any]:
        return {"ray_address": ray_head.client_address}


# In this repository, `make test` runs of this class what differs from the one above, and `make weekly` the rest.
@pytest.mark.weekly_except(
    "test_it_has_every_member_of_ray_resource",
    "test_the_address_is_one_that_drivers_connect_to",
    "test_remote_tasks_run",
    "test_what_remote_tasks_print_reaches_the_step",
    "test_a_body_runs_inside_the_cluster",
)
class TestByGcsAddress(AddressContract):
    """As a driver on a machine of the cluster, or inside it."""

    lacks = AddressContract.lacks - {Capability.DRIVER_IN_CLUSTER}

    @classmethod
    def make(cls, **fields: Any) -> RayResource:
        return RayAddressWithJobs(**fields)

    @pytest.fixture
    def fields(self, ray_head: RayHead) -> Mapping[str, Any]:
        return {"ray_address": ray_head.gcs_address, "job_server": ray_head.job_server}

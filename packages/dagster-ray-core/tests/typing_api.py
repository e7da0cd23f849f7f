"""What type checkers see of the public interface. This file is checked, never run."""

from typing import assert_type

import dagster as dg
from typing_extensions import override

from dagster_ray.core import BaseRayResource, CleanupPolicy, DagsterContext, Deadline, RayResource, StepOutcome


class SomeBackend(BaseRayResource):
    """What a third party writes."""

    queue: str = "gpu"

    @property
    @override
    def address(self) -> str:
        return "ray://head:10001"

    @property
    @override
    def display_name(self) -> str:
        return f"Job {self.queue}"

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None: ...

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None: ...


_: RayResource = SomeBackend(queue="cpu", timeout=60)


@dg.asset
def train(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
    """What a user writes."""
    assert_type(ray_cluster.address, str)
    assert_type(ray_cluster.dashboard_url, str | None)
    assert_type(ray_cluster.job_id, str)
    assert_type(ray_cluster.lifecycle.create, bool)
    assert_type(ray_cluster.lifecycle.cleanup, CleanupPolicy)
    assert_type(ray_cluster.context.dashboard_url, str | None)
    ray_cluster.create(context)
    ray_cluster.wait(context)
    ray_cluster.connect(context)

"""A backend for tests of `driver="cluster"`: a job server by its address, and workers that need no Ray."""

import dagster as dg

from dagster_ray.core import DagsterContext, Deadline, Lifecycle, StepOutcome
from dagster_ray.pipes import RayJobClient
from dagster_ray.pipes._follower import Patience
from dagster_ray.pipes.drivers import ClusterDriverResource, Place, RunSettings


class WatchedRay(ClusterDriverResource):
    """With `connect=False` neither the step's process nor the worker calls `ray.init`."""

    url: str
    termination_seconds: float = 20.0
    drain_seconds: float = 20.0

    @property
    def address(self) -> str:
        return "10.0.0.1:6379"

    @property
    def display_name(self) -> str:
        return "Ray for tests"

    @property
    def job_settings(self) -> RunSettings:
        patience = Patience(server_seconds=120.0, drain_seconds=self.drain_seconds)
        return RunSettings(termination_seconds=self.termination_seconds, patience=patience)

    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None: ...

    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None: ...

    def job_place(self, context: dg.OpExecutionContext) -> Place:
        return Place(RayJobClient(self.url, timeout=120.0))


def watched(url: str, driver: str, **fields: object) -> WatchedRay:
    lifecycle = fields.pop("lifecycle", Lifecycle(connect=False))
    return WatchedRay(url=url, driver=driver, lifecycle=lifecycle, **fields)  # pyright: ignore[reportArgumentType]

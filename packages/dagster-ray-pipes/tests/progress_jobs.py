"""A job whose body seems to use Ray Data, in the cluster of a dashboard that tests script."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import sys
from types import ModuleType

import dagster as dg
from typing_extensions import override
from watched_ray import WatchedRay

from dagster_ray.core import Lifecycle, RayResource

JOB_ID = "02000000"


class WithDashboard(WatchedRay):
    """Its workers call no `ray.init`, which would tell them the dashboard and the driver's id."""

    @property
    @override
    def dashboard_url(self) -> str:
        return self.url

    @property
    @override
    def job_id(self) -> str:
        return JOB_ID


@dg.op
def reads(ray_cluster: RayResource) -> None:
    assert ray_cluster.dashboard_url
    sys.modules["ray.data"] = ModuleType("ray.data")


@dg.job
def reader() -> None:
    reads()


def job_of(url: str, progress: str) -> dg.JobDefinition:
    """Return the job; the worker calls this, too."""
    fields = {"url": url, "driver": "cluster", "lifecycle": Lifecycle(connect=False), "progress": progress}
    ray = WithDashboard(**fields)  # pyright: ignore[reportArgumentType]
    return dg.Definitions(jobs=[reader], resources={"ray_cluster": ray}).resolve_job_def("reader")

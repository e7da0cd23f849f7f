"""Submit Ray jobs from Dagster: with Pipes, or each step as a job.

Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry

if TYPE_CHECKING:
    from dagster_ray.pipes._client import PipesRayJobClient, RayPipesClient
    from dagster_ray.pipes._executor.executor import ray_executor
    from dagster_ray.pipes._executor.run_launcher import RayRunLauncher
    from dagster_ray.pipes._job_answers import JobDetails, Node, ServerVersion
    from dagster_ray.pipes._job_client import RayJobClient
    from dagster_ray.pipes._job_run import CompletedRayJob
    from dagster_ray.pipes._reader import PipesRayJobMessageReader
    from dagster_ray.pipes._submission import RayJob

__all__ = [
    "CompletedRayJob",
    "JobDetails",
    "Node",
    "PipesRayJobClient",
    "PipesRayJobMessageReader",
    "RayJob",
    "RayJobClient",
    "RayPipesClient",
    "RayRunLauncher",
    "ServerVersion",
    "ray_executor",
]

__version__ = version("dagster-ray-pipes")
DagsterLibraryRegistry.register("dagster-ray-pipes", __version__, is_dagster_package=False)


# What loads with its first use: a backend whose resources inherit from `drivers` needs none of it to be configured.
_LATER = {
    "CompletedRayJob": "_job_run",
    "JobDetails": "_job_answers",
    "Node": "_job_answers",
    "PipesRayJobClient": "_client",
    "PipesRayJobMessageReader": "_reader",
    "RayJob": "_submission",
    "RayJobClient": "_job_client",
    "RayPipesClient": "_client",
    "RayRunLauncher": "_executor.run_launcher",
    "ServerVersion": "_job_answers",
    "ray_executor": "_executor.executor",
}
_MODULES = ("clients", "drivers", "errors", "executors")


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, *_MODULES))

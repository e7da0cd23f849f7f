"""Submit Ray jobs from Dagster: with Pipes, or each step as a job.

Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.pipes._client import PipesRayJobClient, RayPipesClient
from dagster_ray.pipes._executor.executor import ray_executor
from dagster_ray.pipes._invocation import CompletedRayJob
from dagster_ray.pipes._job_answers import JobDetails, Node, ServerVersion
from dagster_ray.pipes._job_client import RayJobClient
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
    "ServerVersion",
    "ray_executor",
]

__version__ = version("dagster-ray-pipes")
DagsterLibraryRegistry.register("dagster-ray-pipes", __version__, is_dagster_package=False)


def __dir__() -> list[str]:
    return sorted((*__all__, "clients", "errors"))

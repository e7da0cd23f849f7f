"""Ray on the machine of the Dagster step. Importing this package does not import ray."""

from importlib.metadata import version

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.local._local_ray import LocalRay, LocalRayComponent
from dagster_ray.local.errors import SharedClusterError

__all__ = ["Lifecycle", "LocalRay", "LocalRayComponent", "RayResource", "SharedClusterError"]

__version__ = version("dagster-ray-local")
DagsterLibraryRegistry.register("dagster-ray-local", __version__, is_dagster_package=False)


def __dir__() -> list[str]:
    return sorted((*__all__, "errors"))

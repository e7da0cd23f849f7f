"""Ray clusters for Dagster steps on Kubernetes with KubeRay.

`KubeRayInteractiveJob` gives a step a cluster of its own. Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, InteractiveRayJobSpec

__all__ = [
    "InteractiveRayJobConfig",
    "InteractiveRayJobSpec",
    "KubeRayInteractiveJob",
    "Lifecycle",
    "RayResource",
]

__version__ = version("dagster-ray-kuberay")
DagsterLibraryRegistry.register("dagster-ray-kuberay", __version__, is_dagster_package=False)

"""Ray clusters for Dagster steps on Kubernetes with KubeRay.

`KubeRayInteractiveJob` gives a step a cluster of its own, `KubeRayCluster` also one that steps share, and
`PipesKubeRayJobClient` runs a script as a Ray job on one.
Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay._cluster import KubeRayCluster
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob
from dagster_ray.kuberay.configs import ClusterSharing, InteractiveRayJobConfig, InteractiveRayJobSpec, RayClusterConfig

if TYPE_CHECKING:
    from dagster_ray.kuberay._pipes_client import KubeRayClientOptions, PipesKubeRayJobClient

__all__ = [
    "ClusterSharing",
    "InteractiveRayJobConfig",
    "InteractiveRayJobSpec",
    "KubeRayClientOptions",
    "KubeRayCluster",
    "KubeRayInteractiveJob",
    "Lifecycle",
    "PipesKubeRayJobClient",
    "RayClusterConfig",
    "RayResource",
]

__version__ = version("dagster-ray-kuberay")
DagsterLibraryRegistry.register("dagster-ray-kuberay", __version__, is_dagster_package=False)


def __getattr__(name: str) -> object:
    # requests and Dagster's Pipes load with the first use: most code locations need only the resource.
    if name in {"KubeRayClientOptions", "PipesKubeRayJobClient"}:
        from dagster_ray.kuberay import _pipes_client

        return getattr(_pipes_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

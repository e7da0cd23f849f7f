"""Ray clusters for Dagster steps on Kubernetes with KubeRay.

`KubeRayInteractiveJob` gives a step a cluster of its own, `KubeRayCluster` also one that steps share or a warm one of
a pool, and `PipesKubeRayJobClient` runs a script as a Ray job on one. `cleanup_expired_rayclusters` deletes what is
left over.
Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.core import Lifecycle, RayResource, SecretRef
from dagster_ray.kuberay._cluster import KubeRayCluster
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob
from dagster_ray.kuberay.configs import (
    ClusterPool,
    ClusterSharing,
    InteractiveRayJobConfig,
    InteractiveRayJobSpec,
    PoolSize,
    Price,
    RayClusterConfig,
    RayClusterSpec,
)

if TYPE_CHECKING:
    from dagster_ray.kuberay._collector.job import delete_rayclusters, delete_rayclusters_op
    from dagster_ray.kuberay._collector.sensor import build_cleanup_sensor, cleanup_expired_rayclusters
    from dagster_ray.kuberay._component import KubeRayComponent
    from dagster_ray.kuberay._pipes.client import PipesKubeRayJobClient
    from dagster_ray.kuberay._runs.executor import kuberay_executor
    from dagster_ray.kuberay._runs.run_launcher import KubeRayRunLauncher
    from dagster_ray.kuberay.groups import head_group, worker_group

__all__ = [
    "ClusterPool",
    "ClusterSharing",
    "InteractiveRayJobConfig",
    "InteractiveRayJobSpec",
    "KubeRayCluster",
    "KubeRayComponent",
    "KubeRayInteractiveJob",
    "KubeRayRunLauncher",
    "Lifecycle",
    "PipesKubeRayJobClient",
    "PoolSize",
    "Price",
    "RayClusterConfig",
    "RayClusterSpec",
    "RayResource",
    "SecretRef",
    "build_cleanup_sensor",
    "cleanup_expired_rayclusters",
    "delete_rayclusters",
    "delete_rayclusters_op",
    "head_group",
    "kuberay_executor",
    "worker_group",
]

__version__ = version("dagster-ray-kuberay")
DagsterLibraryRegistry.register("dagster-ray-kuberay", __version__, is_dagster_package=False)


# What loads with its first use. requests, Dagster's Pipes and its components take long, and most code locations need
# only the resource; the sensor and the job are definitions, which read the environment when they are made.
_LATER = {
    "KubeRayComponent": "_component",
    "KubeRayRunLauncher": "_runs.run_launcher",
    "PipesKubeRayJobClient": "_pipes.client",
    "build_cleanup_sensor": "_collector.sensor",
    "cleanup_expired_rayclusters": "_collector.sensor",
    "delete_rayclusters": "_collector.job",
    "delete_rayclusters_op": "_collector.job",
    "head_group": "groups",
    "kuberay_executor": "_runs.executor",
    "worker_group": "groups",
}
_MODULES = ("accelerators", "configs", "errors", "groups")


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster finds components by the names that a registered module lists.
    return sorted((*__all__, *_MODULES))

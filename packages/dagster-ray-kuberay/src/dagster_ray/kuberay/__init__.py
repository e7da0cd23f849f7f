"""Ray clusters for Dagster steps on Kubernetes with KubeRay.

Holds no backend yet: only the names that a KubeRay deployment shares with every other one.
Importing this package imports neither ray nor kubernetes.
"""

from importlib.metadata import version

from dagster_shared.libraries import DagsterLibraryRegistry

from dagster_ray.core import Lifecycle, RayResource

__all__ = ["Lifecycle", "RayResource"]

__version__ = version("dagster-ray-kuberay")
DagsterLibraryRegistry.register("dagster-ray-kuberay", __version__, is_dagster_package=False)

import subprocess
import sys

from dagster_shared.libraries import DagsterLibraryRegistry

import dagster_ray.kuberay


def test_the_public_names_are_these() -> None:
    """A new name is a promise: it comes with a changelog fragment."""
    assert dagster_ray.kuberay.__all__ == [
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
    assert all(hasattr(dagster_ray.kuberay, name) for name in dagster_ray.kuberay.__all__)


def test_dagster_knows_the_distribution_and_its_version() -> None:
    assert DagsterLibraryRegistry.get()["dagster-ray-kuberay"] == dagster_ray.kuberay.__version__


def test_the_import_loads_neither_ray_nor_kubernetes() -> None:
    code = "import sys, dagster_ray.kuberay; print([name for name in ('ray', 'kubernetes') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"

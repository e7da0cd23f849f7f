import subprocess
import sys

from dagster_shared.libraries import DagsterLibraryRegistry

import dagster_ray.local


def test_the_public_names_are_these() -> None:
    """A new name is a promise: it comes with a changelog fragment."""
    assert dagster_ray.local.__all__ == [
        "Lifecycle",
        "LocalRay",
        "LocalRayComponent",
        "RayResource",
        "SharedClusterError",
    ]
    assert all(hasattr(dagster_ray.local, name) for name in dagster_ray.local.__all__)


def test_dagster_knows_the_distribution_and_its_version() -> None:
    assert DagsterLibraryRegistry.get()["dagster-ray-local"] == dagster_ray.local.__version__


def test_the_import_loads_neither_ray_nor_kubernetes() -> None:
    code = "import sys, dagster_ray.local; print([name for name in ('ray', 'kubernetes') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"

import subprocess
import sys

from dagster_shared.libraries import DagsterLibraryRegistry

import dagster_ray.pipes


def test_the_public_names_are_these() -> None:
    """A new name is a promise: it comes with a changelog fragment."""
    assert dagster_ray.pipes.__all__ == [
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
    assert all(hasattr(dagster_ray.pipes, name) for name in dagster_ray.pipes.__all__)


def test_dagster_knows_the_distribution_and_its_version() -> None:
    assert DagsterLibraryRegistry.get()["dagster-ray-pipes"] == dagster_ray.pipes.__version__


def test_the_import_loads_nothing_that_only_a_job_needs() -> None:
    heavy = ("ray", "kubernetes", "requests", "pathspec")
    code = f"import sys, dagster_ray.pipes; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"

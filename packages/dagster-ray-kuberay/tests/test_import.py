import subprocess
import sys

from dagster_shared.libraries import DagsterLibraryRegistry

import dagster_ray.kuberay


def test_the_public_names_are_sorted_and_exist() -> None:
    names = dagster_ray.kuberay.__all__
    assert names == sorted(names)
    assert all(hasattr(dagster_ray.kuberay, name) for name in names)


def test_dagster_knows_the_distribution_and_its_version() -> None:
    assert DagsterLibraryRegistry.get()["dagster-ray-kuberay"] == dagster_ray.kuberay.__version__


def test_the_import_loads_neither_ray_nor_kubernetes() -> None:
    code = "import sys, dagster_ray.kuberay; print([name for name in ('ray', 'kubernetes') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"

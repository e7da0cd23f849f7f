"""What importing the package does to a Python process, and what it does not do."""

import subprocess
import sys
from importlib.metadata import version


def run_python(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_loads_neither_ray_nor_kubernetes_and_registers_the_version() -> None:
    source = """
import sys
import dagster_ray.core
from dagster_shared.libraries import DagsterLibraryRegistry

names = [getattr(dagster_ray.core, name) for name in dagster_ray.core.__all__]
heavy = {module.partition(".")[0] for module in sys.modules} & {"ray", "kubernetes", "grpc_status", "pandas"}
print(len(names) > 0, sorted(heavy), DagsterLibraryRegistry.get()["dagster-ray-core"], dagster_ray.core.__version__)
"""
    installed = version("dagster-ray-core")
    assert run_python(source) == f"True [] {installed} {installed}"


def test_dagster_accepts_the_protocol_after_the_import_of_the_package_alone() -> None:
    source = """
import dagster as dg
from dagster_ray.core import RayResource

@dg.asset
def train(ray_cluster: RayResource) -> None: ...

print("ray_cluster" in train.required_resource_keys)
"""
    assert run_python(source) == "True"

"""What a module offers is what `dir()` lists, so that editors propose no stranger."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

PUBLIC = (
    *("core", "core.errors", "core.failures", "core.testing", "core.variables", "local", "local.errors"),
    *("kuberay", "kuberay.accelerators", "kuberay.configs", "kuberay.errors", "kuberay.groups"),
    *("pipes", "pipes.clients", "pipes.drivers", "pipes.errors", "simulator"),
)


@pytest.mark.parametrize("name", [f"dagster_ray.{name}" for name in PUBLIC])
def test_a_module_lists_what_it_offers_and_nothing_else(name: str) -> None:
    module = importlib.import_module(name)
    offered = set(module.__all__)
    below = {each.name for each in pkgutil.iter_modules(getattr(module, "__path__", [])) if each.name[0] != "_"}
    listed = set(dir(module))
    assert offered <= listed
    assert listed - offered <= below
    assert all(hasattr(module, each) for each in listed)


@pytest.mark.parametrize("name", ["accelerators", "configs", "errors", "groups"])
def test_the_modules_of_the_kuberay_package_are_attributes(name: str) -> None:
    code = f"import dagster_ray.kuberay as k; print(k.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"dagster_ray.kuberay.{name}\n"

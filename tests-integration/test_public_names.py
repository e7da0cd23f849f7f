"""What a module offers is what `dir()` lists, so that editors propose no stranger."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

FAMILY = importlib.import_module("dagster_ray")
# A command and a plug-in of pytest are no libraries.
NOT_FOR_IMPORT = ("dagster_ray.kuberay.command", "dagster_ray.simulator.fixtures")


def public_modules(paths: list[str], prefix: str) -> Iterator[str]:
    for module in pkgutil.iter_modules(paths, prefix):
        if module.name.rpartition(".")[2].startswith("_") or module.name in NOT_FOR_IMPORT:
            continue
        yield module.name
        if module.ispkg:
            yield from public_modules(list(importlib.import_module(module.name).__path__), f"{module.name}.")


@pytest.mark.parametrize("name", sorted(public_modules(list(FAMILY.__path__), "dagster_ray.")))
def test_a_module_lists_what_it_offers_and_nothing_else(name: str) -> None:
    module = importlib.import_module(name)
    offered = set(module.__all__)
    below = {each.name for each in pkgutil.iter_modules(getattr(module, "__path__", [])) if each.name[0] != "_"}
    listed = set(dir(module))
    assert offered <= listed
    assert listed - offered <= below
    assert all(hasattr(module, each) for each in listed)


@pytest.mark.parametrize("name", ["configs", "errors", "groups"])
def test_the_modules_of_the_kuberay_package_are_attributes(name: str) -> None:
    code = f"import dagster_ray.kuberay as k; print(k.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"dagster_ray.kuberay.{name}\n"

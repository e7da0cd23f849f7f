"""Fixtures for pytest: `pytest_plugins = ["dagster_ray.simulator.fixtures"]`.

`kuberay_simulator` is one simulator for the session, with real Ray heads; `kuberay_namespace` is a namespace of it that
one test has for itself. A project that wants another version or no Ray defines `kuberay_simulator` anew.
"""

import itertools
from collections.abc import Generator

import pytest

from dagster_ray.simulator._simulator import Simulator

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kuberay_simulator() -> Generator[Simulator]:
    """Yield a simulator of the newest KubeRay with real Ray heads, one for the session."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def kuberay_namespace(kuberay_simulator: Simulator) -> Generator[str]:
    """Yield an empty namespace of the simulator; it goes after the test, with all that is in it and every fault."""
    name = f"test-{next(_numbers)}"
    kuberay_simulator.add_namespace(name)
    yield name
    kuberay_simulator.faults.clear()
    kuberay_simulator.remove_namespace(name)

"""A fixture for pytest: `pytest_plugins = ["dagster_ray.kuberay.testing.fixtures"]`."""

from collections.abc import Generator

import pytest

from dagster_ray.kuberay.testing._simulator import Simulator


@pytest.fixture(scope="session")
def kuberay_simulator() -> Generator[Simulator]:
    """Yield a simulator of the newest KubeRay with real Ray heads, one for the session."""
    with Simulator() as simulator:
        yield simulator

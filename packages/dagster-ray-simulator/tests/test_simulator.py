"""The simulator as a whole: its kubeconfig and its fixtures."""

import stat
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from dagster_ray.simulator import KubeletOptions, PodTimes, Simulator
from dagster_ray.simulator.fixtures import kuberay_namespace

__all__ = ["kuberay_namespace"]


@pytest.fixture(scope="module")
def kuberay_simulator() -> Generator[Simulator]:
    options = KubeletOptions(times=PodTimes(probe_grid_seconds=None))
    with Simulator(fake_heads=True, kubelet_options=options) as simulator:
        yield simulator


def test_the_kubeconfig_is_for_its_owner_alone_and_goes_with_the_simulator() -> None:
    before = set(threading.enumerate())
    with Simulator(fake_heads=True) as simulator:
        file = simulator.kubeconfig
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert yaml.safe_load(file.read_text())["clusters"][0]["cluster"]["server"] == simulator.url
    assert not file.exists()
    assert set(threading.enumerate()) <= before


def test_a_kubeconfig_of_another_cluster_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("current-context: production\n")
    with pytest.raises(FileExistsError, match="another cluster"), Simulator(fake_heads=True, kubeconfig=file):
        pass
    assert file.read_text() == "current-context: production\n"


def test_a_kubeconfig_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("current-context: simulator\n")
    file.chmod(0o644)
    with Simulator(fake_heads=True, operator=False, kubeconfig=file) as simulator:
        assert simulator.url in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()


def test_a_namespace_of_the_fixture_is_empty(kuberay_simulator: Simulator, kuberay_namespace: str) -> None:
    assert kuberay_simulator.store.list("rayjobs", kuberay_namespace) == []
    kuberay_simulator.store.create("secrets", {"metadata": {"name": "left", "namespace": kuberay_namespace}})
    kuberay_simulator.faults.deny("list", "pods")


def test_nothing_of_the_test_before_is_left(kuberay_simulator: Simulator, kuberay_namespace: str) -> None:
    assert kuberay_simulator.store.list("secrets") == []
    assert kuberay_simulator.access.denied == set()
    assert kuberay_simulator.store.get("namespaces", "", kuberay_namespace) is not None

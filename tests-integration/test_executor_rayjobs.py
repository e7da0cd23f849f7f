"""Runs of `kuberay_executor` whose steps have a RayJob each, on real Ray heads of the simulator.

The steps share files and a SQLite database with the run, so that the heads must be on this machine.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cluster_targets import eventually
from dagster._utils.interrupts import capture_interrupts
from driver_steps import SPEC
from run_jobs import reconstructable

from dagster_ray.simulator import Simulator

pytestmark = [
    pytest.mark.weekly,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*:Warning"),
]
PACKAGES = Path(__file__).parents[1] / "packages"
FOLDERS = [str(PACKAGES / f"dagster-ray-{name}") for name in ("pipes/tests", "kuberay/tests/runs")]


@pytest.fixture(scope="module")
def simulator() -> Generator[Simulator]:
    with Simulator() as found:
        yield found


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


def execute(instance: dg.DagsterInstance, simulator: Simulator, folder: Path, name: str) -> dg.JobExecutionResult:
    spec = {"rayClusterSpec": SPEC, "ttlSecondsAfterFinished": 1}
    kuberay: dict[str, Any] = {"kubeconfig_file": str(simulator.kubeconfig), "ray_job": {"spec": spec}}
    ray = {"env_vars": [f"PYTHONPATH={os.pathsep.join(FOLDERS)}"], "num_cpus": 1}
    config = {"execution": {"config": {"ray": ray, "kuberay": kuberay}}}
    job = reconstructable(name, folder, "kuberay")
    return dg.execute_job(job, instance, run_config=config, raise_on_error=False)


def test_a_run_that_is_terminated_stops_its_steps_and_leaves_nothing(
    instance: dg.DagsterInstance, simulator: Simulator, tmp_path: Path
) -> None:
    def terminate() -> None:
        eventually(lambda: len(list(tmp_path.glob("asleep-*"))) == 2, "both steps run")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with capture_interrupts():
        run = execute(instance, simulator, tmp_path, "sleeping")
    assert not run.success
    own = [job for job in simulator.store.list("rayjobs") if job["metadata"]["labels"]["dagster/run-id"] == run.run_id]
    assert all("deletionTimestamp" in job["metadata"] for job in own)
    eventually(lambda: not simulator.store.list("rayclusters"), "the operator deletes the clusters")

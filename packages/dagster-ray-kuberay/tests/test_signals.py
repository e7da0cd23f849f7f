"""SIGTERM and SIGKILL of a step in each phase: what is left of its cluster, and who ends it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from fault_world import PATIENCE_SECONDS, eventually, left, simulated

from dagster_ray.kuberay.groups import head_group
from dagster_ray.kuberay.testing import Fault, Simulator

SCRIPT = str(Path(__file__).with_name("step_process.py"))


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def started(simulator: Simulator, cpus: int = 1) -> subprocess.Popen[str]:
    cluster: dict[str, Any] = {"headGroupSpec": head_group(cpus=cpus, memory="2Gi"), "workerGroupSpecs": []}
    fields = {
        "kubeconfig_file": str(simulator.kubeconfig),
        "timeout": 300,
        "ray_job": {"spec": {"rayClusterSpec": cluster}},
    }
    return subprocess.Popen(
        [sys.executable, SCRIPT, json.dumps(fields)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def asked(simulator: Simulator, method: str, part: str) -> bool:
    return any(request.method == method and part in request.path for request in simulator.requests)


def in_create(simulator: Simulator) -> subprocess.Popen[str]:
    """The POST is under way."""
    simulator.faults.add(Fault(method="POST", delay_seconds=2))
    process = started(simulator)
    eventually(lambda: asked(simulator, "POST", "rayjobs"))
    return process


def in_wait(simulator: Simulator) -> subprocess.Popen[str]:
    """The head fits nowhere."""
    process = started(simulator, cpus=10_000)
    eventually(lambda: asked(simulator, "GET", "watch=true") and len(left(simulator)) == 2)
    return process


def in_body(simulator: Simulator) -> subprocess.Popen[str]:
    """The step runs."""
    process = started(simulator)
    assert process.stdout is not None
    assert "the body runs" in process.stdout.readline()
    return process


PHASES = {"create": in_create, "wait": in_wait, "body": in_body}


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigterm_leaves_no_cluster(simulator: Simulator, reach: Callable[[Simulator], subprocess.Popen[str]]) -> None:
    with reach(simulator) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not simulator.store.list("rayjobs") and not left(simulator))


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigkill_leaves_a_rayjob_that_the_operator_will_end(
    simulator: Simulator, reach: Callable[[Simulator], subprocess.Popen[str]]
) -> None:
    """Nobody patched a job id, so the limit before Running is what ends it: the timeout and a minute."""
    with reach(simulator) as process:
        process.kill()
        process.wait(PATIENCE_SECONDS)
    eventually(lambda: simulator.store.list("rayjobs"))
    (job,) = simulator.store.list("rayjobs")
    assert job["spec"]["preRunningDeadlineSeconds"] == 360
    assert job["spec"]["shutdownAfterJobFinishes"] is True

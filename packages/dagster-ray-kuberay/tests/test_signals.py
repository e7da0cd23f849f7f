"""SIGTERM and SIGKILL of a step in each phase: what is left of its cluster, and who ends it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from fault_world import PATIENCE_SECONDS, eventually, left, simulated

from dagster_ray.kuberay._locks import Lock, locks_of
from dagster_ray.kuberay.groups import head_group
from dagster_ray.kuberay.testing import Fault, Simulator

SCRIPT = str(Path(__file__).with_name("step_process.py"))


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def started(simulator: Simulator, backend: str, cpus: int = 1) -> subprocess.Popen[str]:
    cluster: dict[str, Any] = {"headGroupSpec": head_group(cpus=cpus, memory="2Gi"), "workerGroupSpecs": []}
    own: dict[str, dict[str, Any]] = {
        "job": {"ray_job": {"spec": {"rayClusterSpec": cluster}}},
        "cluster": {"ray_cluster": {"spec": cluster}, "cluster_sharing": {"enabled": True, "ttl_seconds": 3600}},
    }
    fields = {"kubeconfig_file": str(simulator.kubeconfig), "timeout": 300, **own[backend]}
    return subprocess.Popen(
        [sys.executable, SCRIPT, backend, json.dumps(fields)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def asked(simulator: Simulator, method: str, part: str) -> bool:
    return any(request.method == method and part in request.path for request in simulator.requests)


def in_create(simulator: Simulator, backend: str) -> subprocess.Popen[str]:
    """The POST is under way."""
    simulator.faults.add(Fault(method="POST", delay_seconds=2))
    process = started(simulator, backend)
    eventually(lambda: asked(simulator, "POST", "ray.io"))
    return process


def in_wait(simulator: Simulator, backend: str) -> subprocess.Popen[str]:
    """The head fits nowhere."""
    process = started(simulator, backend, cpus=10_000)
    eventually(lambda: asked(simulator, "GET", "watch=true") and simulator.store.list("pods"))
    return process


def in_body(simulator: Simulator, backend: str) -> subprocess.Popen[str]:
    """The step runs."""
    process = started(simulator, backend)
    assert process.stdout is not None
    assert "the body runs" in process.stdout.readline()
    return process


Reach: TypeAlias = Callable[[Simulator, str], subprocess.Popen[str]]
PHASES: dict[str, Reach] = {"create": in_create, "wait": in_wait, "body": in_body}


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigterm_leaves_no_cluster(simulator: Simulator, reach: Reach) -> None:
    with reach(simulator, "job") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not simulator.store.list("rayjobs") and not left(simulator))


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigkill_leaves_a_rayjob_that_the_operator_will_end(simulator: Simulator, reach: Reach) -> None:
    """Nobody patched a job id, so the limit before Running is what ends it: the timeout and a minute."""
    with reach(simulator, "job") as process:
        process.kill()
        process.wait(PATIENCE_SECONDS)
    eventually(lambda: simulator.store.list("rayjobs"))
    (job,) = simulator.store.list("rayjobs")
    assert job["spec"]["preRunningDeadlineSeconds"] == 360
    assert job["spec"]["shutdownAfterJobFinishes"] is True


UNUSED = {"create": in_create, "wait": in_wait}


@pytest.mark.parametrize("reach", UNUSED.values(), ids=UNUSED)
def test_sigterm_before_a_shared_cluster_serves_leaves_none(simulator: Simulator, reach: Reach) -> None:
    """Its maker deletes it, since nobody else holds it; also one whose POST was interrupted."""
    with reach(simulator, "cluster") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not simulator.store.list("rayclusters"))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_shared_cluster_outlives_a_step_that_is_stopped_by_the_time_of_its_lock(
    simulator: Simulator, stop: signal.Signals
) -> None:
    with in_body(simulator, "cluster") as process:
        process.send_signal(stop)
        assert process.wait(PATIENCE_SECONDS) != 0
    (cluster,) = simulator.store.list("rayclusters")
    (lock,) = locks_of(cluster)
    assert isinstance(lock, Lock)
    assert lock.ttl_seconds == 3600

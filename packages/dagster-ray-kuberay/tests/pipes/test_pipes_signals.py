"""SIGTERM and SIGKILL of a Pipes step in each phase, and what a retry makes of it. Without Ray."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pipes_step_process
import pytest
from fault_world import PATIENCE_SECONDS, eventually
from pipes_world import PipesWorld, pipes_world
from typing_extensions import override

from dagster_ray.simulator import Fault

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

SCRIPT = str(Path(pipes_step_process.__file__))


class Step(subprocess.Popen[bytes]):
    """A step in a process of its own, which does not outlive its test."""

    @override
    def __exit__(self, *error: Any) -> None:
        self.kill()
        super().__exit__(*error)


@pytest.fixture
def world() -> Generator[PipesWorld]:
    with pipes_world() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def started(world: PipesWorld, **more: Any) -> Step:
    options = json.dumps(world.options(**more))
    return Step(
        [sys.executable, SCRIPT],
        env={**os.environ, "PIPES_OPTIONS": options},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def in_create(world: PipesWorld, **more: Any) -> Step:
    """The POST of the RayJob is under way."""
    world.simulator.faults.add(Fault(method="POST", path="/rayjobs", delay_seconds=2))
    process = started(world, **more)
    eventually(lambda: any(r.method == "POST" and "/rayjobs" in r.path for r in world.simulator.requests))
    return process


def in_wait(world: PipesWorld, **more: Any) -> Step:
    """The head does not fit yet."""
    process = started(world, cpus=10_000, **more)
    eventually(lambda: world.rayjobs() and world.simulator.store.list("pods"))
    return process


def in_job(world: PipesWorld, **more: Any) -> Step:
    """The job runs."""
    process = started(world, **more)
    eventually(lambda: world.jobs and world.rayjobs()[0]["spec"].get("jobId"))
    return process


PHASES = {"create": in_create, "wait": in_wait, "job": in_job}


@pytest.mark.parametrize("reach", PHASES.values(), ids=PHASES)
def test_sigterm_stops_the_job_and_leaves_no_cluster(world: PipesWorld, home: Path, reach: Callable[..., Step]) -> None:
    with reach(world, hold_on_failure=900) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not world.simulator.store.list("rayjobs"))
    asked = [r for r in world.simulator.requests if r.method == "DELETE"]
    assert len(asked) == 1


def test_with_forwarding_off_the_job_outlives_the_step(world: PipesWorld, home: Path) -> None:
    with in_job(world, forward_termination=False) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    assert [job["status"] for job in world.jobs] == ["PENDING"]
    assert len(world.rayjobs()) == 1
    retry(world)


def test_with_forwarding_off_a_cluster_without_a_job_does_not_stay(world: PipesWorld, home: Path) -> None:
    with in_wait(world, forward_termination=False) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) != 0
    eventually(lambda: not world.simulator.store.list("rayjobs"))


@pytest.mark.parametrize("reach", [pytest.param(in_create, id="create"), pytest.param(in_job, id="job")])
def test_a_retry_of_a_killed_step_goes_on_with_its_rayjob(
    world: PipesWorld, home: Path, reach: Callable[[PipesWorld], Step]
) -> None:
    with reach(world) as process:
        process.kill()
        process.wait(PATIENCE_SECONDS)
    eventually(world.rayjobs)
    retry(world)


def retry(world: PipesWorld) -> None:
    """Re-execute the run from its failure while its job succeeds: one RayJob, one job, one materialization."""
    os.environ["PIPES_OPTIONS"] = json.dumps(world.options())
    job = dg.reconstructable(pipes_step_process.pipes_job)
    with dg.DagsterInstance.get() as instance, world.ending("SUCCEEDED"):
        (first,) = instance.get_runs()
        options = dg.ReexecutionOptions(parent_run_id=first.run_id)
        # UI and daemon set this tag for a re-execution from failure.
        tags = {"dagster/is_resume_retry": "true"}
        with dg.execute_job(job, instance, tags=tags, reexecution_options=options) as result:
            assert result.success
        made = instance.fetch_materializations(dg.AssetKey("computed"), limit=10).records
    assert len(made) == 1
    assert len(world.rayjobs()) == len(world.jobs) == 1
    (rayjob,) = world.rayjobs()
    assert rayjob["metadata"]["labels"]["dagster/run-id"] == result.run_id, "the run that follows it decides about it"
    assert "dagster/alive-at" in rayjob["metadata"]["annotations"]
    posts = [r for r in world.simulator.requests if r.method == "POST" and "/rayjobs" in r.path]
    assert len(posts) == 1


def test_a_retry_on_a_selected_cluster_with_a_token_reads_the_token_again(
    world: PipesWorld, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = {"spec": {"containers": [{"name": "ray-head", "image": "rayproject/ray:2.60.0"}]}}
    head = {"rayStartParams": {}, "template": template}
    spec = {"rayVersion": "2.60.0", "headGroupSpec": head, "authOptions": {"mode": "token"}}
    made = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "mine", "namespace": "default"}}
    world.simulator.store.create("rayclusters", {**made, "spec": spec})
    monkeypatch.setenv("PIPES_JOB", '{"cluster_selector": "mine"}')
    with in_job(world) as process:
        process.kill()
        process.wait(PATIENCE_SECONDS)
    retry(world)

"""A job of a Pipes client meets a fault: on any job server, and on a RayJob of its own."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import dagster as dg
import pytest
from driver_without_ray import when
from fake_job_server import FakeJobServer, fake_job_server
from faulty_steps import HEAD_ALONE, FaultyWorld, Lasting, Outcome, faulty_world

from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.pipes import PipesRayJobClient, RayPipesClient
from dagster_ray.simulator import Fault

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

Feature: TypeAlias = Literal["pipes", "pipes on a RayJob"]
FEATURES: tuple[Feature, ...] = ("pipes", "pipes on a RayJob")
DOWN_SECONDS = 60.0
BURST_SECONDS = 20.0
OUTAGE_SECONDS = 300.0


@dataclass
class PipesWorld:
    """A job server, and a simulated cluster whose heads' dashboards it is."""

    steps: FaultyWorld
    server: FakeJobServer

    def client(self, feature: Feature, **more: Any) -> RayPipesClient:
        """Return a client of the job server."""
        if feature == "pipes":
            return PipesRayJobClient(self.server.url, **more)
        ports = [{"name": "dashboard", "containerPort": self.server.server_port}]
        container = {"name": "ray-head", "ports": ports}
        head = {**HEAD_ALONE["headGroupSpec"], "template": {"spec": {"containers": [container]}}}
        return PipesKubeRayJobClient(
            {"spec": {"rayClusterSpec": {**HEAD_ALONE, "headGroupSpec": head}}},
            kubeconfig_file=str(self.steps.simulator.kubeconfig),
            access="direct",
            head_host="127.0.0.1",
            **more,
        )

    def lasting(self, seconds: float, **fields: Any) -> None:
        """Let calls of the job server fail, from the first that is met for some seconds of accelerated time."""
        fault = Lasting(self.steps.clock, seconds, **fields)
        self.server.faults.append(fault)

        def pass_by() -> None:
            self.steps.clock.until(lambda: fault.hits, "a call meets the fault")
            self.steps.clock.pass_by(seconds)

        self.steps.in_background(pass_by)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Generator[PipesWorld]:
    with faulty_world(monkeypatch) as steps, fake_job_server() as server:
        yield PipesWorld(steps, server)


def run_job(world: PipesWorld, client: RayPipesClient, when_running: Callable[[], object]) -> Outcome:
    """Run one asset that submits a job; something is done once it is there."""

    @dg.asset
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: RayPipesClient) -> Any:
        return ray_pipes_client.run(context=context, ray_job={"entrypoint": "python work.py"})

    over = threading.Event()
    watching = when(lambda: world.server.jobs, when_running, over)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            resources = {"ray_pipes_client": client}
            result = dg.materialize([computed], resources=resources, instance=instance, raise_on_error=False)
            log = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    finally:
        over.set()
        watching.join()
        world.steps.join()
    return Outcome(result.success, log)


# The job server


def burst(world: PipesWorld) -> None:
    world.server.faults += [Fault(status=status, times=2) for status in (429, 500)]
    world.lasting(BURST_SECONDS, status=503)


FAULTS: dict[str, Callable[[PipesWorld], None]] = {
    "burst of 429, 500, 503": burst,
    "resets": lambda world: world.lasting(BURST_SECONDS, reset=True),
    "dashboard down for 60 s": lambda world: world.lasting(DOWN_SECONDS, reset=True),
}
ROWS: list[tuple[Feature, str, str]] = list(itertools.product(FEATURES, ("submit", "run"), FAULTS))
ROWS.append(("pipes on a RayJob", "wait", "dashboard down for 60 s"))
BEGINNINGS = {"wait": "cluster_metadata", "submit": "nodes"}


@pytest.mark.parametrize(("feature", "phase", "fault"), ROWS, ids=["-".join(row) for row in ROWS])
def test_a_job_server_that_comes_back_ends_no_step(
    world: PipesWorld, feature: Feature, phase: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if phase in BEGINNINGS:
        world.server.on_call = lambda method, path: begin() if BEGINNINGS[phase] in path else None

    def begin() -> None:
        world.server.on_call = lambda method, path: None
        FAULTS[fault](world)

    def run() -> None:
        if phase == "run":
            begin()
        world.steps.join()
        world.server.end()

    outcome = run_job(world, world.client(feature), run)
    assert outcome.success, outcome.log
    assert world.server.faults[-1].hits
    assert len(world.server.jobs) == 1
    assert len(world.steps.made("rayjobs")) == FEATURES.index(feature)
    assert capsys.readouterr().out.count("one\ntwo\n") == 1


def test_a_job_server_that_is_away_for_longer_than_a_call_may_take_is_named_and_gets_no_job(world: PipesWorld) -> None:
    world.lasting(DOWN_SECONDS, reset=True)
    outcome = run_job(world, world.client("pipes"), lambda: None)
    assert "[dagster-ray: job-server-unavailable]" in outcome.log
    assert world.server.jobs == {}


# Stopping


def interrupted(world: PipesWorld, client: RayPipesClient, stop_when: Callable[[], object]) -> None:
    """Run a job in this process, which gets a SIGTERM as soon as something is so."""
    over = threading.Event()
    killing = when(stop_when, lambda: os.kill(os.getpid(), signal.SIGTERM), over)
    try:
        outcome = run_job(world, client, lambda: None)
    finally:
        over.set()
        killing.join()
    assert not outcome.success
    assert "Execution was interrupted" in outcome.log


PHASES: dict[str, Callable[[PipesWorld], object]] = {
    "submit": lambda world: world.server.jobs,
    "run": lambda world: world.server.asked("GET", "/api/v0/logs"),
    "cleanup": lambda world: world.server.asked("GET", "/api/v0/logs"),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("feature", FEATURES)
def test_sigterm_stops_the_job(world: PipesWorld, feature: Feature, phase: str) -> None:
    """The answer to the submission is under way; in the cleanup the server is busy, and a second SIGTERM arrives."""

    def again(method: str, path: str) -> None:
        if path.endswith("/stop"):
            world.server.on_call = lambda method, path: None
            os.kill(os.getpid(), signal.SIGTERM)

    if phase == "submit":
        late = Fault(method="POST", path="/api/jobs/$", lose_answer=True, delay_seconds=0.5, times=1)
        world.server.faults.append(late)
    if phase == "cleanup":
        world.server.on_call = again
        world.server.faults.append(Fault(method="POST", path="/stop", status=503, times=3))
        world.server.faults.append(Fault(method="POST", path="/stop", lose_answer=True, times=1))
    interrupted(world, world.client(feature), lambda: PHASES[phase](world))
    assert world.server.statuses == ["STOPPED"]
    world.steps.clock.until(lambda: world.steps.left_of_ours("rayjobs") == [], "the RayJob is deleted")


@pytest.mark.parametrize("feature", FEATURES)
def test_a_job_whose_server_is_away_cannot_be_stopped_and_the_step_ends(world: PipesWorld, feature: Feature) -> None:
    """A RayJob is deleted, and the job with it; on a server of somebody else it goes on."""
    away = Fault(reset=True)

    def leave() -> object:
        if found := world.server.asked("GET", "/api/v0/logs"):
            world.server.faults.append(away)
        return found

    interrupted(world, world.client(feature), leave)
    assert away.hits
    assert world.server.statuses == ["RUNNING"]
    assert world.steps.made("rayjobs") == []


# The API server, for a RayJob


def api_burst(world: FaultyWorld) -> None:
    world.add(status=429, retry_after=1, times=2)
    world.add(status=500, times=2)
    world.lasting(10, status=503)


API_FAULTS: dict[str, Callable[[FaultyWorld], None]] = {
    "burst of 429, 500, 503": api_burst,
    "resets": lambda world: world.lasting(10, reset=True),
    "API server down for 5 min": lambda world: world.lasting(OUTAGE_SECONDS, status=503),
    "watches dropped": lambda world: world.simulator.faults.drop_watches(),
    "watches expired": lambda world: world.simulator.faults.expire_watches(),
    "operator restarted": lambda world: world.clock.pass_by(120),
}
BUSY = ("burst of 429, 500, 503", "resets")
API_ROWS = [
    row
    for row in itertools.product(("create", "wait", "submit", "run", "cleanup"), API_FAULTS)
    # A direct way to the dashboard needs no API server; a watch is open in two phases.
    if row[0] in {"wait", "run"} or row[1] == "API server down for 5 min" or (row[0] != "submit" and row[1] in BUSY)
]


@pytest.mark.parametrize(("phase", "fault"), API_ROWS, ids=["-".join(row) for row in API_ROWS])
def test_a_kubernetes_that_comes_back_ends_no_job_on_a_rayjob(world: PipesWorld, phase: str, fault: str) -> None:
    """In the cleanup it is gone when the job has failed, and the RayJob is to be deleted."""
    steps, over = world.steps, threading.Event()
    begun: list[str] = []

    def begin() -> None:
        begun.append(phase)
        API_FAULTS[fault](steps)
        steps.simulator.operator.thaw()

    def run() -> None:
        steps.clock.until(lambda: phase == "submit" or steps.asked("PATCH", "/rayjobs"), "the operator knows the job")
        if phase == "run":
            steps.simulator.operator.freeze()
            begin()
        if phase == "cleanup":
            begin()
        else:
            steps.join()
        world.server.end("FAILED" if phase == "cleanup" else "SUCCEEDED")

    watching: list[threading.Thread] = []
    if phase == "wait":
        steps.simulator.operator.freeze()
        watching.append(when(lambda: steps.asked("GET", "watch=true"), begin, over))
    if phase == "submit":
        watching.append(when(lambda: world.server.asked("GET", "/nodes"), begin, over))
    if phase == "create":
        begin()
    outcome = run_job(world, world.client("pipes on a RayJob"), run)
    over.set()
    for thread in watching:
        thread.join()
    assert begun
    assert len(world.server.jobs) == 1
    if phase != "cleanup":
        assert outcome.success, outcome.log
    else:
        assert "[dagster-ray: ray-job-failed]" in outcome.log
        left = 1 if fault == "API server down for 5 min" else 0
        assert len(steps.made("rayjobs")) == left, outcome.log


def test_a_dashboard_behind_a_port_forward_is_away_with_the_api_server_and_no_job_ends_by_it(
    world: PipesWorld,
) -> None:
    steps, over = world.steps, threading.Event()
    template = {"spec": {"rayClusterSpec": HEAD_ALONE}}
    client = PipesKubeRayJobClient(template, kubeconfig_file=str(steps.simulator.kubeconfig))

    def follow() -> None:
        steps.lasting(OUTAGE_SECONDS, path="portforward", status=503)
        steps.lasting(OUTAGE_SECONDS, status=503)
        steps.join()
        for job in steps.driver.heads()[0].values():
            job["status"] = "SUCCEEDED"

    following = when(lambda: steps.asked("PATCH", "/rayjobs"), follow, over)
    outcome = run_job(world, client, lambda: None)
    over.set()
    following.join()
    assert outcome.success, outcome.log
    assert steps.faults[0].hits
    assert len(steps.made("rayjobs")) == 1


def test_a_job_on_a_rayjob_does_not_look_at_the_clocks_of_others(world: PipesWorld) -> None:
    world.steps.skew_seconds = 3600.0
    outcome = run_job(world, world.client("pipes on a RayJob"), world.server.end)
    assert outcome.success, outcome.log
    assert len(world.steps.made("rayjobs")) == 1


@pytest.mark.parametrize(
    "part", [pytest.param("/rayjobs", id="of the creation"), pytest.param("/rayjobs/", id="of the deletion")]
)
def test_an_answer_that_is_lost_makes_no_second_rayjob(world: PipesWorld, part: str) -> None:
    method = "POST" if part == "/rayjobs" else "DELETE"
    world.steps.add(method=method, path=part, lose_answer=True, times=1)
    outcome = run_job(world, world.client("pipes on a RayJob"), lambda: world.server.end("FAILED"))
    assert world.steps.hits == 1
    assert "[dagster-ray: ray-job-failed]" in outcome.log
    assert world.steps.made("rayjobs") == []


def test_an_operator_that_does_nothing_is_named_and_no_job_is_submitted(world: PipesWorld) -> None:
    steps, over = world.steps, threading.Event()
    steps.simulator.operator.freeze()
    client = world.client("pipes on a RayJob", timeout=60.0)
    passing = when(lambda: steps.asked("GET", "watch=true"), lambda: steps.clock.pass_by(120), over)
    outcome = run_job(world, client, lambda: None)
    over.set()
    passing.join()
    assert "[dagster-ray: operator-silent]" in outcome.log
    assert world.server.jobs == {}
    assert steps.made("rayjobs") == []
    steps.simulator.operator.thaw()
    steps.clock.until(lambda: steps.left_of_ours("rayjobs") == [], "the RayJob is gone")


# The head


@pytest.mark.parametrize("feature", FEATURES)
def test_a_job_that_its_head_has_forgotten_is_lost(world: PipesWorld, feature: Feature) -> None:
    """As after a head that was killed and made anew."""
    client = world.client(feature)

    def forget() -> None:
        name = next(iter(world.server.jobs))
        world.steps.clock.until(lambda: world.server.asked("GET", f"/api/jobs/{name}"), "the job is followed")
        world.server.jobs.clear()

    outcome = run_job(world, client, forget)
    assert "[dagster-ray: ray-job-lost]" in outcome.log
    assert world.steps.made("rayjobs") == []


# Disks


@pytest.mark.parametrize("feature", FEATURES)
def test_a_log_that_the_server_cannot_read_costs_its_text(world: PipesWorld, feature: Feature) -> None:
    """As with a full disk on the head's side: the dashboard answers 500 for each log file."""
    fault = Fault(path="/api/v0/logs", status=500)
    world.server.faults.append(fault)

    def end() -> None:
        world.steps.clock.until(lambda: fault.hits, "the log is asked for")
        world.server.end()
        world.steps.in_background(lambda: world.steps.clock.pass_by(120))

    outcome = run_job(world, world.client(feature), end)
    assert outcome.success, outcome.log
    assert "could not be read to its end" in outcome.log


@pytest.mark.parametrize("feature", FEATURES)
def test_a_full_disk_under_the_steps_output_costs_the_jobs_text(
    world: PipesWorld, feature: Feature, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        world.steps.clock.until(lambda: world.server.asked("GET", "/api/v0/logs"), "the log is read")
        world.server.end()

    with Path("/dev/full").open("w", encoding="utf-8") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        outcome = run_job(world, world.client(feature), end)
        patch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.close()
    assert outcome.success, outcome.log
    assert "is not whole in this step's output: [Errno 28] No space left on device" in outcome.log

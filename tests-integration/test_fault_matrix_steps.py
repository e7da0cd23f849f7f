"""A step of `KubeRayInteractiveJob`, and one on a shared `KubeRayCluster`, meets a fault at the start of each phase."""

import functools
import itertools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from driver_without_ray import when
from faulty_steps import (
    TIMEOUT_SECONDS,
    TTL_SECONDS,
    FaultyWorld,
    Feature,
    Outcome,
    Phase,
    ends_later,
    faulty_world,
    run_step,
)

from dagster_ray.kuberay.errors import UnavailableError

pytestmark = pytest.mark.many_processes

PHASES: tuple[Phase, ...] = ("create", "wait", "connect", "run", "cleanup")
FEATURES: tuple[Feature, ...] = ("job", "shared")
OUTAGE_SECONDS = 300.0
BURST_SECONDS = 20.0
# The end of a step has 20 s in all.
LATE_BURST_SECONDS = 10.0


def nothing(world: FaultyWorld, phase: Phase) -> None:
    """Meet no fault."""


Begin: TypeAlias = Callable[[FaultyWorld, Phase], object]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Generator[FaultyWorld]:
    with faulty_world(monkeypatch) as found:
        yield found


def run_with(world: FaultyWorld, feature: Feature, phase: Phase, fault: Begin, **more: Any) -> Outcome:
    """Run a step that meets a fault when a phase begins; that of the wait begins when the object is watched.

    A RayJob whose cleanup meets it is that of a step that fails, since the operator ends that of another. The lock of
    a shared cluster is removed at the end.
    """
    over = threading.Event()

    def act() -> None:
        fault(world, phase)
        world.simulator.operator.thaw()

    def begin(now: Phase) -> None:
        if now == phase != "wait":
            act()

    if phase == "wait":
        world.simulator.operator.freeze()
        world.threads.append(when(lambda: world.asked("GET", "watch=true"), act, over))
    more = {"fails": phase == "cleanup" and feature == "job", "sharing": {"release_on_success": True}, **more}
    if feature == "job":
        del more["sharing"]
    try:
        return run_step(world, feature, begin, **more)
    finally:
        over.set()
        world.join()


# The API server


def burst(world: FaultyWorld, phase: Phase) -> None:
    world.add(status=429, retry_after=1, times=2)
    world.add(status=500, times=2)
    world.lasting(LATE_BURST_SECONDS if phase == "cleanup" else BURST_SECONDS, status=503)


def resets(world: FaultyWorld, phase: Phase) -> None:
    world.simulator.faults.cut_watches()
    world.lasting(LATE_BURST_SECONDS if phase == "cleanup" else BURST_SECONDS, reset=True)


def outage(world: FaultyWorld, phase: Phase) -> None:
    world.lasting(OUTAGE_SECONDS, status=503)


PASSING = {"burst of 429, 500, 503": burst, "resets": resets, "API server down for 5 min": outage}
ROWS = [row for row in itertools.product(FEATURES, PHASES, PASSING) if row[:2] != ("job", "run")]


@pytest.mark.parametrize(("feature", "phase", "fault"), ROWS, ids=["-".join(row) for row in ROWS])
def test_an_api_server_that_comes_back_ends_no_step(
    world: FaultyWorld, feature: Feature, phase: Phase, fault: str
) -> None:
    outcome = run_with(world, feature, phase, PASSING[fault])
    assert world.hits
    if phase != "cleanup":
        assert outcome.success, outcome.log
    elif fault == "API server down for 5 min":
        assert "Cleanup of RayJob" in outcome.log if feature == "job" else outcome.success
        assert "[dagster-ray: kubernetes-unavailable]" in outcome.log
        assert len(world.made("rayclusters")) == 1
    elif feature == "job":
        assert "told to fail" in outcome.log
        assert world.made("rayjobs") == []
    else:
        assert outcome.success, outcome.log
        assert world.locks() == []
    ends_later(world, feature)


def test_a_step_that_runs_on_a_rayjob_asks_the_api_server_for_nothing(world: FaultyWorld) -> None:
    """It is away for five minutes, breaks all connections, and loses all watches."""

    def everything(world: FaultyWorld, phase: Phase) -> None:
        world.simulator.faults.expire_watches()
        world.lasting(OUTAGE_SECONDS, is_met=False, reset=True)

    outcome = run_with(world, "job", "run", everything)
    assert outcome.success, outcome.log
    assert world.hits == 0
    ends_later(world, "job")


@pytest.mark.parametrize("feature", FEATURES)
def test_an_api_server_that_stays_away_while_a_cluster_comes_up_is_named(world: FaultyWorld, feature: Feature) -> None:
    """It is back when the operator, or the sensor, has to end what the step could not delete."""

    def leave(world: FaultyWorld, _: Phase) -> None:
        world.add(status=503)
        world.simulator.faults.drop_watches()
        world.in_background(lambda: world.clock.pass_by(2 * TIMEOUT_SECONDS))

    outcome = run_with(world, feature, "wait", leave)
    world.simulator.faults.remove(world.faults[0])
    assert "[dagster-ray: kubernetes-unavailable]" in outcome.log
    assert "[dagster-ray: operator-silent]" not in outcome.log
    assert len(world.left_of_ours("rayclusters")) == 1
    if feature == "job":
        world.operator_runs_on(TIMEOUT_SECONDS + 60)
        ends_later(world, feature)
    else:
        assert "deleted 1, kept 0" in world.tick(), "its lock has ended meanwhile"


LOST: dict[str, tuple[Feature, Phase, str]] = {
    "job-create": ("job", "create", "POST"),
    "job-connect": ("job", "connect", "PATCH"),
    "job-cleanup": ("job", "cleanup", "DELETE"),
    "shared-create": ("shared", "create", "POST"),
    "shared-run": ("shared", "run", "PATCH"),
    "shared-cleanup": ("shared", "cleanup", "PATCH"),
}


@pytest.mark.parametrize(("feature", "phase", "method"), LOST.values(), ids=LOST)
def test_an_answer_that_is_lost_makes_nothing_twice(
    world: FaultyWorld, feature: Feature, phase: Phase, method: str
) -> None:
    def lose(world: FaultyWorld, phase: Phase) -> None:
        world.add(method=method, path="ray[.]io", lose_answer=True, times=1)
        if phase == "run":
            world.in_background(lambda: world.clock.until(lambda: world.hits, "the lock is renewed"))

    outcome = run_with(world, feature, phase, lose)
    assert world.hits == 1
    assert outcome.success or (phase == "cleanup" and "told to fail" in outcome.log), outcome.log
    assert len(world.made("rayclusters")) == (0 if (feature, phase) == ("job", "cleanup") else 1)
    ends_later(world, feature)


WATCHES: list[tuple[Feature, str]] = [
    ("job", "drop_watches"),
    ("job", "cut_watches"),
    ("job", "expire_watches"),
    ("shared", "drop_watches"),
    ("shared", "expire_watches"),
]


@pytest.mark.parametrize(("feature", "fault"), WATCHES)
def test_a_watch_that_ends_while_a_cluster_comes_up_is_taken_up_again(
    world: FaultyWorld, feature: Feature, fault: str
) -> None:
    outcome = run_with(world, feature, "wait", lambda world, _: getattr(world.simulator.faults, fault)())
    assert outcome.success, outcome.log
    assert world.asked("GET", "watch=true") >= 2
    ends_later(world, feature)


@pytest.mark.parametrize(
    "hours", [pytest.param(1, id="the step's clock is behind"), pytest.param(-1, id="the step's clock is ahead")]
)
@pytest.mark.parametrize("feature", FEATURES)
def test_a_step_whose_clock_is_wrong_by_an_hour_notices_nothing(
    world: FaultyWorld, feature: Feature, hours: int
) -> None:
    world.skew_seconds = 3600.0 * hours
    outcome = run_with(world, feature, "create", nothing, **({} if feature == "job" else {"sharing": {}}))
    assert outcome.success, outcome.log
    ends_later(world, feature)


# The operator


@pytest.mark.parametrize("feature", FEATURES)
def test_an_operator_that_is_restarted_while_a_cluster_comes_up_costs_its_absence(
    world: FaultyWorld, feature: Feature
) -> None:
    outcome = run_with(world, feature, "wait", lambda world, _: world.clock.pass_by(120))
    assert outcome.success, outcome.log
    ends_later(world, feature)


@pytest.mark.parametrize("feature", FEATURES)
def test_an_operator_that_does_nothing_is_named_at_the_deadline_and_nothing_stays(
    world: FaultyWorld, feature: Feature
) -> None:
    """A RayJob has a finalizer of the operator's, so the object itself goes when the operator is back."""

    def let_time_pass(phase: Phase) -> None:
        if phase == "wait":
            world.in_background(lambda: world.clock.pass_by(2 * TIMEOUT_SECONDS))

    world.simulator.operator.freeze()
    outcome = run_step(world, feature, let_time_pass)
    assert "[dagster-ray: operator-silent]" in outcome.log
    assert world.made("rayjobs") + world.made("rayclusters") == []
    world.simulator.operator.thaw()
    ours = functools.partial(world.left_of_ours, "rayjobs")
    world.clock.until(lambda: not ours() and world.nothing_runs(), "what was deleted is gone")


@pytest.mark.parametrize("phase", ["connect", "run", "cleanup"])
@pytest.mark.parametrize("feature", FEATURES)
def test_an_operator_that_does_nothing_is_not_missed_once_the_head_serves(
    world: FaultyWorld, feature: Feature, phase: Phase
) -> None:
    """A driver needs the head alone. What the operator has to do waits for it."""
    frozen = world.simulator.operator.freeze
    outcome = run_step(world, feature, lambda now: frozen() if now == phase else None)
    assert outcome.success, outcome.log
    world.clock.skip(200)
    assert len(world.made("rayclusters")) == 1
    ends_later(world, feature)


# The head


@pytest.mark.parametrize("feature", FEATURES)
def test_a_head_that_dies_before_it_serves_is_replaced(world: FaultyWorld, feature: Feature) -> None:
    """The operator makes another one, which is waited for."""
    killed: list[str] = []

    def kill(kind: str, plural: str, pod: dict[str, Any]) -> None:
        if plural == "pods" and kind != "DELETED" and not killed:
            killed.append(pod["metadata"]["name"])
            world.in_background(lambda: world.simulator.kubelet.kill_pod("default", killed[0]))

    world.simulator.store.subscribe(kill)
    outcome = run_step(world, feature, lambda _: None)
    assert killed
    assert outcome.success, outcome.log
    assert killed[0] not in world.pods()
    ends_later(world, feature)


def kill_heads(world: FaultyWorld) -> set[str]:
    killed = world.pods()
    for pod in killed:
        world.simulator.kubelet.kill_pod("default", pod)
    return killed


def test_a_driver_that_connects_to_a_rayjob_by_a_port_forward_takes_the_next_head(world: FaultyWorld) -> None:
    """The RayJob goes on showing the old pod, and a port-forward leads to a pod, so that the RayCluster is read."""

    def kill(world: FaultyWorld, _: Phase) -> None:
        killed = kill_heads(world)
        world.clock.until(lambda: killed.isdisjoint(world.pods()), "the head is gone")

    outcome = run_with(world, "job", "connect", kill)
    assert outcome.success, outcome.log
    assert re.search(r"the head pod \S+ is replaced by \S+\.", outcome.log)
    ends_later(world, "job")


def test_a_head_that_dies_at_the_end_keeps_no_rayjob_from_being_deleted(world: FaultyWorld) -> None:
    outcome = run_with(world, "job", "cleanup", lambda world, _: kill_heads(world))
    assert "told to fail" in outcome.log
    assert world.made("rayjobs") == []
    ends_later(world, "job")


@pytest.mark.parametrize("phase", ["connect", "run", "cleanup"])
def test_a_shared_cluster_gets_another_head_for_the_next_step(world: FaultyWorld, phase: Phase) -> None:
    """Neither lock nor cluster goes with the head."""

    def kill(world: FaultyWorld, _: Phase) -> None:
        kill_heads(world)
        world.in_background(lambda: world.clock.until(world.driver.heads, "another head serves"))

    first = run_with(world, "shared", phase, kill, sharing={})
    assert first.success, first.log
    (cluster,) = world.made("rayclusters")
    second = run_step(world, "shared", lambda _: None)
    assert second.success, second.log
    assert [found["metadata"]["uid"] for found in world.made("rayclusters")] == [cluster["metadata"]["uid"]]
    assert len(world.locks()) == 1  # what both steps leave is the latest of their ends
    ends_later(world, "shared")


# Stopping


@pytest.mark.parametrize("phase", ["connect", "run", "cleanup"])
def test_sigterm_leaves_a_shared_cluster_that_serves_to_its_lock(world: FaultyWorld, phase: Phase) -> None:
    """In the cleanup it arrives while the API server is busy, and the lock is removed all the same."""

    def terminate(*_: object) -> None:
        if phase == "cleanup":
            world.add(method="PATCH", status=503, times=3)
            world.clock.until(lambda: world.hits, "the end of the lock is asked for")
        os.kill(os.getpid(), signal.SIGTERM)

    def begin(now: Phase) -> None:
        if now == phase == "cleanup":
            world.in_background(terminate)
        elif now == phase:
            terminate()

    released = phase == "cleanup"
    outcome = run_step(world, "shared", begin, sharing={"release_on_success": released, "renew_seconds": 60.0})
    assert released or "Execution was interrupted" in outcome.log
    assert len(world.locks()) == (0 if released else 1)
    ends_later(world, "shared")


# Disks


@pytest.mark.parametrize("feature", FEATURES)
def test_a_full_disk_under_the_steps_output_is_nothing_to_a_step_that_prints_nothing(
    world: FaultyWorld, feature: Feature, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        outcome = run_step(world, feature, lambda _: None)
        monkeypatch.undo()
    assert outcome.success, outcome.log


def test_a_step_that_prints_on_a_full_disk_fails_and_leaves_no_rayjob(
    world: FaultyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left"):
            print("x")
        outcome = run_with(world, "job", "cleanup", lambda _, __: print("x"))
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.close()
    assert "No space left on device" in outcome.log
    assert world.made("rayjobs") == []


# The sensor


TICKS: dict[str, tuple[float, dict[str, Any]]] = {
    "burst of 503": (60.0, {"status": 503}),
    "resets": (60.0, {"reset": True}),
    "API server down for 5 min": (OUTAGE_SECONDS, {"status": 503}),
}


@pytest.mark.parametrize(("seconds", "fault"), TICKS.values(), ids=TICKS)
def test_a_tick_without_an_api_server_fails_and_deletes_nothing_and_the_next_one_does(
    world: FaultyWorld, seconds: float, fault: dict[str, Any]
) -> None:
    assert run_step(world, "shared", lambda _: None).success
    world.clock.skip(TTL_SECONDS + 1)
    world.lasting(seconds, **fault)
    with pytest.raises(UnavailableError):
        world.tick()
    assert len(world.made("rayclusters")) == 1
    world.join()
    assert "deleted 1, kept 0" in world.tick()


# What a killed step leaves


@pytest.mark.parametrize("phase", ["wait", "run"])
def test_what_a_killed_step_has_left_of_a_rayjob_the_operator_ends(world: FaultyWorld, phase: Phase) -> None:
    """Before its driver has come, and after: a step that is not cleaned up leaves what a killed one does."""
    lifecycle = {"cleanup": "never", "wait": phase != "wait", "connect": phase != "wait"}
    outcome = run_step(world, "job", lambda _: None, lifecycle=lifecycle)
    assert outcome.success, outcome.log
    if phase == "run":
        ends_later(world, "job")  # Ray ends the driver, and the operator sees it
        return
    world.clock.until(lambda: world.made("rayclusters"), "the operator makes the cluster")
    world.operator_runs_on(TIMEOUT_SECONDS + 60)
    assert "Failed" in {job.get("status", {}).get("jobDeploymentStatus") for job in world.made("rayjobs")}
    world.operator_runs_on(80)
    world.clock.until(world.nothing_runs, "no cluster of ours is left")

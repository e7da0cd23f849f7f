"""Whether a step can still come to its end: looks at its job and at the event log, in every order that can happen."""

import itertools
import random
from collections.abc import Mapping

import pytest
from scripted_job_server import Server, client_of

from dagster_ray.core import DagsterRayError
from dagster_ray.pipes._driver_errors import DriverEventsMissingError
from dagster_ray.pipes._executor.attempts import Attempt, StepEvent, attempts_of
from dagster_ray.pipes._executor.health import Look, fault_of
from dagster_ray.pipes._executor.job_watch import JobWatch
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes.errors import JobLostError, JobServerUnavailableError, RayJobFailedError

PATIENCE = 1800.0


def fault(look: Look, *, has_ended: bool = False) -> DagsterRayError | None:
    return fault_of("job", "http://ray", look, PATIENCE, lambda: has_ended)


def job(status: str) -> Look:
    return Look(details=JobDetails("job", status, node_id="n"))


HEALTHY: Mapping[str, Look] = {
    "a job that waits for resources": job("PENDING"),
    "a job that runs": job("RUNNING"),
    "a status that Ray may add": job("RESTARTING"),
    "a server that did not answer once": Look(away_seconds=0.0, away_reason="503"),
    "a server that is away for as long as it may be": Look(away_seconds=PATIENCE, away_reason="503"),
}
UNHEALTHY: Mapping[str, tuple[Look, type[DagsterRayError]]] = {
    "a job that has failed": (job("FAILED"), RayJobFailedError),
    "a job that somebody stopped": (job("STOPPED"), RayJobFailedError),
    "a job that succeeded": (job("SUCCEEDED"), DriverEventsMissingError),
    "a job that the head has forgotten": (Look(is_missing=True), JobLostError),
    "a job whose node is dead": (
        Look(details=JobDetails("job", "RUNNING", node_id="n"), node_is_dead=True),
        JobLostError,
    ),
    "a server that is away for too long": (
        Look(away_seconds=PATIENCE + 1, away_reason="503"),
        JobServerUnavailableError,
    ),
}


@pytest.mark.parametrize("look", HEALTHY.values(), ids=HEALTHY)
def test_what_may_still_end_well_is_healthy_and_the_event_log_is_not_read(look: Look) -> None:
    def unread() -> bool:
        raise AssertionError("the event log was read")

    assert fault_of("job", "http://ray", look, PATIENCE, unread) is None


@pytest.mark.parametrize(("look", "kind"), UNHEALTHY.values(), ids=UNHEALTHY)
def test_what_cannot_end_is_an_error_unless_the_step_has_ended_by_itself(
    look: Look, kind: type[DagsterRayError]
) -> None:
    assert type(fault(look)) is kind
    assert fault(look, has_ended=True) is None


def test_a_job_that_never_started_fails_with_what_it_requested() -> None:
    said = "Job supervisor actor failed to start within 900.0 seconds."
    details = JobDetails("job", "FAILED", message=said, requests={"num_cpus": 1000, "disk": 0.5})
    assert "within 900.0 seconds; it requested num_cpus=1000, disk=0.5." in str(fault(Look(details=details)))
    ran = JobDetails("job", "FAILED", message="exit code 3", requests={"num_cpus": 1000}, node_id="n")
    assert "requested" not in str(fault(Look(details=ran)))


def test_in_200_quick_steps_no_order_of_events_makes_a_false_failure() -> None:
    """The worker writes its event, then its job ends; the executor reads the status, then the event log."""
    orders = [
        order
        for order in itertools.permutations(("event written", "job over", "status read", "log read"))
        if order.index("event written") < order.index("job over")
    ]
    rng = random.Random(7)
    for _ in range(200):
        log: list[StepEvent] = [StepEvent("starting", "step", "job")]
        status, seen = "RUNNING", ""
        order = rng.choice(orders)
        for moment in order:
            if moment == "event written":
                log.append(StepEvent("ended", "step"))
            elif moment == "job over":
                status = rng.choice(["SUCCEEDED", "FAILED"])
            elif moment == "status read":
                # What happens until the log is read happens inside of the call.
                seen, later = status, order[order.index(moment) + 1 :]
                found = fault_of(
                    "job", "http://ray", job(seen), PATIENCE, lambda later=later, log=log: ended(log, later)
                )
                assert found is None, order


def ended(log: list[StepEvent], later: tuple[str, ...]) -> bool:
    written = [*log, *([StepEvent("ended", "step")] if "event written" in later else [])]
    return attempts_of(written)["step"].has_ended


LOGS: Mapping[str, tuple[list[StepEvent], Attempt | None]] = {
    "nothing was submitted": ([], None),
    "an end without a start is of another process": ([StepEvent("ended", "step")], None),
    "a first attempt runs": ([StepEvent("starting", "step", "a")], Attempt(0, "a")),
    "a first attempt has ended": (
        [StepEvent("starting", "step", "a"), StepEvent("ended", "step")],
        Attempt(0, "a", True),
    ),
    "the resources of a first attempt have failed": (
        [StepEvent("starting", "step", "a"), StepEvent("unprepared", "step")],
        Attempt(0, "a", True, True),
    ),
    "what failed with its resources is retried": (
        [StepEvent("starting", "step", "a"), StepEvent("unprepared", "step"), StepEvent("ended", "step")],
        Attempt(0, "a", True),
    ),
    "a second attempt runs": (
        [StepEvent("starting", "step", "a"), StepEvent("ended", "step"), StepEvent("starting", "step", "b")],
        Attempt(1, "b"),
    ),
    "another step has ended": (
        [StepEvent("starting", "step", "a"), StepEvent("starting", "x", "c"), StepEvent("ended", "x")],
        Attempt(0, "a"),
    ),
}


@pytest.mark.parametrize(("events", "attempt"), LOGS.values(), ids=LOGS)
def test_the_event_log_tells_the_last_attempt(events: list[StepEvent], attempt: Attempt | None) -> None:
    assert attempts_of(events).get("step") == attempt


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_server_that_is_away_for_60_s_is_asked_once_in_10_s_for_all_steps(server: Server) -> None:
    clock, away = Clock(), True

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        if path.startswith("/nodes"):
            return 404, ""
        return (
            (404, "Job gone does not exist")
            if path.endswith("gone")
            else (401, "no")
            if away
            else (200, {"status": "RUNNING"})
        )

    server.script = script
    watch = JobWatch(client_of(server), clock)
    seen: list[Look] = []
    for second in range(0, 60, 5):
        clock.now = 100.0 + second
        seen += [watch.look(f"job-{number}") for number in range(20)]
    assert len(server.calls) == 6
    assert {look.details for look in seen} == {None}
    assert [look.is_missing for look in seen] == [False] * len(seen)
    assert max(look.away_seconds for look in seen) == 55.0
    away, clock.now = False, 170.0
    found = watch.look("job-1")
    assert found.details is not None
    assert (found.details.status, found.away_seconds) == ("RUNNING", 0.0)
    assert watch.look("gone") == Look(is_missing=True)


def test_a_job_on_a_dead_node_is_lost_and_nodes_are_asked_for_once_a_minute(server: Server) -> None:
    clock, state = Clock(), "ALIVE"

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        if path.startswith("/nodes"):
            return 200, {"data": {"summary": [{"raylet": {"nodeId": "n", "state": state, "isHeadNode": True}}]}}
        return 200, {"status": "RUNNING", "driver_node_id": "n"}

    server.script = script
    watch = JobWatch(client_of(server), clock)
    assert not any(watch.look("job").node_is_dead for _ in range(5))
    state = "DEAD"
    assert not watch.look("job").node_is_dead
    clock.now += 60.0
    assert watch.look("job").node_is_dead
    assert sum(path.startswith("/nodes") for _, path in server.calls) == 2


def test_a_job_on_a_node_that_has_just_come_is_not_lost(server: Server) -> None:
    nodes = ["n"]

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        if path.startswith("/nodes"):
            alive = [{"raylet": {"nodeId": node, "state": "ALIVE", "isHeadNode": node == "n"}} for node in nodes]
            return 200, {"data": {"summary": alive}}
        return 200, {"status": "RUNNING", "driver_node_id": nodes[-1]}

    server.script = script
    watch = JobWatch(client_of(server), Clock())
    assert not watch.look("job").node_is_dead
    nodes.append("new")
    assert not watch.look("job").node_is_dead


def test_two_misses_between_which_nobody_asked_are_not_one_time_away(server: Server) -> None:
    clock = Clock()
    server.script = lambda _method, _path, _body: (401, "no")
    watch = JobWatch(client_of(server), clock)
    watch.look("job")
    clock.now += 5 * 3600.0
    assert watch.look("job").away_seconds == 0.0
    clock.now += 20.0
    assert watch.look("job").away_seconds == 20.0

"""The collector and a Dagster storage that is slow, silent or broken: what it asks, when, and what it remembers."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import threading
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from collector_world import World, labels, lock, raycluster, shared

from dagster_ray.core import Deadline
from dagster_ray.kuberay._collector.cursor import Cursor, cursor_of
from dagster_ray.kuberay._collector.run_facts import Rules
from dagster_ray.simulator import Simulator

pytestmark = pytest.mark.many_processes  # make test runs them

INSTANCE = "storage-1"


class Storage:
    """A Dagster instance whose answers are given by the test, and which counts what it is asked."""

    def __init__(self) -> None:
        """Know no step that is over, and no run that is."""
        self.seconds = 0.0
        self.seconds_a_query = 0.0
        self.states: dict[str, str] = {}
        self.finished: set[str] = set()
        self.run_batches: list[int] = []
        self.steps_of: list[str] = []
        self.runs_answer, self.steps_answer = threading.Event(), threading.Event()
        self.release()
        self.breaks: Exception | None = None
        self.run_storage = SimpleNamespace(get_run_storage_id=lambda: INSTANCE)

    def release(self) -> None:
        """Answer all that is asked, and all that waits."""
        self.runs_answer.set()
        self.steps_answer.set()

    def clock(self) -> float:
        """Return seconds that pass only while a step is asked for."""
        return self.seconds

    def get_run_records(self, filters: dg.RunsFilter) -> list[Any]:
        """Return the runs that are asked for."""
        self.run_batches.append(len(filters.run_ids or ()))
        self.runs_answer.wait()
        status = {run_id: self._status(run_id) for run_id in filters.run_ids or ()}
        runs = [dg.DagsterRun("train", run_id=run_id, status=word) for run_id, word in status.items()]
        return [SimpleNamespace(dagster_run=run, end_time=0.0) for run in runs]

    def get_run_step_stats(self, run_id: str, step_keys: list[str]) -> list[Any]:
        """Return how the steps of a run stand."""
        self.steps_of.append(run_id)
        self.steps_answer.wait()
        if self.breaks is not None:
            raise self.breaks
        self.seconds += self.seconds_a_query
        word = self.states.get(run_id)
        return [SimpleNamespace(step_key=key, status=word and SimpleNamespace(value=word)) for key in step_keys]

    def _status(self, run_id: str) -> dg.DagsterRunStatus:
        return dg.DagsterRunStatus.FAILURE if run_id in self.finished else dg.DagsterRunStatus.STARTED


@pytest.fixture
def storage() -> Generator[Storage]:
    found = Storage()
    yield found
    found.release()


@pytest.fixture
def world() -> Generator[World]:
    with Simulator(operator=False, fake_heads=True) as simulator, dg.DagsterInstance.ephemeral() as instance:
        yield World(simulator, instance, Rules())


def left_by(run: str, policy: str = "always") -> dict[str, Any]:
    return raycluster(f"of-{run}", labels(run=run, instance=INSTANCE, policy=policy))


def expired(name: str = "expired") -> dict[str, Any]:
    return raycluster(name, shared(instance=INSTANCE), lock(-5, now=datetime.now(UTC)))


def test_what_needs_no_query_goes_although_the_storage_is_silent(world: World, storage: Storage) -> None:
    world.create(left_by("a"), left_by("b"), expired("zz"))
    world.wait_for_silence()
    storage.steps_answer.clear()
    world.collect(instance=storage, query_seconds=0.1)
    assert world.left() == ["of-a", "of-b"]
    assert storage.steps_of == ["a"]  # it is not asked again in this tick
    assert "did not answer within 0.1 s" in world.report.text()
    assert world.report.seen == 3


def test_a_run_storage_that_is_silent_is_asked_once_a_tick(world: World, storage: Storage) -> None:
    world.create(left_by("a"), left_by("b"), expired("zz"))
    storage.runs_answer.clear()
    world.collect(instance=storage, query_seconds=0.1, page=1)
    assert (world.left(), storage.run_batches) == (["of-a", "of-b"], [1])


def test_steps_are_asked_for_until_the_deadline_and_the_next_tick_goes_on(world: World, storage: Storage) -> None:
    runs = [f"run-{number:02}" for number in range(20)]
    world.create(*(left_by(run) for run in runs))
    world.wait_for_silence()
    storage.seconds_a_query = 1.0
    cursor, asked_in = Cursor(), list[list[str]]()
    for _ in range(3):
        storage.steps_of.clear()
        cursor = cursor_of(world.collect(cursor, instance=storage, deadline=Deadline(8.5, storage.clock)).text())
        asked_in.append(list(storage.steps_of))
        assert world.report.seen == 20
    assert asked_in == [runs[:9], runs[9:18], [*runs[18:], *runs[:7]]]
    assert "the steps of 11 runs" in world.report.text()


def test_a_fifth_of_a_tick_is_kept_for_pools_if_there_are_any(world: World, storage: Storage) -> None:
    world.create(*(left_by(f"run-{number:02}") for number in range(20)))
    world.create(raycluster("of-a-pool", {"app.kubernetes.io/managed-by": "dagster-ray", "dagster/pool": "p"}))
    world.wait_for_silence()
    storage.seconds_a_query = 1.0
    deadline = Deadline(8.5, storage.clock)
    world.collect(instance=storage, deadline=deadline, leaves_pools=True)
    assert len(storage.steps_of) == 7
    assert deadline.remaining_seconds() == 1.5
    assert "the steps of 13 runs" in world.report.text()


def test_runs_are_asked_for_by_the_hundred(world: World, storage: Storage) -> None:
    world.create(*(left_by(f"run-{number:03}") for number in range(250)))
    world.collect(instance=storage)
    assert (storage.run_batches, storage.steps_of) == ([100, 100, 50], [])


def test_a_step_that_was_heard_of_lately_is_not_asked_for(world: World, storage: Storage) -> None:
    world.create(left_by("silent"), left_by("alive"))
    world.wait_for_silence()
    alive_at = world.simulator.store.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    mark = {"metadata": {"annotations": {"dagster/alive-at": alive_at}}}
    world.simulator.store.patch("rayclusters", "default", "of-alive", mark, "")
    world.collect(instance=storage)
    assert (storage.steps_of, world.left()) == (["silent"], ["of-alive", "of-silent"])


def test_only_a_success_is_remembered_and_only_to_keep(world: World, storage: Storage) -> None:
    world.create(left_by("done", "on_exception"), left_by("goes-on", "on_exception"), left_by("wanted-gone"))
    world.wait_for_silence()
    storage.states = {"done": "SUCCESS", "goes-on": "IN_PROGRESS"}
    cursor = world.collect(instance=storage)
    assert sorted(storage.steps_of) == ["done", "goes-on", "wanted-gone"]
    assert len(cursor.succeeded) == 1
    storage.steps_of.clear()
    world.collect(cursor, instance=storage)
    assert sorted(storage.steps_of) == ["goes-on", "wanted-gone"]
    assert len(world.left()) == 3


def test_what_was_remembered_is_read_again_before_a_delete(world: World, storage: Storage) -> None:
    """Two objects of one step, whose policies differ: the success keeps one of them, and would delete the other."""
    world.create(left_by("done", "on_exception"))
    world.wait_for_silence()
    storage.states = {"done": "SUCCESS"}
    cursor = world.collect(instance=storage)
    storage.steps_of.clear()
    storage.states = {"done": "IN_PROGRESS"}
    other = left_by("done")
    other["metadata"]["name"] = "other"
    world.create(other)
    world.wait_for_silence()
    world.collect(cursor, instance=storage)
    assert (storage.steps_of, world.left()) == (["done"], ["of-done", "other"])
    storage.states = {"done": "SUCCESS"}
    world.collect(cursor, instance=storage)
    assert world.left() == ["of-done"]


def test_a_storage_that_breaks_is_asked_a_few_times(world: World, storage: Storage) -> None:
    world.create(*(left_by(f"run-{number}") for number in range(9)), expired())
    world.wait_for_silence()
    storage.breaks = ConnectionError("no database")
    cursor = world.collect(instance=storage)
    assert len(storage.steps_of) == 5
    assert len(world.left()) == 9
    assert "Dagster's storage could not be asked: ConnectionError" in world.report.text()
    storage.breaks, storage.states = None, {f"run-{number}": "FAILURE" for number in range(9)}
    storage.steps_of.clear()
    world.collect(cursor, instance=storage)
    assert (storage.steps_of[0], world.left()) == ("run-5", [])


def test_a_step_that_was_killed_goes_in_the_same_tick(world: World, storage: Storage) -> None:
    world.create(left_by("a"), left_by("b"))
    world.wait_for_silence()
    storage.states = {"a": "FAILURE", "b": "IN_PROGRESS"}
    world.collect(instance=storage)
    assert world.left() == ["of-b"]
    assert Counter(storage.steps_of) == {"a": 1, "b": 1}

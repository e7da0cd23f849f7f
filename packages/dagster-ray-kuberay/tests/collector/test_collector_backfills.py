"""Clusters that the runs of one backfill share: what the storage says of a backfill, and what the collector does."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from collector_world import INSTANCE, NOON, RUN, World, lock, obj, raycluster, shared
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from dagster_ray.core import Deadline, instance_id_of
from dagster_ray.kuberay._collector.candidate import candidate_of
from dagster_ray.kuberay._collector.plan import backfill_ids, judge, plan_by_hand, run_ids
from dagster_ray.kuberay._collector.run_facts import Ask, InstanceFacts, Rules, RunFacts
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.simulator import Simulator

IN_PROGRESS = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=False)})
SUCCEEDED = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True, succeeded=True, seconds_since_end=7200)})
ALIVE = "here, but it shows life: another Dagster instance may have a copy of this database"


def verdict(found: dict[str, Any], facts: InstanceFacts) -> str:
    """Return `keep: why` or `delete: why`."""
    judged = judge(candidate_of(RAYCLUSTERS, found), facts, NOON, Rules())
    assert not isinstance(judged, Ask)
    return f"{'keep' if type(judged).__name__ == 'Keep' else 'delete'}: {judged.because}"


BACKFILL = "qhsmkxqf"
FOR_BACKFILL = {**shared(scope="backfill"), "dagster/backfill": BACKFILL}


def backfill(is_finished: bool = True, **more: Any) -> InstanceFacts:
    """Return what is known of a backfill; its runs are known as well, and do not count."""
    return replace(IN_PROGRESS, backfills={BACKFILL: RunFacts(is_finished, **more)})


BACKFILL_SCOPED: dict[str, tuple[dict[str, Any], InstanceFacts, str]] = {
    "the backfill is in progress, although no lock is left": (
        obj(labels=FOR_BACKFILL),
        backfill(is_finished=False),
        "keep: its backfill is in progress",
    ),
    "the backfill is in progress, and the run that made the cluster is over": (
        obj(labels=FOR_BACKFILL),
        replace(backfill(is_finished=False), runs=SUCCEEDED.runs),
        "keep: its backfill is in progress",
    ),
    "the backfill is over": (
        obj(labels=FOR_BACKFILL),
        backfill(succeeded=True, seconds_since_end=60),
        "delete: its backfill is finished, and no lock is live",
    ),
    "the backfill is over, and nobody says since when": (
        obj(labels=FOR_BACKFILL, annotations=lock(-9)),
        backfill(),
        "delete: its backfill is finished, and no lock is live",
    ),
    "the backfill was canceled, and a step of it still lives": (
        obj(labels=FOR_BACKFILL, annotations=lock(9)),
        backfill(was_canceled=True, seconds_since_end=60),
        "keep: a step holds a lock",
    ),
    "the backfill is over here, and a lock was renewed after that": (
        obj(labels=FOR_BACKFILL, annotations=lock(-9)),
        backfill(seconds_since_end=7200),
        f"keep: its backfill is finished {ALIVE}",
    ),
    "the backfill was deleted from Dagster": (
        obj(labels=FOR_BACKFILL),
        replace(IN_PROGRESS, backfills={BACKFILL: None}),
        "delete: its backfill was deleted from Dagster",
    ),
    "the backfill is not known here, and a lock was renewed within an hour": (
        obj(labels=FOR_BACKFILL, annotations=lock(-9)),
        replace(IN_PROGRESS, backfills={BACKFILL: None}),
        f"keep: its backfill is not known {ALIVE}",
    ),
    "the backfill is another instance's": (
        obj(labels={**FOR_BACKFILL, "dagster/instance-id": "other"}),
        backfill(),
        "keep: belongs to a run of another Dagster instance",
    ),
    "the storage does not answer": (
        obj(labels=FOR_BACKFILL),
        SUCCEEDED,
        "keep: run storage could not be asked for its backfill",
    ),
    "the label of the backfill is missing: the locks decide": (
        obj(labels=shared(scope="backfill")),
        SUCCEEDED,
        "delete: it is 86400 s old and has no lock",
    ),
}


@pytest.mark.parametrize(("found", "facts", "expected"), BACKFILL_SCOPED.values(), ids=BACKFILL_SCOPED)
def test_a_cluster_that_is_shared_in_one_backfill(found: dict[str, Any], facts: InstanceFacts, expected: str) -> None:
    assert verdict(found, facts) == expected


def test_the_backfill_of_a_cluster_that_is_shared_without_it_decides_nothing() -> None:
    made_in_one = obj(labels={**shared(), "dagster/backfill": BACKFILL}, annotations=lock(-9))
    assert backfill_ids([candidate_of(RAYCLUSTERS, made_in_one)]) == frozenset()
    assert backfill_ids([candidate_of(RAYCLUSTERS, obj(labels=FOR_BACKFILL))]) == {BACKFILL}
    assert run_ids([candidate_of(RAYCLUSTERS, obj(labels=FOR_BACKFILL))]) == frozenset()
    assert verdict(made_in_one, backfill(is_finished=False)).startswith("delete")


@pytest.mark.parametrize(
    ("facts", "plainly", "even_if_locked"),
    [
        pytest.param(backfill(is_finished=False), "keep", "delete", id="in progress"),
        pytest.param(backfill(), "delete", "delete", id="over"),
        pytest.param(replace(IN_PROGRESS, backfills={BACKFILL: None}), "delete", "delete", id="deleted from Dagster"),
        pytest.param(IN_PROGRESS, "keep", "delete", id="not asked for"),
    ],
)
def test_by_hand_a_cluster_goes_when_its_backfill_is_over(
    facts: InstanceFacts, plainly: str, even_if_locked: str
) -> None:
    candidates = [candidate_of(RAYCLUSTERS, obj(labels=FOR_BACKFILL))]
    made = [plan_by_hand(candidates, facts, NOON, even_if_locked=disregarded) for disregarded in (False, True)]
    assert ["delete" if one.deletes else "keep" for one in made] == [plainly, even_if_locked]


# What Dagster's storage says


def requested(instance: dg.DagsterInstance, backfill_id: str, status: BulkActionStatus, **more: Any) -> None:
    """Store a backfill."""
    given: dict[str, Any] = {
        "from_failure": False,
        "tags": {},
        "backfill_timestamp": 0.0,
        "asset_selection": [],
        **more,
    }
    instance.add_backfill(PartitionBackfill(backfill_id=backfill_id, status=status, **given))


def run_of(instance: dg.DagsterInstance, backfill_id: str, status: dg.DagsterRunStatus) -> None:
    """Store a run of a backfill."""
    instance.add_run(dg.DagsterRun("train", tags={"dagster/backfill": backfill_id}, status=status))


def test_a_backfill_is_over_when_its_status_says_so_and_no_run_of_it_is_left() -> None:
    ended, now = 1_000_000.0, datetime.fromtimestamp(1_000_060, UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        for status in BulkActionStatus:
            requested(instance, status.value, status, backfill_end_timestamp=ended)
            run_of(instance, status.value, dg.DagsterRunStatus.FAILURE)
        requested(instance, "left", BulkActionStatus.FAILED)
        run_of(instance, "left", dg.DagsterRunStatus.STARTING)
        reader = RunReader(instance, lambda: now)
        wanted = {*(status.value for status in BulkActionStatus), "left", "unknown"}
        found = reader.backfills(wanted, Deadline(60)).backfills
    over = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
    assert {one for one, facts in found.items() if facts is not None and facts.is_finished} == over
    assert found["COMPLETED_SUCCESS"] == RunFacts(is_finished=True, succeeded=True, seconds_since_end=60)
    assert found["CANCELED"] == RunFacts(is_finished=True, seconds_since_end=60, was_canceled=True)
    assert found["left"] == RunFacts(is_finished=False)
    assert found["unknown"] is None
    assert found.keys() == wanted


def test_without_a_storage_nothing_is_known_of_backfills() -> None:
    assert RunReader(None).backfills({BACKFILL}, Deadline(60)).backfills == {}


# What the collector does


@pytest.fixture
def world() -> Generator[World]:
    with Simulator(operator=False, fake_heads=True) as simulator, dg.DagsterInstance.ephemeral() as instance:
        yield World(simulator, instance)


@pytest.mark.many_processes
def test_clusters_go_with_their_backfills(world: World) -> None:
    instance = world.instance
    for backfill_id, status in (
        ("over", BulkActionStatus.COMPLETED_SUCCESS),
        ("running", BulkActionStatus.REQUESTED),
        ("left", BulkActionStatus.FAILED),
    ):
        requested(instance, backfill_id, status)
        of_instance = {**shared(scope="backfill", instance=instance_id_of(instance)), "dagster/backfill": backfill_id}
        world.create(raycluster(backfill_id, of_instance), raycluster(f"{backfill_id}-too", of_instance))
    run_of(instance, "left", dg.DagsterRunStatus.STARTED)
    world.collect(page=1)
    assert world.left() == ["left", "left-too", "running", "running-too"]
    assert world.report.kept == {"its backfill is in progress": 4}


@pytest.mark.many_processes
def test_a_storage_that_cannot_be_asked_keeps_the_clusters_of_backfills(world: World) -> None:
    class Broken:
        run_storage = world.instance.run_storage

        def get_backfill(self, _: str) -> None:
            raise RuntimeError("the database is away")

    of_backfill = {**shared(scope="backfill", instance=instance_id_of(world.instance)), "dagster/backfill": BACKFILL}
    world.create(raycluster("one", of_backfill), raycluster("expired", shared(), lock(-5, now=datetime.now(UTC))))
    world.collect(instance=Broken())
    assert world.left() == ["one"]
    assert world.report.kept == {"run storage could not be asked for its backfill": 1}
    assert "Dagster's storage could not be asked" in world.report.text()

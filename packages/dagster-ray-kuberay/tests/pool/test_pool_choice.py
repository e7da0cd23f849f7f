"""What a step does to get a cluster of a pool, and what a sensor does with the rest. Tables."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._pool.choice import (
    Care,
    Claim,
    Claimer,
    Create,
    Decision,
    Note,
    Queue,
    Spend,
    Wait,
    care,
    decide,
    is_given_back,
)
from dagster_ray.kuberay._pool.leftovers import actors_left, groups_left
from dagster_ray.kuberay._pool.members import Member, Sizes, Ticket, copy_of, member_of, sizes_of, ticket_of
from dagster_ray.kuberay._sharing.locks import Lock, UnreadableLock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIZES = Sizes(size=2, max_size=2)
ME = Claimer("me", NOON)


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


def member(slot: int = 1, **more: object) -> Member:
    given: dict[str, object] = {"is_ready": True, "used_at": ago(100), "sizes": SIZES, **more}
    return replace(Member(f"m{slot}", f"uid{slot}", "7", slot, ago(500)), **given)  # pyright: ignore[reportArgumentType]


def lock(seconds: float = 100, name: str = "other") -> Lock:
    """Return a claim that ends in so many seconds."""
    return (
        Lock(name, "run", "step", ago(500), ago(0), seconds) if seconds > 0 else Lock(name, "r", "s", ago(9), ago(9), 1)
    )


def old_lock() -> Lock:
    """Return a claim that ended some minutes ago."""
    return Lock("other", "r", "s", ago(900), ago(900), 600)


def ticket(name: str, seconds: float, until: float = 500) -> Ticket:
    """Return the ticket of a step that has waited for so many seconds."""
    return Ticket(name, ago(seconds), NOON + timedelta(seconds=until))


BUSY = member(2, claims=(lock(),))
DECISIONS: dict[str, tuple[list[Member], Claimer, Sizes, Decision | str | type[Wait | Spend]]] = {
    "an empty pool": ([], ME, Sizes(), Create(1)),
    "one is free": ([member(), BUSY], ME, SIZES, "m1"),
    "one that is ready comes before one that starts": ([member(is_ready=False), member(2)], ME, SIZES, "m2"),
    "one that starts comes before a new one": ([member(is_ready=False)], ME, SIZES, "m1"),
    "all are used, and there is room": ([BUSY], ME, SIZES, Create(1)),
    "a slot whose name was taken is not tried again": ([BUSY], replace(ME, taken={1}), SIZES, Queue(BUSY)),
    "all are used": ([BUSY], ME, Sizes(), Queue(BUSY)),
    "its ticket is not seen yet, and is not asked for twice": ([BUSY], replace(ME, ticket_at="uid2"), Sizes(), Wait),
    "what had its ticket is gone": ([BUSY], replace(ME, ticket_at="uid9"), Sizes(), Queue(BUSY)),
    "a cluster that is being deleted takes room": ([member(is_going=True)], ME, Sizes(), Wait),
    "a claim that ended is not taken over, and its end is noted": (
        [member(claims=(lock(-1),)), BUSY],
        replace(ME, taken={1}),
        SIZES,
        Note(member(claims=(lock(-1),))),
    ),
    "nor before the note is a minute old": (
        [member(claims=(lock(-1),), ended_seen_at=ago(1), tickets=(ticket("me", 9),))],
        ME,
        Sizes(),
        Wait,
    ),
    "a note that is older than the last renewal counts for nothing": (
        [member(claims=(lock(-1),), ended_seen_at=ago(500))],
        ME,
        Sizes(),
        Note(member(claims=(lock(-1),), ended_seen_at=ago(500))),
    ),
    "its cluster goes after a minute": (
        [member(claims=(old_lock(),), ended_seen_at=ago(60)), BUSY],
        ME,
        SIZES,
        Spend,
    ),
    "its own claim is not tried again as it was": (
        [member(claims=(lock(9, "me"),))],
        replace(ME, tried={("uid1", "7")}),
        SIZES,
        Wait(1.0),
    ),
    "but the step that has it goes on": ([member(claims=(lock(-1, "me"),)), BUSY], ME, SIZES, "m1"),
    "its own claim comes first, as by a lost answer": ([member(), member(2, claims=(lock(9, "me"),))], ME, SIZES, "m2"),
    "that of an earlier attempt which has ended is not taken over": (
        [member(claims=(lock(9, "attempt0"),))],
        replace(ME, ended_ids={"attempt0"}),
        Sizes(),
        Queue(member(claims=(lock(9, "attempt0"),))),
    ),
    "the attempt has a minute to end its cluster": (
        [member(claims=(lock(99, "attempt0"),), tickets=(ticket("me", 20),))],
        replace(ME, ended_ids={"attempt0"}, since=ago(20)),
        Sizes(),
        Wait(30.0),
    ),
    "after which the next one does": (
        [member(claims=(lock(99, "attempt0"),), tickets=(ticket("me", 60),))],
        replace(ME, ended_ids={"attempt0"}, since=ago(60)),
        Sizes(),
        Spend,
    ),
    "unless there is another cluster": (
        [member(claims=(lock(99, "attempt0"),)), member(2)],
        replace(ME, ended_ids={"attempt0"}, since=ago(60)),
        SIZES,
        "m2",
    ),
    "a claim that cannot be read never ends": (
        [member(claims=(UnreadableLock("x"),))],
        ME,
        Sizes(),
        Queue(member(claims=(UnreadableLock("x"),))),
    ),
    "a broken one makes room": ([member(is_broken=True), BUSY], ME, SIZES, Spend),
    "one that was used often enough makes room": ([member(uses=3)], ME, Sizes(recycle_after_uses=3), Spend),
    "one that is too old makes room": ([member()], ME, Sizes(recycle_after_seconds=500), Spend),
    "one whose claim failed is not tried as it was": (
        [member(), BUSY],
        replace(ME, tried={("uid1", "7")}),
        SIZES,
        Queue(BUSY),
    ),
    "one who waits for longer comes first": (
        [member(used_at=ago(0)), member(2, claims=(lock(),), tickets=(ticket("a", 50), ticket("me", 10)))],
        ME,
        SIZES,
        Wait,
    ),
    "but not for ever, as it may be dead": (
        [member(used_at=ago(0)), member(2, claims=(lock(),), tickets=(ticket("a", 50), ticket("me", 10)))],
        replace(ME, chance_since=ago(2)),
        SIZES,
        "m1",
    ),
    "nor when it has given up": (
        [member(used_at=ago(0)), member(2, claims=(lock(),), tickets=(ticket("a", 50, -1), ticket("me", 10)))],
        ME,
        SIZES,
        "m1",
    ),
    "nor when it has a cluster": (
        [member(used_at=ago(0)), member(2, claims=(lock(9, "a"),), tickets=(ticket("a", 50), ticket("me", 10)))],
        ME,
        SIZES,
        "m1",
    ),
    "a step has an advantage at the cluster with its ticket": (
        [member(used_at=ago(0), tickets=(ticket("me", 10),)), member(2, claims=(lock(),), tickets=(ticket("a", 50),))],
        ME,
        SIZES,
        "m1",
    ),
    "which is bounded": (
        [member(used_at=ago(0), tickets=(ticket("me", 10),)), member(2, claims=(lock(),), tickets=(ticket("a", 80),))],
        ME,
        SIZES,
        Wait,
    ),
    "steps that wait make new ones in their turn too": (
        [member(2, claims=(lock(),), tickets=(ticket("a", 50), ticket("me", 10)))],
        ME,
        SIZES,
        Wait,
    ),
    "and after some time whoever comes next": (
        [member(2, claims=(lock(),), tickets=(ticket("a", 50), ticket("me", 10)))],
        replace(ME, chance_since=ago(2)),
        SIZES,
        Create(1),
    ),
    "a step whose ticket went with its cluster takes another one": (
        [member(claims=(lock(),), tickets=(ticket("a", 1),)), BUSY],
        ME,
        SIZES,
        Queue(BUSY),
    ),
}


@pytest.mark.parametrize(("members", "who", "sizes", "expected"), DECISIONS.values(), ids=DECISIONS)
def test_what_a_step_does_next(
    members: list[Member], who: Claimer, sizes: Sizes, expected: Decision | str | type[Wait | Spend]
) -> None:
    found = decide(members, NOON, who, sizes)
    if isinstance(expected, str):
        assert isinstance(found, Claim)
        assert found.member.name == expected
    elif isinstance(expected, type):
        assert isinstance(found, expected)
    else:
        assert found == expected


def test_steps_that_come_together_go_to_different_clusters() -> None:
    members = [member(slot) for slot in range(1, 11)]
    chosen = {decide(members, NOON, Claimer(f"step{n}", NOON), Sizes(max_size=10)) for n in range(10)}
    assert len(chosen) >= 5


def test_a_wait_ends_when_a_claim_does() -> None:
    waiting = member(claims=(lock(7),), tickets=(ticket("me", 1),))
    assert decide([waiting], NOON, ME, Sizes()) == Wait(7)


GIVEN_BACK = {
    "a success that left nothing": (StepOutcome.SUCCEEDED, True, None, True),
    "a success that left an actor": (StepOutcome.SUCCEEDED, True, "actors still live: a", False),
    "a failure": (StepOutcome.FAILED, True, None, False),
    "an interrupt": (StepOutcome.INTERRUPTED, True, None, False),
    "an end that is not known": (StepOutcome.UNKNOWN, True, None, False),
    "a retry": (StepOutcome.RETRY_REQUESTED, True, None, False),
    "a head that was never reached": (StepOutcome.SUCCEEDED, False, None, False),
}


@pytest.mark.parametrize(("outcome", "used", "left", "expected"), GIVEN_BACK.values(), ids=GIVEN_BACK)
def test_only_a_clean_success_gives_a_cluster_back(
    outcome: StepOutcome, used: bool, left: str | None, expected: bool
) -> None:
    assert is_given_back(outcome, used=used, left=left) is expected


ROWS: dict[str, tuple[int, object, str | None]] = {
    "none": (200, [], None),
    "one that is removed": (200, [{"state": "REMOVED", "name": "a"}], None),
    "a detached one": (
        200,
        [{"placement_group_id": "c0ffee", "name": "a", "creator_job_id": "01000000", "state": "CREATED"}],
        "placement groups still reserve resources: a",
    ),
    "one that waits": (
        200,
        [{"placement_group_id": "c0ffee", "name": "", "state": "PENDING"}],
        "placement groups still reserve resources: c0ffee",
    ),
    "an answer without rows": (200, None, "its placement groups could not be listed (HTTP 200)"),
    "a refusal": (500, [], "its placement groups could not be listed (HTTP 500)"),
}


@pytest.mark.parametrize(("status", "rows", "expected"), ROWS.values(), ids=ROWS)
def test_which_placement_groups_a_step_has_left(status: int, rows: object, expected: str | None) -> None:
    assert groups_left(status, json.dumps({"data": {"result": {"result": rows}}}).encode()) == expected


@pytest.mark.parametrize("left", [actors_left, groups_left])
def test_a_list_that_is_cut_off_proves_nothing(left: Callable[[int, bytes], str | None]) -> None:
    found = left(200, json.dumps({"data": {"result": {"result": [], "num_filtered": 1}}}).encode())
    assert found is not None
    assert "could not all be listed" in found


# What a sensor does

IDLE = Sizes(size=2, max_size=3, idle_seconds=600)
USED = replace(BUSY, sizes=IDLE)
CARES: dict[str, tuple[list[Member], set[str], tuple[int, ...]]] = {
    "one is missing": ([member(sizes=IDLE)], set(), (2,)),
    "a claimed one counts": ([member(sizes=IDLE), USED], set(), ()),
    "one that is being deleted is replaced where there is room": (
        [member(sizes=IDLE), member(2, sizes=IDLE, is_going=True)],
        set(),
        (3,),
    ),
    "nothing is made beyond max_size": (
        [member(sizes=Sizes(size=2, max_size=2, idle_seconds=600)), member(2, is_going=True, used_at=ago(200))],
        set(),
        (),
    ),
    "a pool that nobody uses goes whole": (
        [member(sizes=IDLE, used_at=ago(600)), member(2, sizes=IDLE, used_at=ago(900))],
        {"m1", "m2"},
        (),
    ),
    "one that is used keeps the others": ([member(sizes=IDLE, used_at=ago(600)), USED], set(), ()),
    "so does a step that waits": (
        [
            member(sizes=IDLE, used_at=ago(600)),
            member(2, sizes=IDLE, used_at=ago(600), is_going=True, tickets=(ticket("a", 9),)),
        ],
        set(),
        (3,),
    ),
    "one beyond size goes when it has been free for long": (
        [member(1, sizes=IDLE, used_at=ago(700)), member(2, sizes=IDLE), member(3, sizes=IDLE, created_at=ago(900))],
        set(),
        (),
    ),
    "a claim that ended is given a minute": ([member(claims=(lock(-1),), sizes=IDLE), USED], set(), ()),
    "and then goes with its cluster": (
        [member(claims=(old_lock(),), ended_seen_at=ago(60), sizes=IDLE), USED],
        {"m1"},
        (3,),
    ),
    "a broken one goes": ([member(is_broken=True, sizes=IDLE), USED], {"m1"}, (3,)),
    "without sizes that can be read all stay": (
        [member(sizes=None), member(2, claims=(lock(-1),), sizes=None)],
        set(),
        (),
    ),
}


@pytest.mark.parametrize(("members", "ends", "slots"), CARES.values(), ids=CARES)
def test_what_becomes_of_a_pool(members: list[Member], ends: set[str], slots: tuple[int, ...]) -> None:
    found = care(members, NOON)
    assert {one.name for one, _ in found.ends} == ends
    assert found.slots == slots
    assert {one.name for one, _ in (*found.ends, *found.keeps)} == {one.name for one in members}


def test_of_those_beyond_size_the_one_goes_that_was_free_for_longest() -> None:
    members = [
        replace(
            member(slot, sizes=Sizes(size=1, max_size=3, idle_seconds=60), used_at=ago(seconds)), created_at=ago(999)
        )
        for slot, seconds in ((1, 100), (2, 300), (3, 10))
    ]
    found = care(members, NOON)
    assert [one.name for one, _ in found.ends] == ["m2", "m1"]


def test_what_a_sensor_makes_does_not_keep_a_pool_in_use() -> None:
    made = member(sizes=IDLE, used_at=ago(700))
    found: Care = care([replace(made, created_at=ago(5))], NOON)
    assert [one.name for one, _ in found.ends] == ["m1"]


# What is written


def test_sizes_and_tickets_are_read_as_they_were_written() -> None:
    sizes = Sizes(size=3, max_size=5, idle_seconds=60.5, recycle_after_uses=7, recycle_after_seconds=9)
    assert sizes_of(sizes.text()) == sizes
    one = ticket("a", 5)
    assert ticket_of("a", one.text()) == one


@pytest.mark.parametrize(
    "value", [None, "", "[]", "{}", '{"size": true, "max_size": 1, "idle_seconds": 1}', '{"size": 1}']
)
def test_what_cannot_be_read_is_not_guessed(value: str | None) -> None:
    assert sizes_of(value) is None
    assert ticket_of("a", value) is None


def test_a_ticket_of_a_wrong_clock_keeps_nobody_away_for_ever() -> None:
    assert not Ticket("a", ago(3 * 86400), NOON + timedelta(days=99)).is_live(NOON)
    assert not Ticket("a", NOON + timedelta(days=9), NOON + timedelta(days=99)).is_live(NOON)


TEMPLATE: dict[str, Any] = {"spec": {"containers": []}}
USED_CLUSTER: dict[str, Any] = {
    "metadata": {
        "name": "dagster-d-1",
        "namespace": "ray",
        "uid": "u",
        "resourceVersion": "9",
        "labels": {"dagster/pool": "d", "dagster/pool-slot": "1", "team": "a"},
        "annotations": {
            "dagster/pool-sizes": SIZES.text(),
            "dagster/pool-uses": "4",
            "dagster/pool-ticket-a": ticket("a", 1).text(),
            "dagster/lock-a": lock().text(),
            "dagster/creation-id": "c",
            "note": "kept",
        },
    },
    "spec": {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {"template": TEMPLATE},
        "workerGroupSpecs": [
            {"groupName": "w", "minReplicas": 1, "replicas": 7, "scaleStrategy": {"workersToDelete": ["p"]}}
        ],
    },
    "status": {"state": "ready"},
}


def test_a_copy_has_the_specification_and_nothing_of_what_happened() -> None:
    found = copy_of(USED_CLUSTER, "dagster-d-2", 2, NOON)
    assert found["metadata"] == {
        "name": "dagster-d-2",
        "namespace": "ray",
        "labels": {"dagster/pool": "d", "dagster/pool-slot": "2", "team": "a"},
        "annotations": {
            "dagster/pool-sizes": SIZES.text(),
            "dagster/pool-used-at": "2026-01-01T12:00:00Z",
            "note": "kept",
        },
    }
    assert found["spec"]["workerGroupSpecs"] == [{"groupName": "w", "minReplicas": 1, "replicas": 1}]
    read = member_of({**found, "metadata": {**found["metadata"], "uid": "v"}}, NOON)
    assert (read.slot, read.uses, read.claims, read.tickets, read.sizes) == (2, 0, (), (), SIZES)

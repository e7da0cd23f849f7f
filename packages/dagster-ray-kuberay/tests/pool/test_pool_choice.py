"""What a step does to get a cluster of a pool, and whether it gives it back. Tables."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from pool_cases import BUSY, NOON, SIZES, ago, lock, member, old_lock, ticket

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._pool.choice import (
    Claim,
    Claimer,
    Create,
    Decision,
    Note,
    Queue,
    Spend,
    Wait,
    decide,
    is_given_back,
)
from dagster_ray.kuberay._pool.leftovers import actors_left, groups_left
from dagster_ray.kuberay._pool.members import Member, Sizes
from dagster_ray.kuberay._sharing.locks import UnreadableLock

ME = Claimer("me", NOON)
TICKETED = replace(ME, ticket_at="uid2", ticket_until=ago(-500))
BUSY_AND_OVER = replace(BUSY, tickets=(ticket("me", 86400, 0),))
DECISIONS: dict[str, tuple[list[Member], Claimer, Sizes, Decision | str | type[Wait | Spend]]] = {
    "an empty pool": ([], ME, Sizes(), Create(1)),
    "one is free": ([member(), BUSY], ME, SIZES, "m1"),
    "one that is ready comes before one that starts": ([member(is_ready=False), member(2)], ME, SIZES, "m2"),
    "one that starts comes before a new one": ([member(is_ready=False)], ME, SIZES, "m1"),
    "all are used, and there is room": ([BUSY], ME, SIZES, Create(1)),
    "a slot whose name was taken is not tried again": ([BUSY], replace(ME, taken={1}), SIZES, Queue(BUSY)),
    "all are used": ([BUSY], ME, Sizes(), Queue(BUSY)),
    "its ticket is not seen yet, and is not asked for twice": ([BUSY], TICKETED, Sizes(), Wait),
    "what had its ticket is gone": ([BUSY], replace(TICKETED, ticket_at="uid9"), Sizes(), Queue(BUSY)),
    "a ticket that is not valid any more is written again where it was": (
        [member(claims=(lock(),)), BUSY_AND_OVER],
        replace(TICKETED, ticket_until=NOON),
        SIZES,
        Queue(BUSY_AND_OVER),
    ),
    "so is one that an earlier attempt has left": ([BUSY_AND_OVER], ME, Sizes(), Queue(BUSY_AND_OVER)),
    "a step looks again when its ticket ends": ([BUSY], replace(TICKETED, ticket_until=ago(-3)), Sizes(), Wait(3.0)),
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

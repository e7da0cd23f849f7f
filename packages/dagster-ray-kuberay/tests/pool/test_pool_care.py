"""What a sensor does with the clusters of a pool. Tables."""

from dataclasses import replace

import pytest
from pool_cases import BUSY, NOON, ago, lock, member, old_lock, ticket

from dagster_ray.kuberay._pool.care import UNUSED_SECONDS, Care, care, succeeded
from dagster_ray.kuberay._pool.cron import ticks
from dagster_ray.kuberay._pool.members import Member, Sizes
from dagster_ray.kuberay._pool.schedule import Entry, InForce, Schedule

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
    "where no head can run, none is made": (
        [member(slot, is_broken=True, is_ready=False, sizes=IDLE) for slot in (1, 2)],
        {"m1", "m2"},
        (),
    ),
    "all are too old, and one stays until there is another": (
        [member(slot, sizes=replace(IDLE, recycle_after_seconds=500)) for slot in (1, 2)],
        {"m1"},
        (3,),
    ),
    "all are too old, and one stays until there is room for another": (
        [member(slot, sizes=replace(IDLE, max_size=2, recycle_after_seconds=500)) for slot in (1, 2)],
        {"m1"},
        (),
    ),
    "so that another is made beside it": (
        [member(2, sizes=replace(IDLE, max_size=2, recycle_after_seconds=500))],
        set(),
        (1,),
    ),
    "and goes then": (
        [
            member(1, sizes=replace(IDLE, max_size=2, recycle_after_seconds=500), created_at=ago(5)),
            member(2, sizes=replace(IDLE, max_size=2, recycle_after_seconds=500)),
        ],
        {"m2"},
        (),
    ),
    "one that is alone in a pool without room goes": (
        [member(sizes=Sizes(idle_seconds=600, recycle_after_seconds=500))],
        {"m1"},
        (),
    ),
    "without sizes that can be read all stay": (
        [member(sizes=None), member(2, claims=(lock(-1),), sizes=None)],
        set(),
        (),
    ),
}


@pytest.mark.parametrize(("members", "ends", "slots"), CARES.values(), ids=CARES)
def test_what_becomes_of_a_pool(members: list[Member], ends: set[str], slots: tuple[int, ...]) -> None:
    found = care(members, NOON, ticks)
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
    found = care(members, NOON, ticks)
    assert [one.name for one, _ in found.ends] == ["m2", "m1"]


def test_what_a_sensor_makes_does_not_keep_a_pool_in_use() -> None:
    made = member(sizes=IDLE, used_at=ago(700))
    found: Care = care([replace(made, created_at=ago(5))], NOON, ticks)
    assert [one.name for one, _ in found.ends] == ["m1"]


# By a schedule: three from 8 to 19, and none at night

DAY = Schedule((Entry("0 8 * * *", 3), Entry("0 19 * * *", 0)))
BY_DAY = Sizes(size=DAY, max_size=4, idle_seconds=600)
BY_NIGHT = replace(BY_DAY, size=Schedule(DAY.entries, "Asia/Tokyo"))
LONG_AGO = ago(2 * 86400)


def scheduled(slot: int = 1, *, free: float = 900, sizes: Sizes = BY_DAY, **more: object) -> Member:
    """Return a member of a pool that steps used two days ago, which has been free for so many seconds."""
    return replace(member(slot, sizes=sizes, used_at=LONG_AGO, **more), created_at=ago(free))


SCHEDULED: dict[str, tuple[list[Member], set[str], tuple[int, ...]]] = {
    "its clusters stay though no step uses them": ([scheduled(1), scheduled(2), scheduled(3)], set(), ()),
    "missing ones are made though no step uses them": ([scheduled(2)], set(), (1, 3)),
    "one beyond the size goes": ([scheduled(1), scheduled(2), scheduled(3), scheduled(4, free=1000)], {"m4"}, ()),
    "but not before it has been free for long": (
        [scheduled(1, free=5), scheduled(2, free=5), scheduled(3, free=5), scheduled(4, free=5)],
        set(),
        (),
    ),
    "a claimed one is not beyond the size": ([scheduled(n, claims=(lock(),)) for n in (1, 2, 3, 4)], set(), ()),
    "where the size is 0 now, free ones go": (
        [scheduled(1, sizes=BY_NIGHT), scheduled(2, sizes=BY_NIGHT)],
        {"m1", "m2"},
        (),
    ),
    "but not those that have not been free for long": (
        [scheduled(1, sizes=BY_NIGHT), scheduled(2, sizes=BY_NIGHT, free=599)],
        {"m1"},
        (),
    ),
    "and none that a step has": (
        [scheduled(1, sizes=BY_NIGHT, claims=(lock(),)), scheduled(2, sizes=BY_NIGHT)],
        {"m2"},
        (),
    ),
    "of a pool that no step has used for a week all go": (
        [replace(scheduled(1), used_at=ago(UNUSED_SECONDS)), replace(scheduled(2), used_at=ago(UNUSED_SECONDS + 9))],
        {"m1", "m2"},
        (),
    ),
    "a schedule that cannot be evaluated keeps all": (
        [scheduled(n, sizes=replace(BY_NIGHT, size=Schedule(DAY.entries, "Mars"))) for n in (1, 2, 3, 4)],
        set(),
        (),
    ),
    "but not when no step has used its pool for a week": (
        [replace(scheduled(sizes=replace(BY_NIGHT, size=Schedule(DAY.entries, "Mars"))), used_at=ago(UNUSED_SECONDS))],
        {"m1"},
        (),
    ),
    "all are too old, and one stays until there is room for another": (
        [scheduled(n, sizes=replace(BY_DAY, max_size=3, recycle_after_seconds=500)) for n in (1, 2, 3)],
        {"m1", "m2"},
        (),
    ),
}


@pytest.mark.parametrize(("members", "ends", "slots"), SCHEDULED.values(), ids=SCHEDULED)
def test_what_becomes_of_a_pool_with_a_schedule(members: list[Member], ends: set[str], slots: tuple[int, ...]) -> None:
    test_what_becomes_of_a_pool(members, ends, slots)


def test_the_size_in_force_is_told_with_its_end() -> None:
    assert care([scheduled()], NOON, ticks).wanted == InForce(3, NOON.replace(hour=19))
    assert care([member(sizes=IDLE)], NOON, ticks).wanted == InForce(2)
    assert care([member(sizes=IDLE, used_at=ago(700))], NOON, ticks).wanted == InForce(0)


@pytest.mark.parametrize(
    ("used", "ends"),
    [
        pytest.param(599, set[str](), id="a step has used it a moment ago"),
        pytest.param(600, {"m1", "m2"}, id="no step has used it for long"),
    ],
)
def test_a_pool_in_whose_place_another_one_is_used_goes_by_its_idle_seconds(used: float, ends: set[str]) -> None:
    members = [replace(scheduled(slot), used_at=ago(used)) for slot in (1, 2)]
    assert {one.name for one, _ in care(members, NOON, ticks, is_succeeded=True).ends} == ends
    assert care(members, NOON, ticks).ends == ()


SUCCESSIONS: dict[str, tuple[dict[str, tuple[str, float]], set[str]]] = {
    "one pool": ({"a": ("train", 9000)}, set()),
    "one that is used later": ({"a": ("train", 60), "b": ("train", 0)}, {"a"}),
    "both are in use": ({"a": ("train", 0), "b": ("train", 0)}, set()),
    "pools that are called otherwise": ({"a": ("train", 60), "b": ("score", 0)}, set()),
    "several": ({"a": ("train", 60), "b": ("train", 90), "c": ("train", 5)}, {"a", "b"}),
}


@pytest.mark.parametrize(("pools", "expected"), SUCCESSIONS.values(), ids=SUCCESSIONS)
def test_which_pools_another_one_has_succeeded(pools: dict[str, tuple[str, float]], expected: set[str]) -> None:
    assert succeeded({key: (name, ago(seconds)) for key, (name, seconds) in pools.items()}) == expected

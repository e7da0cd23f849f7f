"""What becomes of a pool's clusters that no step has: what a sensor does. Pure."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from dagster_ray.kuberay._pool.choice import free, newly_ended, spent
from dagster_ray.kuberay._pool.members import Member, Sizes, live_tickets
from dagster_ray.kuberay._pool.schedule import InForce, Schedule, Ticks, in_force

UNUSED_SECONDS = 7 * 86400.0
"""For how long a schedule keeps clusters of a pool that no step uses: nobody may need the pool any more."""

Key = TypeVar("Key", bound=Hashable)
Ends = list[tuple[Member, str]]


@dataclass(frozen=True, slots=True)
class Care:
    """What a sensor does with a pool.

    Attributes:
        ends: The members that go, each with the reason.
        slots: The slots in which members are made, as copies of `model`.
        model: The member that was used last; None if the pool has none.
        used_at: When the pool was used last.
        keeps: The members that stay, each with the reason.
        notes: Those of them whose claims have ended, which is to be noted.
        wanted: The size that the pool has now; None if that is not known.
    """

    ends: tuple[tuple[Member, str], ...]
    slots: tuple[int, ...]
    model: Member | None
    used_at: datetime
    keeps: tuple[tuple[Member, str], ...]
    notes: tuple[Member, ...] = ()
    wanted: InForce | None = None


def care(members: Sequence[Member], now: datetime, ticks: Ticks, *, is_succeeded: bool = False) -> Care:
    """Return what becomes of a pool while no step looks at it. Its sizes are those of the member used last.

    A pool that no step has used for `idle_seconds` loses all that are free, unless its schedule keeps them. Else
    members that are more than its size go when they have been free for so long, and missing ones are made.

    Args:
        members: All members of the pool, also those that are being deleted.
        now: The API server's time.
        ticks: When a cron string is due.
        is_succeeded: Whether steps use another pool in its place, so that its schedule keeps nothing.
    """
    model = _used_last(members, now)
    sizes = model.sizes if model is not None else None
    if sizes is None:
        return _as_it_is(members, now, "its pool's sizes cannot be read")
    used_at = used_last_at(members, now)
    ends = {one.uid: (one, why) for one in members if (why := spent(one, now, sizes)) is not None}
    idle_seconds = (now - used_at).total_seconds()
    is_scheduled = isinstance(sizes.size, Schedule) and not is_succeeded and idle_seconds < UNUSED_SECONDS
    is_over = idle_seconds >= sizes.idle_seconds and not is_scheduled
    wanted = InForce(0) if is_over else in_force(sizes.size, now, ticks)
    if wanted is None:
        return _as_it_is(members, now, "its pool's schedule cannot be evaluated here")
    slots: list[int] = []
    if is_over:
        ends |= {
            one.uid: (one, f"no step has used its pool for {idle_seconds:.0f} s") for one in free(members, now, sizes)
        }
    else:
        missing = wanted.size - _counted(members, ends, now, sizes)
        ends |= {one.uid: (one, why) for one, why in _surplus(free(members, now, sizes), -missing, now, sizes)}
        if not _is_hopeless(members):
            slots = _slots(members, missing, sizes)
            if missing > 0 and (last := _last_one(members, ends, now, sizes)) is not None:
                del ends[last.uid]
    keeps = tuple((one, _kept(one, now, sizes)) for one in members if one.uid not in ends)
    return Care(tuple(ends.values()), tuple(slots), model, used_at, keeps, tuple(newly_ended(members, now)), wanted)


def _as_it_is(members: Sequence[Member], now: datetime, why: str) -> Care:
    """Return that all members stay, because nobody can tell what becomes of them."""
    return Care((), (), None, now, tuple((one, why) for one in members))


def used_last_at(members: Sequence[Member], now: datetime) -> datetime:
    """Return when a step used or wanted the pool last; `now` if one does, or if no member tells."""
    if any(one.is_claimed(now) for one in members) or live_tickets(members, now):
        return now
    told = [time for one in members if (time := one.used_at or one.created_at) is not None]
    return max(told, default=now)


def succeeded(pools: Mapping[Key, tuple[Hashable, datetime]]) -> set[Key]:
    """Return the pools in whose place steps use another one, as after a change of the image or of the commit.

    Args:
        pools: Of each pool, what it has in common with those that may succeed it, and when it was used last.
    """
    latest: dict[Hashable, datetime] = {}
    for kin, used_at in pools.values():
        latest[kin] = max(used_at, latest.get(kin, used_at))
    return {key for key, (kin, used_at) in pools.items() if used_at < latest[kin]}


def _used_last(members: Iterable[Member], now: datetime) -> Member | None:
    """Return the member that was used last, of those whose sizes can be read."""
    told = [one for one in members if one.sizes is not None]
    return max(told, key=lambda one: (one.used_at or datetime.min.replace(tzinfo=now.tzinfo), one.slot), default=None)


def _counted(members: Sequence[Member], ends: Collection[str], now: datetime, sizes: Sizes) -> int:
    """Return how many members the pool has, by its size: those that are free, and those that a step has or may have."""
    claimed = [one for one in members if one.claims and not (one.is_going or one.uid in ends)]
    return len(free(members, now, sizes)) + len(claimed)


def _slots(members: Sequence[Member], missing: int, sizes: Sizes) -> list[int]:
    """Return the slots in which missing members are made."""
    occupied = {one.slot for one in members}
    open_slots = [slot for slot in range(1, sizes.max_size + 1) if slot not in occupied]
    return open_slots[: max(0, min(missing, sizes.max_size - len(members)))]


def _is_hopeless(members: Sequence[Member]) -> bool:
    """Return whether heads cannot run and none does, so that a copy would be no better."""
    return any(one.is_broken for one in members) and not any(one.is_ready for one in members)


def _last_one(members: Sequence[Member], ends: Collection[str], now: datetime, sizes: Sizes) -> Member | None:
    """Return the member that stays although nobody may use it, as a model; None if it is not needed, or takes the room.

    A pool whose members all go at once, as when all are too old, would leave nothing of which to make others, or to try
    again if those that are made now are refused.
    """
    left = [one for one in members if not one.is_going]
    is_last = bool(left) and all(one.uid in ends for one in left)
    return _used_last(left, now) if is_last and sizes.max_size > 1 else None


def _surplus(rest: Sequence[Member], count: int, now: datetime, sizes: Sizes) -> Ends:
    """Return which free members are too many: those that were free for the longest time come first."""
    found: Ends = []
    for one in sorted(rest, key=lambda one: (one.free_since or now, one.slot)):
        since = one.free_since
        seconds = 0.0 if since is None else (now - since).total_seconds()
        if len(found) < count and seconds >= sizes.idle_seconds:
            found.append((one, f"its pool has more than its size, and it has been free for {seconds:.0f} s"))
    return found


def _kept(member: Member, now: datetime, sizes: Sizes) -> str:
    if member.is_going:
        return "is being deleted already"
    if member.is_claimed(now):
        return "a step has claimed it"
    if spent(member, now, sizes) is not None:
        return "is the last one of its pool, and stays until there is another one"
    if member.claims:
        return "its claim has ended, and its step has a minute to renew it"
    return "is free, for the next step of its pool"

"""What a step does to get a cluster of a pool, and whether it gives it back. Pure.

Members as they were seen, the API server's time and the pool's sizes go in; one decision comes out. What makes it
safe is not decided here but by the API server: a claim names the resourceVersion in which the member had none, and a
new member has one of `max_size` names.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._pool.members import Member, Sizes, Ticket, live_tickets
from dagster_ray.kuberay._sharing.locks import Lock

STAGGER_SECONDS = 2.0
"""How long each step in line has for itself before the next one may come, in case that it does not live."""
OWN_LINE_SECONDS = 60.0
"""By how much a step that waits at the cluster itself may come before one that has waited for longer elsewhere.

Taking the cluster that has the step's ticket saves the request that would remove it from another one.
"""
ENDED_SECONDS = 60.0
"""For how long claims must be known to have ended before their cluster goes.

Claims end while the API server is away too, when no step can renew its own. After an outage a heartbeat comes again
within 40 s.
"""
_LONGEST_WAIT_SECONDS = 30.0
_OWN_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Claimer:
    """A step that wants a cluster.

    Attributes:
        id: What its claim and its ticket are called.
        since: When it began to wait.
        ended_ids: What the claims of its earlier attempts are called that have ended for certain.
        chance_since: Since when it has seen a free member, or room for one more; None while it sees neither.
        tried: Members, by uid and resourceVersion, whose claim failed: they are other than they were seen.
        taken: Slots whose name was taken when it tried to create a member.
        ticket_at: The uid of the member that has its ticket, also where an older version of the member is seen.
        ticket_until: Until when that ticket is valid; None while there is none.
    """

    id: str
    since: datetime
    ended_ids: Collection[str] = ()
    chance_since: datetime | None = None
    tried: Collection[tuple[str, str]] = ()
    taken: Collection[int] = ()
    ticket_at: str | None = None
    ticket_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim this member as it was seen."""

    member: Member


@dataclass(frozen=True, slots=True)
class Create:
    """Create the member of this slot, with a claim on it."""

    slot: int


@dataclass(frozen=True, slots=True)
class Spend:
    """Delete this member as it was seen: nobody may use it again, and it takes the room of another one."""

    member: Member
    because: str


@dataclass(frozen=True, slots=True)
class Note:
    """Note on this member, as it was seen, that its claims have ended."""

    member: Member


@dataclass(frozen=True, slots=True)
class Queue:
    """Put a ticket on this member, and wait."""

    member: Member


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until something changes, for so many seconds at most."""

    seconds: float


Decision: TypeAlias = Claim | Create | Spend | Note | Queue | Wait


def spent(member: Member, now: datetime, sizes: Sizes) -> str | None:
    """Return why nobody may use a member that no live claim holds; None if somebody may, or does.

    A claim that ended without being given back is never taken over: nobody knows what its step has left behind. Until
    the end has been known for a minute, its step may still renew it.
    """
    if member.is_going or member.is_claimed(now):
        return None
    if member.claims:
        is_left = (member.ended_seconds(now) or 0.0) >= ENDED_SECONDS
        return "the step that used it did not give it back" if is_left else None
    if member.is_broken:
        return "its head cannot run"
    if sizes.recycle_after_uses is not None and member.uses >= sizes.recycle_after_uses:
        return f"{member.uses} steps have used it"
    age = None if member.created_at is None else (now - member.created_at).total_seconds()
    if sizes.recycle_after_seconds is not None and age is not None and age >= sizes.recycle_after_seconds:
        return f"it is {age:.0f} s old"
    return None


def newly_ended(members: Sequence[Member], now: datetime) -> list[Member]:
    """Return the members whose claims have ended, which nobody has noted yet."""
    left = [one for one in members if one.claims and not (one.is_going or one.is_claimed(now))]
    return [one for one in left if one.ended_seconds(now) is None]


def free(members: Sequence[Member], now: datetime, sizes: Sizes) -> list[Member]:
    """Return the members that a step may claim: those that no step has, and nothing speaks against."""
    return [one for one in members if not (one.is_going or one.claims or spent(one, now, sizes))]


def decide(members: Sequence[Member], now: datetime, who: Claimer, sizes: Sizes) -> Decision:
    """Return what a step does next to get a cluster.

    What has the step's own claim comes first: the answer to its PATCH or POST was lost, or an earlier attempt of a step
    whose body runs in the cluster has used it. Then a free member that is ready, one that starts, and a new one where
    the pool has room. Steps that wait take what comes free in the order of their tickets. One that does not take its
    own lets the next one come after some time, as it may be dead.

    Args:
        members: All members of the pool, also those that are being deleted.
        now: The API server's time.
        who: The step.
        sizes: The pool's sizes.
    """
    own = [one for one in members if not one.is_going and any(claim.id == who.id for claim in one.claims)]
    if own:
        fresh = [one for one in own if (one.uid, one.version) not in who.tried]
        return Claim(min(fresh, key=lambda one: one.slot)) if fresh else Wait(_OWN_WAIT_SECONDS)
    line = _line(members, now, who)
    if who.tried and line is not None:
        return Queue(line)  # others have come at once, so that each needs its place
    waits = [_LONGEST_WAIT_SECONDS]
    chances = _chances(members, now, who, sizes)
    if chances:
        mine = _of_line(chances, live_tickets(members, now), now, who)
        if isinstance(mine, Claim | Create | Spend):
            return mine
        waits.append(mine)
    ended = [one for one in newly_ended(members, now) if (one.uid, one.version) not in who.tried]
    if ended and not chances:
        return Note(min(ended, key=lambda one: one.slot))
    if who.ended_ids and (cleanup := ENDED_SECONDS - (now - who.since).total_seconds()) > 0:
        waits.append(cleanup)
    known = [seconds for one in members if (seconds := one.ended_seconds(now)) is not None]
    waits += [ENDED_SECONDS - seconds for seconds in known if seconds < ENDED_SECONDS]
    claims = [claim for one in members for claim in one.claims if isinstance(claim, Lock) and claim.is_live(now)]
    waits += [(claim.ends_at - now).total_seconds() for claim in claims]
    waits += [] if who.ticket_until is None else [max(_OWN_WAIT_SECONDS, (who.ticket_until - now).total_seconds())]
    return Wait(max(0.1, min(waits))) if line is None else Queue(line)


def has_chance(members: Sequence[Member], now: datetime, who: Claimer, sizes: Sizes) -> bool:
    """Return whether there is a member that some step may claim, or room for one more."""
    return bool(_chances(members, now, who, sizes))


def _line(members: Sequence[Member], now: datetime, who: Claimer) -> Member | None:
    """Return the claimed member with the fewest tickets; None for a step that has a ticket, or if none is claimed.

    A ticket that is not valid any more is written again where it was, as a step may wait for longer than one is valid.
    """
    is_noted = who.ticket_until is not None and now < who.ticket_until
    if any((is_noted and one.uid == who.ticket_at) or _has_ticket(one, now, who) for one in members):
        return None
    lines = [one for one in members if one.is_claimed(now) and not one.is_going]
    return min(
        lines,
        key=lambda one: (one.uid != who.ticket_at, len(one.tickets), _spread(who.id, one.uid)),
        default=None,
    )


def _has_ticket(member: Member, now: datetime, who: Claimer) -> bool:
    return any(ticket.id == who.id and ticket.is_live(now) for ticket in member.tickets)


def _chances(
    members: Sequence[Member], now: datetime, who: Claimer, sizes: Sizes
) -> Sequence[Claim] | Sequence[Create | Spend]:
    """Return the ways to a cluster: all free members, else all ways to a new one."""
    rest = [one for one in free(members, now, sizes) if (one.uid, one.version) not in who.tried]
    if rest:
        return [Claim(one) for one in sorted(rest, key=lambda one: (not one.is_ready, one.slot))]
    occupied = {one.slot for one in members}
    open_slots = [slot for slot in range(1, sizes.max_size + 1) if slot not in occupied and slot not in who.taken]
    count = max(0, sizes.max_size - len(members))
    created: list[Create | Spend] = [Create(slot) for slot in open_slots[:count]]
    if created:
        return created
    reasons = (
        (one, spent(one, now, sizes) or _left(one, now, who)) for one in sorted(members, key=lambda one: one.slot)
    )
    return [Spend(one, why) for one, why in reasons if why and (one.uid, one.version) not in who.tried]


def _left(member: Member, now: datetime, who: Claimer) -> str | None:
    """Return why the step may delete a member that an attempt of it has left behind; None if it may not.

    The attempt's own process may still be at its cleanup when the next one begins, and has a minute for it.
    """
    if member.is_going or not member.claims or any(claim.id not in who.ended_ids for claim in member.claims):
        return None
    is_late = (now - who.since).total_seconds() >= ENDED_SECONDS
    return "an attempt of this step that has ended did not give it back" if is_late else None


def _of_line(
    chances: Sequence[Claim] | Sequence[Create | Spend], tickets: Sequence[Ticket], now: datetime, who: Claimer
) -> Claim | Create | Spend | float:
    """Return the chance that is this step's, or in how many seconds it may take one of another step.

    All steps that see the same members come to the same result, so that each tries another one. The one that has waited
    for longest comes first, but for a bounded advantage of those whose ticket is on the member itself.
    """
    rest, waiting = list(chances), sorted(tickets, key=lambda ticket: (ticket.since, ticket.id))
    for chance in chances:
        if not waiting:
            break
        first = min(waiting, key=lambda ticket: _turn(ticket, chance))
        waiting.remove(first)
        rest.remove(chance)  # pyright: ignore[reportArgumentType]
        if first.id == who.id:
            return chance
    if rest:
        best = [one for one in rest if isinstance(one, Claim) and one.member.is_ready] or rest
        return min(best, key=lambda one: _spread(who.id, str(one.slot if isinstance(one, Create) else one.member.uid)))
    place = next((n for n, ticket in enumerate(waiting) if ticket.id == who.id), len(waiting))
    since = who.chance_since or now
    seconds = (place + 1) * STAGGER_SECONDS - (now - since).total_seconds()
    return seconds if seconds > 0 else chances[place % len(chances)]


def _turn(ticket: Ticket, chance: Claim | Create | Spend) -> tuple[datetime, str]:
    is_own = not isinstance(chance, Create) and any(one.id == ticket.id for one in chance.member.tickets)
    return ticket.since - timedelta(seconds=OWN_LINE_SECONDS if is_own else 0), ticket.id


def _spread(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("/".join(words).encode()).digest()[:4], "big")


def is_given_back(outcome: StepOutcome, *, used: bool, left: str | None) -> bool:
    """Return whether a step gives its cluster back, rather than delete it.

    Args:
        outcome: How the step ended.
        used: Whether the head accepted its driver, or its job.
        left: What it has left on the cluster, or why that is not known; None if it has left nothing.
    """
    return outcome is StepOutcome.SUCCEEDED and used and left is None

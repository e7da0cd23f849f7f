"""How many clusters a pool keeps at what time, by its schedule. Pure.

When a cron string is due is asked of `Ticks`, because that is Dagster's to say (`cron`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dagster_ray.kuberay._kubernetes.fields import mapping, mappings, text

MOST_MEMBERS = 1000
"""How many clusters any pool may have."""
MOST_ENTRIES = 24
MOST_CHARACTERS = 100
"""Of a cron string, or of the name of a time zone. A full schedule fits an annotation that others still read."""

Ticks: TypeAlias = Callable[[str, str, datetime], tuple[datetime, datetime] | None]
"""Returns of a cron string in a time zone when it was due last, at a time or before, and when it is due next.

None if it cannot tell: it is no cron string, or this machine does not know the time zone.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """The size that a pool has from each time at which a cron string is due."""

    cron: str
    size: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The sizes that a pool has one after the other.

    Attributes:
        entries: At least one. Of those that are due at the same time, the last one counts.
        timezone: The IANA name of the zone in which all of them are due.
    """

    entries: tuple[Entry, ...]
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class InForce:
    """The size that a pool has now.

    Attributes:
        size: How many clusters.
        until: When another size begins; None if none does.
    """

    size: int
    until: datetime | None = None


def in_force(size: int | Schedule, now: datetime, ticks: Ticks) -> InForce | None:
    """Return the size that a pool has now: by its schedule that of the entry which was due last.

    Args:
        size: The pool's size, or its schedule.
        now: The API server's time.
        ticks: When a cron string is due.

    Returns:
        None if that cannot be told of one of the entries: another one might not be the last that was due.
    """
    if isinstance(size, int):
        return InForce(size)
    due = [(entry, ticks(entry.cron, size.timezone, now)) for entry in size.entries]
    known = [
        (last, place, following, entry.size) for place, (entry, at) in enumerate(due) if at for last, following in [at]
    ]
    if not known or len(known) < len(due):
        return None
    _, _, _, now_size = max(known)
    return InForce(now_size, min((following for _, _, following, one in known if one != now_size), default=None))


def is_count(value: object, least: int, most: int = 10**9) -> bool:
    """Return whether a value is a whole number within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def size_of(value: object) -> int | Schedule | None:
    """Return the size, or the schedule, that plain data describes; None if it describes none that can be meant."""
    if isinstance(value, int):
        return value if is_count(value, 0) else None
    given = mapping(value)
    found = mappings(given.get("entries"))
    timezone, sizes = text(given, "timezone"), [one.get("size") for one in found]
    entries = tuple(
        Entry(text(one, "cron"), size) for one, size in zip(found, sizes, strict=True) if isinstance(size, int)
    )
    words = [timezone, *(one.cron for one in entries)]
    is_read = all(0 < len(word) <= MOST_CHARACTERS for word in words) and all(is_count(size, 0) for size in sizes)
    return Schedule(entries, timezone) if is_read and 0 < len(entries) <= MOST_ENTRIES else None

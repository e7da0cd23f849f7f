"""Locks of steps on a shared cluster: annotations of the RayCluster. Pure.

A lock says that a step uses the cluster, and until when that holds without another sign of the step. All times are
the API server's, so that the clocks of steps and collectors do not matter.
"""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping, time_of, time_text
from dagster_ray.kuberay._labels import LOCK_PREFIX

TTL_LIMIT_SECONDS = 30 * 86400.0
"""The longest life of a lock without another sign of its step: 30 days. A longer one counts as this."""

ENDED_ID = "ended"
"""The id of the one lock that stands for all steps that are over: the latest end of theirs."""

_TEXT_LIMIT = 4096
_SHOWN_LIMIT = 300
_STEP_LIMIT = timedelta(days=366)
_CLOCK_LIMIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lock:
    """One step's claim on a cluster.

    Attributes:
        id: What distinguishes it from the locks of other steps.
        run_id: The step's run; None outside of a run.
        step_key: The step; None where one resource serves all steps of a process.
        applied_at: When the step took the cluster.
        renewed_at: When the step was heard of last.
        ttl_seconds: How long the lock lives after that.
    """

    id: str
    run_id: str | None
    step_key: str | None
    applied_at: datetime
    renewed_at: datetime
    ttl_seconds: float

    @property
    def key(self) -> str:
        """The name of its annotation."""
        return f"{LOCK_PREFIX}{self.id}"

    @property
    def ends_at(self) -> datetime:
        """When it ends, unless it is renewed before.

        Bounded, whoever has written it: a sign more than a year after `applied_at` counts as one after a year.
        """
        try:
            heard_at = min(self.renewed_at, self.applied_at + _STEP_LIMIT)
            return heard_at + timedelta(seconds=min(self.ttl_seconds, TTL_LIMIT_SECONDS))
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)

    @property
    def is_common(self) -> bool:
        """Whether it stands for steps that are over."""
        return self.id == ENDED_ID

    def is_live(self, now: datetime) -> bool:
        """Return whether it still holds at `now`, a time of the API server."""
        return now < self.ends_at

    def renewed(self, now: datetime) -> "Lock":
        """Return the lock after another sign of its step.

        A clock that went back a little does not shorten it; one that was wrong by more than a day is not believed.
        """
        at = self.renewed_at if now < self.renewed_at <= now + _CLOCK_LIMIT else now
        return replace(self, renewed_at=at, applied_at=min(max(self.applied_at, at - _STEP_LIMIT / 2), at))

    def is_in_future(self, now: datetime) -> bool:
        """Return whether it is dated later than any clock that is nearly right could have said at `now`."""
        return min(self.applied_at, self.renewed_at) > now + _CLOCK_LIMIT

    def text(self) -> str:
        """Return the annotation's value."""
        return json.dumps(
            {
                "run_id": self.run_id,
                "step_key": self.step_key,
                "applied_at": time_text(self.applied_at),
                "renewed_at": time_text(self.renewed_at),
                "ttl_seconds": self.ttl_seconds,
            }
        )


@dataclass(frozen=True, slots=True)
class UnreadableLock:
    """A lock that cannot be read, perhaps of a later version. It never ends: doubt means that the cluster is in use."""

    id: str

    def is_live(self, now: datetime) -> bool:
        """Return True."""
        del now
        return True


AnyLock: TypeAlias = Lock | UnreadableLock


def locks_of(cluster: Manifest) -> tuple[AnyLock, ...]:
    """Return all locks on a cluster, ended ones too, by their names."""
    annotations = mapping(at(cluster, "metadata", "annotations"))
    return tuple(
        read_lock(key.removeprefix(LOCK_PREFIX), text)
        for key, text in sorted(annotations.items())
        if key.startswith(LOCK_PREFIX)
    )


def read_lock(lock_id: str, text: object) -> AnyLock:
    """Return the lock that an annotation's value describes."""
    return _lock_of(lock_id, text) if isinstance(text, str) else UnreadableLock(lock_id)


# A step that takes its cluster reads the locks of all others three times.
@functools.lru_cache(maxsize=1024)
def _lock_of(lock_id: str, text: str) -> AnyLock:
    value = mapping(json_of(text) if len(text) <= _TEXT_LIMIT else None)
    applied_at, ttl_seconds = time_of(value.get("applied_at")), _seconds(value.get("ttl_seconds"))
    renewed_at = time_of(value.get("renewed_at"))
    if applied_at is None or renewed_at is None or ttl_seconds is None:
        return UnreadableLock(lock_id)
    run_id, step_key = _text(value.get("run_id")), _text(value.get("step_key"))
    return Lock(lock_id, run_id, step_key, applied_at, renewed_at, ttl_seconds)


def live_locks(cluster: Manifest, now: datetime) -> tuple[AnyLock, ...]:
    """Return the locks that hold at `now`, a time of the API server."""
    return tuple(lock for lock in locks_of(cluster) if lock.is_live(now))


def holders(cluster: Manifest, now: datetime) -> tuple[AnyLock, ...]:
    """Return the locks that hold at `now` for a step that may still live."""
    return tuple(lock for lock in live_locks(cluster, now) if lock.id != ENDED_ID)


def common_lock(cluster: Manifest, own: Lock) -> Lock | None:
    """Return the lock of all steps that are over, `own` among them: the latest end of all.

    None if there is one that cannot be read, which `own` must not replace.
    """
    mine = replace(own, id=ENDED_ID)
    there = next((lock for lock in locks_of(cluster) if lock.id == ENDED_ID), mine)
    if isinstance(there, UnreadableLock):
        return None
    return max(there, mine, key=lambda lock: lock.ends_at)


def ended_lock_keys(cluster: Manifest, now: datetime, for_seconds: float) -> list[str]:
    """Return the names of the annotations whose locks ended that long ago, or earlier."""
    before = now - timedelta(seconds=for_seconds)
    return [lock.key for lock in locks_of(cluster) if isinstance(lock, Lock) and lock.ends_at <= before]


def ends_at(locks: Iterable[AnyLock]) -> datetime | None:
    """Return when the last of some locks ends; None if there is none, or one that never ends."""
    ends: list[datetime] = []
    for lock in locks:
        if isinstance(lock, UnreadableLock):
            return None
        ends.append(lock.ends_at)
    return max(ends, default=None)


def _seconds(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _text(value: Any) -> str | None:
    """Return a text that may be shown to people: of bounded length, its control characters as escapes."""
    if not isinstance(value, str) or not value:
        return None
    shown = value[:_SHOWN_LIMIT]
    return shown if shown.isprintable() else repr(shown)[1:-1]

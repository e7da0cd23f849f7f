"""Locks of steps on a shared cluster: annotations of the RayCluster. Pure.

A lock says that a step uses the cluster, and until when that holds without another sign of the step. All times are
the API server's, so that the clocks of steps and collectors do not matter.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping
from dagster_ray.kuberay._kubernetes.times import time_of, time_text
from dagster_ray.kuberay._labels import LOCK_PREFIX

_TEXT_LIMIT = 4096


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
        """When it ends, unless it is renewed before."""
        try:
            return self.renewed_at + timedelta(seconds=self.ttl_seconds)
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)

    def is_live(self, now: datetime) -> bool:
        """Return whether it still holds at `now`, a time of the API server."""
        return now < self.ends_at

    def renewed(self, now: datetime) -> "Lock":
        """Return the lock after another sign of its step; a clock that went back does not shorten it."""
        return replace(self, renewed_at=max(now, self.renewed_at))

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
    value = mapping(json_of(text) if isinstance(text, str) and len(text) <= _TEXT_LIMIT else None)
    applied_at, ttl_seconds = time_of(value.get("applied_at")), _seconds(value.get("ttl_seconds"))
    renewed_at = time_of(value.get("renewed_at"))
    if applied_at is None or renewed_at is None or ttl_seconds is None:
        return UnreadableLock(lock_id)
    run_id, step_key = _text(value.get("run_id")), _text(value.get("step_key"))
    return Lock(lock_id, run_id, step_key, applied_at, renewed_at, ttl_seconds)


def live_locks(cluster: Manifest, now: datetime) -> tuple[AnyLock, ...]:
    """Return the locks that hold at `now`, a time of the API server."""
    return tuple(lock for lock in locks_of(cluster) if lock.is_live(now))


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
    return value if isinstance(value, str) and value else None

"""What the RayClusters of a pool say of themselves: claims, tickets of steps that wait, uses, sizes. Pure.

All of it is labels and annotations, so that any step and any sensor finds it. All times are the API server's.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, json_of, mapping, mappings, text, time_of, time_text
from dagster_ray.kuberay._labels import SLOT_LABEL
from dagster_ray.kuberay._pool.schedule import Schedule, is_count, size_of
from dagster_ray.kuberay._sharing.choice import is_usable
from dagster_ray.kuberay._sharing.locks import AnyLock, ends_at, locks_of
from dagster_ray.kuberay._status.cluster_state import is_ready

TICKET_PREFIX = "dagster/pool-ticket-"
SIZES_ANNOTATION = "dagster/pool-sizes"
USES_ANNOTATION = "dagster/pool-uses"
USED_ANNOTATION = "dagster/pool-used-at"
ENDED_ANNOTATION = "dagster/pool-ended-seen-at"

_TEXT_LIMIT = 4096
TICKET_SECONDS = 86400.0
"""For how long a ticket is written at most; a step that waits for longer writes it again, with its place in line."""
_TICKET_LIMIT = timedelta(seconds=2 * TICKET_SECONDS)
_COUNT_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many clusters a pool has, and how long each lives. What the fields mean: `ClusterPool`."""

    size: int | Schedule = 1
    max_size: int = 1
    idle_seconds: float = 1800.0
    recycle_after_uses: int | None = None
    recycle_after_seconds: float | None = None

    def text(self) -> str:
        """Return the annotation's value."""
        return json.dumps(asdict(self))


def sizes_of(value: object) -> Sizes | None:
    """Return the sizes that an annotation's value describes; None if it describes none that can be meant."""
    given = mapping(json_of(value) if isinstance(value, str) and len(value) <= _TEXT_LIMIT else None)
    size, most, idle = size_of(given.get("size")), given.get("max_size"), given.get("idle_seconds")
    uses, age = given.get("recycle_after_uses"), given.get("recycle_after_seconds")
    is_read = size is not None and is_count(most, 1) and _is_seconds(idle)
    if not is_read or not (uses is None or is_count(uses, 1)) or not (age is None or _is_seconds(age)):
        return None
    fields: dict[str, Any] = {
        "size": size,
        "max_size": most,
        "idle_seconds": idle,
        "recycle_after_uses": uses,
        "recycle_after_seconds": age,
    }
    return Sizes(**fields)


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 10.0**_COUNT_DIGITS


@dataclass(frozen=True, slots=True)
class Ticket:
    """A step that waits for a cluster.

    Attributes:
        id: What its claim will be called.
        since: When it began to wait.
        until: When it stops to wait, whatever happens.
    """

    id: str
    since: datetime
    until: datetime

    @property
    def key(self) -> str:
        """The name of its annotation."""
        return f"{TICKET_PREFIX}{self.id}"

    def text(self) -> str:
        """Return the annotation's value."""
        return json.dumps({"since": time_text(self.since), "until": time_text(self.until)})

    def is_live(self, now: datetime) -> bool:
        """Return whether its step may still wait; no ticket is written that is valid for two days or more."""
        return now < self.until < now + _TICKET_LIMIT and self.since <= now + _TICKET_LIMIT


def ticket_of(ticket_id: str, value: object) -> Ticket | None:
    """Return the ticket that an annotation's value describes; None if it describes none, so that nobody heeds it."""
    given = mapping(json_of(value) if isinstance(value, str) and len(value) <= _TEXT_LIMIT else None)
    since, until = time_of(given.get("since")), time_of(given.get("until"))
    return None if since is None or until is None else Ticket(ticket_id, since, until)


@dataclass(frozen=True, slots=True)
class Member:
    """One RayCluster of a pool.

    Attributes:
        name: Its name.
        uid: What tells it from another one of the name.
        version: Its resourceVersion: a claim is made of exactly what was seen.
        slot: Which of the pool's names it has, from 1 on; 0 for a number that no pool gives.
        created_at: When it was created; None if it does not say so.
        is_going: Whether it is being deleted.
        is_ready: Whether its head was ready when it was seen.
        is_broken: Whether its head is proven to be unable to run.
        claims: All claims on it, ended ones too. Any claim keeps other steps away.
        tickets: The steps that have asked for it.
        uses: How many steps have given it back.
        used_at: When a step claimed it or gave it back last; in a new one, when the pool was used last.
        sizes: What the last step that claimed it has said of the pool; None if that cannot be read.
        ended_seen_at: When somebody whom the API server answered noted that its claims had ended; None if nobody has.
    """

    name: str
    uid: str
    version: str
    slot: int
    created_at: datetime | None
    is_going: bool = False
    is_ready: bool = False
    is_broken: bool = False
    claims: tuple[AnyLock, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    uses: int = 0
    used_at: datetime | None = None
    sizes: Sizes | None = None
    ended_seen_at: datetime | None = None

    def is_claimed(self, now: datetime) -> bool:
        """Return whether a step that may live has it."""
        return any(claim.is_live(now) for claim in self.claims)

    def ended_seconds(self, now: datetime) -> float | None:
        """Return for how long its claims have been known to have ended; None if nobody has noted that of them.

        A note from before their end is about an earlier renewal, and counts for nothing.
        """
        ended, seen = ends_at(self.claims), self.ended_seen_at
        return None if ended is None or seen is None or not ended <= seen <= now else (now - seen).total_seconds()

    @property
    def free_since(self) -> datetime | None:
        """Since when it has been free, if it is: its last use, or its creation; None if it says neither."""
        return max((time for time in (self.used_at, self.created_at) if time is not None), default=None)


def member_of(cluster: Manifest, now: datetime) -> Member:
    """Return what a RayCluster of a pool says of itself at `now`, a time of the API server."""
    annotations = mapping(at(cluster, "metadata", "annotations"))
    tickets = (
        ticket_of(key.removeprefix(TICKET_PREFIX), value)
        for key, value in sorted(annotations.items())
        if key.startswith(TICKET_PREFIX)
    )
    is_going = bool(at(cluster, "metadata", "deletionTimestamp"))
    return Member(
        name=text(cluster, "metadata", "name"),
        uid=text(cluster, "metadata", "uid"),
        version=text(cluster, "metadata", "resourceVersion"),
        slot=_number(at(cluster, "metadata", "labels", SLOT_LABEL)),
        created_at=time_of(at(cluster, "metadata", "creationTimestamp")),
        is_going=is_going,
        is_ready=is_ready(cluster),
        is_broken=not is_going and not is_usable(cluster, now),
        claims=locks_of(cluster),
        tickets=tuple(ticket for ticket in tickets if ticket is not None),
        uses=_number(annotations.get(USES_ANNOTATION)),
        used_at=time_of(annotations.get(USED_ANNOTATION)),
        sizes=sizes_of(annotations.get(SIZES_ANNOTATION)),
        ended_seen_at=time_of(annotations.get(ENDED_ANNOTATION)),
    )


def live_tickets(members: Iterable[Member], now: datetime) -> tuple[Ticket, ...]:
    """Return the tickets of steps that may still wait; a step that has a claim does not."""
    known = list(members)
    served = {claim.id for member in known for claim in member.claims}
    found = {ticket.id: ticket for member in known for ticket in member.tickets if ticket.is_live(now)}
    return tuple(ticket for key, ticket in found.items() if key not in served)


def copy_of(cluster: Mapping[str, Any], name: str, slot: int, used_at: datetime) -> dict[str, Any]:
    """Return the manifest of another member, made of one that exists.

    What steps and the cluster's autoscaler have written since it was made is left out: claims, tickets and uses, which
    workers were to go, and how many of them there are where an autoscaler decides that.

    Args:
        cluster: The RayCluster, as the API server has it.
        name: The name of the new one.
        slot: Its slot.
        used_at: When the pool was used last.
    """
    metadata, spec = mapping(cluster.get("metadata")), mapping(cluster.get("spec"))
    kept = {
        key: value
        for key, value in mapping(metadata.get("annotations")).items()
        if key == SIZES_ANNOTATION or not key.startswith(("dagster/pool-", "dagster/lock-", "dagster/creation-id"))
    }
    scales = spec.get("enableInTreeAutoscaling") is True
    groups = [_as_new(one, scales=scales) for one in mappings(spec.get("workerGroupSpecs"))]
    workers = {"workerGroupSpecs": groups} if "workerGroupSpecs" in spec else {}
    return {
        "apiVersion": cluster.get("apiVersion") or "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "namespace": metadata.get("namespace"),
            "labels": {**mapping(metadata.get("labels")), SLOT_LABEL: str(slot)},
            "annotations": {**kept, USED_ANNOTATION: time_text(used_at)},
        },
        "spec": {**spec, **workers},
    }


def _as_new(group: Manifest, *, scales: bool) -> dict[str, Any]:
    found = {key: value for key, value in group.items() if key != "scaleStrategy"}
    return {**found, "replicas": found.get("minReplicas") or 0} if scales else found


def _number(value: object) -> int:
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _COUNT_DIGITS
    return int(value) if is_number and isinstance(value, str) else 0

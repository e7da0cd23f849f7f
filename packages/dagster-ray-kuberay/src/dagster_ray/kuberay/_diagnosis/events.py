"""Kubernetes events of both APIs as one shape, in the order of time. Pure.

core/v1 has involvedObject, message, lastTimestamp and count; events.k8s.io/v1 has regarding, note, eventTime and
series. What one API wrote can be read through the other: then eventTime is set and lastTimestamp is null.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, name_of, text, whole

_CONTAINER = re.compile(r"^spec\.(?:initContainers|containers)\{(.+)\}$")


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody noted about an object."""

    kind: str
    """Kind of the object that it is about."""
    name: str
    uid: str
    reason: str
    message: str
    time: str
    """When it was last seen, as the API writes it without the zone; sorts as text."""
    count: int
    """How often it was seen."""
    container: str = ""
    """The container that it is about; empty where it is about the whole object."""


def read_event(event: Manifest) -> Event:
    """Return an event of either API."""
    about = mapping(event.get("involvedObject")) or mapping(event.get("regarding"))
    series = mapping(event.get("series"))
    times = (
        text(series, "lastObservedTime"),
        *(text(event, key) for key in ("lastTimestamp", "deprecatedLastTimestamp", "eventTime")),
        text(event, "metadata", "creationTimestamp"),
    )
    counts = (whole(series, "count"), whole(event, "count"), whole(event, "deprecatedCount"))
    return Event(
        kind=text(about, "kind"),
        name=text(about, "name"),
        uid=text(about, "uid"),
        reason=text(event, "reason"),
        message=text(event, "message") or text(event, "note"),
        time=next((time for time in times if time), "").removesuffix("Z"),
        count=next((count for count in counts if count > 0), 1),
        container=found[1] if (found := _CONTAINER.search(text(about, "fieldPath"))) is not None else "",
    )


def events_of(events: Iterable[Manifest], objects: Iterable[tuple[str, Manifest]]) -> tuple[Event, ...]:
    """Return the events in the order of time, without those of other objects and of earlier ones of the same name.

    Events outlive their objects, by an hour as a rule, and a name comes back when a step is tried again.

    Args:
        events: Events as the API gave them, of any objects.
        objects: The objects as they are now, each with its kind, which the items of a list do not have. Events of
            kinds that have no object here are all kept.
    """
    uids = {(kind, name): text(known, "metadata", "uid") for kind, known in objects if (name := name_of(known))}
    kinds = {kind for kind, _ in uids}

    def is_ours(event: Event) -> bool:
        uid = uids.get((event.kind, event.name))
        return event.kind not in kinds if uid is None else not uid or not event.uid or event.uid == uid

    found = [read_event(mapping(event)) for event in events]
    return tuple(sorted(filter(is_ours, found), key=lambda event: event.time))

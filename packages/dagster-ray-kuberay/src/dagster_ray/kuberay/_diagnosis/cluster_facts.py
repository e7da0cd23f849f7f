"""What a diagnosis looks at: objects of any shape as the API gave them, and events of both of its versions. Pure.

Events of core/v1 have involvedObject, message, lastTimestamp and count; those of events.k8s.io/v1 have regarding,
note, eventTime and series. What one API wrote can be read through the other: then eventTime is set and lastTimestamp
is null.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings, name_of, text, whole

_LOG_LINES = 10
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


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was read of a cluster that does not come up. None: nobody has asked for it, or it may not be read."""

    pods: Sequence[Manifest] = ()
    """Pods of the cluster."""
    events: Sequence[Manifest] = ()
    """Events of the RayJob, the RayCluster, their pods and claims, as the API gave them."""
    rayjob: Manifest | None = None
    raycluster: Manifest | None = None
    nodes: Sequence[Manifest] | None = None
    """All nodes."""
    claims: Sequence[Manifest] | None = None
    """PersistentVolumeClaims of the namespace."""
    services: Sequence[Manifest] | None = None
    """Services of the cluster."""
    endpoint_slices: Sequence[Manifest] | None = None
    """EndpointSlices of the namespace."""
    workloads: Sequence[Manifest] | None = None
    """Kueue's Workloads of the namespace."""
    operator_pods: Sequence[Manifest] | None = None
    """Pods of the KubeRay operator in all namespaces."""
    logs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Ends of logs by the name of the pod, of the container before where it was restarted."""
    closed_port: str | None = None
    """The place that accepts no driver, as `host:port`."""

    @cached_property
    def history(self) -> tuple[Event, ...]:
        """The events of these objects in the order of time, without those of earlier objects with the same names."""
        named = [("RayJob", self.rayjob or {}), ("RayCluster", self.raycluster or {})]
        named += [("Pod", pod) for pod in self.pods]
        named += [("PersistentVolumeClaim", claim) for claim in self.claims or ()]
        return events_of(self.events, named)

    def events_of_pod(self, pod: Manifest) -> list[Event]:
        """Return the events of a pod, in the order of time."""
        name = name_of(pod)
        return [event for event in self.history if event.kind == "Pod" and event.name == name]

    def log_of(self, pod: Manifest) -> str:
        """Return the last lines of a pod's log that hold anything; empty if none were given."""
        lines = [line.rstrip() for line in text(self.logs, name_of(pod)).splitlines() if line.strip()]
        return "\n".join(lines[-_LOG_LINES:])


def is_head(pod: Manifest) -> bool:
    """Return whether a pod is the head of its cluster."""
    return text(pod, "metadata", "labels", "ray.io/node-type") == "head"


def condition_of(manifest: Manifest, kind: str) -> Manifest:
    """Return a condition of an object's status; empty while it has none of that type."""
    found = [c for c in mappings(mapping(manifest.get("status")).get("conditions")) if c.get("type") == kind]
    return found[0] if found else {}


def is_true(manifest: Manifest, kind: str) -> bool:
    """Return whether a condition of an object's status is True."""
    return condition_of(manifest, kind).get("status") == "True"


def sentence_end(message: str) -> str:
    """Return a message as the end of a sentence: after a colon, or nothing at all."""
    return f": {message}" if message else ""

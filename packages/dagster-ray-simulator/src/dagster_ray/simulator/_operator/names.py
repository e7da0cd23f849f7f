"""Names, owners, labels and events of the objects that the operator makes. Pure.

Facts: KubeRay controllers/ray/utils/util.go, constant.go; events as recorded with 1.4.2 and 1.7.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from dagster_ray.kuberay._kubernetes.fields import at, mapping

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
NODE_TYPE_LABEL = "ray.io/node-type"
GROUP_LABEL = "ray.io/group"
JOB_CONTROLLER = "rayjob-controller"
CLUSTER_CONTROLLER = "raycluster-controller"
JOB_FINALIZER = "ray.io/rayjob-finalizer"
_POD_PREFIX = 50


def timestamp(when: datetime) -> str:
    """A Kubernetes time: whole seconds, UTC."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(when: datetime) -> str:
    """A Kubernetes MicroTime."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parsed_time(text: object) -> datetime | None:
    """The time that a status holds; None when it holds none."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


def go_time(text: str) -> str:
    """A time as Go prints it, in messages of the operator."""
    when = datetime.fromisoformat(text)
    return when.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


def seconds_since(text: object, now: datetime) -> float | None:
    """How long ago the time in a status was, in seconds."""
    when = parsed_time(text)
    return None if when is None else (now - when).total_seconds()


def after(text: object, seconds: float) -> datetime | None:
    """The time in a status plus some seconds."""
    when = parsed_time(text)
    return None if when is None else when + timedelta(seconds=seconds)


def texts(value: object) -> list[str]:
    """The items of a list, as text; none when it is no list."""
    return [str(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def name_of(obj: Mapping[str, Any]) -> str:
    """The object's name."""
    return str(at(obj, "metadata", "name") or "")


def namespace_of(obj: Mapping[str, Any]) -> str:
    """The object's namespace."""
    return str(at(obj, "metadata", "namespace") or "default")


def full_name(obj: Mapping[str, Any]) -> str:
    """Namespace and name, as in the operator's messages."""
    return f"{namespace_of(obj)}/{name_of(obj)}"


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's labels."""
    return mapping(at(obj, "metadata", "labels"))


def is_terminating(obj: Mapping[str, Any]) -> bool:
    """Whether the object is being deleted."""
    return at(obj, "metadata", "deletionTimestamp") is not None


def owner_reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    """The reference that a controller sets on what it makes."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def checked_name(text: str) -> str:
    """A name that fits a label: the last 50 characters, never starting with a digit (util.go, CheckName)."""
    cut = text[-_POD_PREFIX:]
    return cut if cut[:1].isalpha() else f"r{cut[1:]}"


def pod_prefix(cluster: str, group: str | None) -> str:
    """What the name of a head (group None) or worker pod starts with."""
    if group is None:
        return f"{cluster}-head"[:_POD_PREFIX].rstrip("-") + "-"
    return f"{cluster}-{group}"[:_POD_PREFIX].lower() + "-worker-"


def head_service_name(cluster: Mapping[str, Any]) -> str:
    """The name of a RayCluster's head service."""
    own = at(cluster, "spec", "headGroupSpec", "headService", "metadata", "name")
    return str(own or f"{name_of(cluster)}-head-svc")


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What is told, before it is written in the style of a version.

    Attributes:
        regarding: The object that it is about.
        reason: The reason in CamelCase.
        message: The text.
        reporter: The controller.
        action: What was done: Create, Delete, Update.
        warning: Whether the type is Warning, else Normal.
    """

    regarding: Mapping[str, Any]
    reason: str
    message: str
    reporter: str
    action: str = "Create"
    warning: bool = False


def _reference(obj: Mapping[str, Any], field_path: str | None) -> dict[str, Any]:
    metadata = obj["metadata"]
    reference = {
        "kind": obj["kind"],
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": metadata.get("uid", ""),
        "apiVersion": obj["apiVersion"],
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return reference if field_path is None else {**reference, "fieldPath": field_path}


def _event(facts: EventFacts, now: datetime, field_path: str | None) -> dict[str, Any]:
    moment = int(now.timestamp() * 1_000_000)
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": f"{name_of(facts.regarding)}.{moment:x}", "namespace": namespace_of(facts.regarding)},
        "involvedObject": _reference(facts.regarding, field_path),
        "reason": facts.reason,
        "message": facts.message,
        "type": "Warning" if facts.warning else "Normal",
    }


def new_style_event(facts: EventFacts, now: datetime) -> dict[str, Any]:
    """An event written through events.k8s.io, as core/v1 shows it (operator 1.7, scheduler)."""
    return {
        **_event(facts, now, None),
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": micro_timestamp(now),
        "action": facts.action,
        "reportingComponent": facts.reporter,
        "reportingInstance": f"{facts.reporter}-simulator",
    }


def old_style_event(
    facts: EventFacts, now: datetime, *, host: str | None = None, field_path: str | None = None
) -> dict[str, Any]:
    """An event written through core/v1 with a count (operator up to 1.6, kubelet)."""
    source = {"component": facts.reporter} if host is None else {"component": facts.reporter, "host": host}
    return {
        **_event(facts, now, field_path),
        "source": source,
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
        "eventTime": None,
        "reportingComponent": facts.reporter,
        "reportingInstance": host or "",
    }


def repeats(event: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether an event tells again what an old one told, so that the old one is counted up.

    A new-style event repeats only one about the same resourceVersion of the object (recorded with 1.7.0).
    """
    new_style = event.get("eventTime") is not None
    if (old.get("eventTime") is not None) != new_style:
        return False
    names = ("kind", "namespace", "name", "uid", "fieldPath")
    fields = (*names, "resourceVersion") if new_style else names
    same_object = all(at(event, "involvedObject", name) == at(old, "involvedObject", name) for name in fields)
    told = ("reason", "message", "type", "reportingComponent")
    return same_object and all(event.get(name) == old.get(name) for name in told)


def counted_up(old: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The old event after it was told once more."""
    if old.get("eventTime") is not None:
        count = at(old, "series", "count") or 1
        return {**old, "series": {"count": count + 1, "lastObservedTime": micro_timestamp(now)}}
    return {**old, "count": (old.get("count") or 1) + 1, "lastTimestamp": timestamp(now)}

"""events.k8s.io/v1: the second view of the one store of events. Pure."""

from collections.abc import Mapping
from typing import Any

from dagster_ray.simulator._kubelet.resources import EVENTS_V1, RESOURCES, Resource

_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _NAMES.items()}


def as_served(resource: Resource, obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored object as a resource shows it."""
    if resource is not EVENTS_V1:
        return obj
    return {**{_NAMES.get(key, key): value for key, value in obj.items()}, "apiVersion": EVENTS_V1.api_version}


def as_stored(resource: Resource, obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object that was sent to a resource as it is stored."""
    if resource is not EVENTS_V1:
        return dict(obj)
    stored = {_BACK.get(key, key): value for key, value in obj.items()}
    return {**stored, "apiVersion": RESOURCES["events"].api_version}

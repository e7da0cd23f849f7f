"""The tables that `kubectl get` prints, with the columns of KubeRay's CRDs and of the built-in kinds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._kubelet.resources import Resource

_NAME_HELP = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    path: str
    type: str = "string"
    priority: int = 0
    """1 is shown by `-o wide` only."""


# Below how many seconds: the unit with its size, and the smaller one that is shown beside it.
_AGE_STEPS = (
    (120, 1, "s", 0, ""),
    (600, 60, "m", 1, "s"),
    (3 * 3600, 60, "m", 0, ""),
    (8 * 3600, 3600, "h", 60, "m"),
    (48 * 3600, 3600, "h", 0, ""),
    (8 * 86400, 86400, "d", 3600, "h"),
)
_AGE = _Column("Age", ".metadata.creationTimestamp", "date")
# The same in KubeRay 1.3.2, 1.4.2 and 1.7.0.
_CUSTOM: Mapping[str, Sequence[_Column]] = {
    "rayjobs": (
        _Column("job status", ".status.jobStatus"),
        _Column("deployment status", ".status.jobDeploymentStatus"),
        _Column("ray cluster name", ".status.rayClusterName"),
        _Column("start time", ".status.startTime"),
        _Column("end time", ".status.endTime"),
        _Column("age", ".metadata.creationTimestamp", "date"),
    ),
    "rayclusters": (
        _Column("desired workers", ".status.desiredWorkerReplicas", "integer"),
        _Column("available workers", ".status.availableWorkerReplicas", "integer"),
        _Column("cpus", ".status.desiredCPU"),
        _Column("memory", ".status.desiredMemory"),
        _Column("gpus", ".status.desiredGPU"),
        _Column("tpus", ".status.desiredTPU", priority=1),
        _Column("status", ".status.state"),
        _Column("age", ".metadata.creationTimestamp", "date"),
        _Column("head pod IP", ".status.head.podIP", priority=1),
        _Column("head service IP", ".status.head.serviceIP", priority=1),
    ),
}
_BUILT_IN: Mapping[str, Sequence[_Column]] = {
    "pods": (
        _Column("Ready", ""),
        _Column("Status", ""),
        _Column("Restarts", "", "integer"),
        _AGE,
        _Column("IP", ".status.podIP", priority=1),
        _Column("Node", ".spec.nodeName", priority=1),
    ),
    "services": (_Column("Type", ".spec.type"), _Column("Cluster-IP", ".spec.clusterIP"), _AGE),
    "events": (
        _Column("Last Seen", ""),
        _Column("Type", ".type"),
        _Column("Reason", ".reason"),
        _Column("Object", ""),
        _Column("Message", ".message"),
    ),
    "namespaces": (_Column("Status", ".status.phase"), _AGE),
    "secrets": (_Column("Type", ".type"), _Column("Data", ".data", "integer"), _AGE),
    "configmaps": (_Column("Data", ".data", "integer"), _AGE),
    "leases": (_Column("Holder", ".spec.holderIdentity"), _AGE),
    "jobs": (_Column("Status", ""), _Column("Completions", ".status.succeeded"), _AGE),
}


def table(
    resource: Resource, objects: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return objects, as they are stored, as a Table."""
    columns = _CUSTOM.get(resource.plural) or _BUILT_IN.get(resource.plural, (_AGE,))
    name = {"name": "Name", "type": "string", "format": "name", "description": _NAME_HELP, "priority": 0}
    definitions = [name, *(_definition(column, custom=resource.is_custom) for column in columns)]
    rows = [
        {
            "cells": [at(obj, "metadata", "name"), *(_cell(resource.plural, obj, column, now) for column in columns)],
            "object": metadata_only(obj),
        }
        for obj in objects
    ]
    shown = {key: value for key, value in metadata.items() if value != ""}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": shown,
        "columnDefinitions": definitions,
        "rows": rows,
    }


def metadata_only(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an object as an object of its own."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata")}


def _definition(column: _Column, *, custom: bool) -> dict[str, Any]:
    text = f"Custom resource definition column (in JSONPath format): {column.path}" if custom else ""
    return {"name": column.name, "type": column.type, "format": "", "description": text, "priority": column.priority}


def _cell(plural: str, obj: Mapping[str, Any], column: _Column, now: datetime) -> Any:
    if not column.path:
        return _computed(plural, column.name, obj, now)
    value = at(obj, *column.path.strip(".").split("."))
    if column.type == "date":
        return _age(str(value or ""), now)
    if column.name == "Data":
        return len(mapping(value))
    return value


def _computed(plural: str, name: str, obj: Mapping[str, Any], now: datetime) -> Any:
    if plural == "pods":
        return _pod_cell(name, obj)
    if plural == "jobs":
        done = [item.get("type") for item in mappings(at(obj, "status", "conditions")) if item.get("status") == "True"]
        return "Complete" if "Complete" in done else "Failed" if "Failed" in done else "Running"
    if name == "Object":
        about = mapping(obj.get("involvedObject"))
        return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    seen = at(obj, "series", "lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    return _age(str(seen or at(obj, "metadata", "creationTimestamp") or ""), now)


def _pod_cell(name: str, pod: Mapping[str, Any]) -> Any:
    states = mappings(at(pod, "status", "containerStatuses"))
    if name == "Ready":
        return f"{sum(bool(state.get('ready')) for state in states)}/{len(mappings(at(pod, 'spec', 'containers')))}"
    if name == "Restarts":
        return sum(int(state.get("restartCount") or 0) for state in states)
    if at(pod, "metadata", "deletionTimestamp"):
        return "Terminating"
    for state in states:
        for kind in ("waiting", "terminated"):
            if reason := at(state, "state", kind, "reason"):
                return reason
    return at(pod, "status", "phase") or "Unknown"


def _age(since: str, now: datetime) -> str:
    """Return how long ago a time was, as kubectl prints it (k8s.io/apimachinery, util/duration)."""
    if not since:
        return "<unknown>"
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    for below, size, unit, rest, rest_unit in _AGE_STEPS:
        if seconds < below:
            left = seconds % size // rest if rest else 0
            return f"{seconds // size}{unit}" + (f"{left}{rest_unit}" if left else "")
    return f"{seconds // 86400}d"

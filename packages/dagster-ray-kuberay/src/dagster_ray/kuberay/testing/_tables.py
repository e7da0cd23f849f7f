"""The tables that `kubectl get` prints, with the columns of KubeRay's CRDs. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dagster_ray.kuberay._manifest_fields import at, mappings

# Column: its path in the object.
_COLUMNS: Mapping[str, Sequence[tuple[str, str, tuple[str, ...]]]] = {
    "rayjobs": (
        ("job status", "string", ("status", "jobStatus")),
        ("deployment status", "string", ("status", "jobDeploymentStatus")),
        ("ray cluster name", "string", ("status", "rayClusterName")),
        ("start time", "string", ("status", "startTime")),
        ("end time", "string", ("status", "endTime")),
    ),
    "rayclusters": (
        ("desired workers", "integer", ("status", "desiredWorkerReplicas")),
        ("available workers", "integer", ("status", "availableWorkerReplicas")),
        ("cpus", "string", ("status", "desiredCPU")),
        ("memory", "string", ("status", "desiredMemory")),
        ("gpus", "string", ("status", "desiredGPU")),
        ("status", "string", ("status", "state")),
    ),
    "pods": (
        ("Ready", "string", ()),
        ("Status", "string", ("status", "phase")),
        ("IP", "string", ("status", "podIP")),
    ),
    "services": (("Type", "string", ("spec", "type")), ("Cluster-IP", "string", ("spec", "clusterIP"))),
    "events": (
        ("Type", "string", ("type",)),
        ("Reason", "string", ("reason",)),
        ("Object", "string", ("involvedObject", "name")),
        ("Message", "string", ("message",)),
    ),
}


def wants_table(accept: str) -> bool:
    """Return whether the header Accept asks for a table."""
    return "as=Table" in accept


def table(plural: str, objects: Sequence[Mapping[str, Any]], version: str, now: datetime) -> dict[str, Any]:
    """Return objects as a Table."""
    columns = [("Name", "string", ("metadata", "name")), *_COLUMNS.get(plural, ()), ("Age", "string", ())]
    definitions = [
        {"name": name, "type": kind, "format": "name" if name == "Name" else "", "description": "", "priority": 0}
        for name, kind, _ in columns
    ]
    rows = [
        {
            "cells": [_cell(obj, name, path, now) for name, _, path in columns],
            "object": {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj.get("metadata"),
            },
        }
        for obj in objects
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version},
        "columnDefinitions": definitions,
        "rows": rows,
    }


def _cell(obj: Mapping[str, Any], name: str, path: tuple[str, ...], now: datetime) -> Any:
    if name == "Age":
        return _age(str(at(obj, "metadata", "creationTimestamp") or ""), now)
    if name == "Ready":
        states = mappings(at(obj, "status", "containerStatuses"))
        return f"{sum(bool(state.get('ready')) for state in states)}/{len(mappings(at(obj, 'spec', 'containers')))}"
    value = at(obj, *path)
    return "" if value is None else value


def _age(created: str, now: datetime) -> str:
    if not created:
        return "<unknown>"
    seconds = max(0, int((now - datetime.fromisoformat(created)).total_seconds()))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"

"""Pods as a watch shows them, with times in seconds after a common start."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster_ray.kuberay._hours.pods import PodHistory
from dagster_ray.kuberay._kubernetes.fields import time_text

START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
Seen = tuple[int, dict[str, Any], bool]
"""When it was heard of, the pod, and whether it is gone."""


def at_second(second: int) -> datetime:
    return START + timedelta(seconds=second)


def pod(
    name: str,
    requests: Mapping[str, Any] | None = None,
    *,
    node: str | None = "node-1",
    scheduled: int | None = 0,
    ended: int | None = None,
    phase: str = "Running",
    restarts: int = 0,
    selects: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a pod; `ended` is when its container ended."""
    conditions = [] if scheduled is None else [condition("True", scheduled)]
    state: dict[str, Any] = (
        {"running": {}} if ended is None else {"terminated": {"finishedAt": time_text(at_second(ended))}}
    )
    return {
        "metadata": {"name": name, "uid": f"uid of {name}", "creationTimestamp": time_text(at_second(-60))},
        "spec": {
            **({} if node is None else {"nodeName": node}),
            "nodeSelector": dict(selects or {}),
            "containers": [{"name": "ray", "resources": {"requests": dict(requests or {"cpu": "1"})}}],
        },
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"name": "ray", "restartCount": restarts, "state": state}],
        },
    }


def condition(status: str, second: int) -> dict[str, Any]:
    return {"type": "PodScheduled", "status": status, "lastTransitionTime": time_text(at_second(second))}


def history(*seen: Seen) -> PodHistory:
    """Return what a watch has told, in its order."""
    found = PodHistory()
    for second, manifest, is_gone in seen:
        found.note(manifest, at_second(second), is_gone=is_gone)
    return found

"""What of objects and events is compared between two operators: names, times, addresses are put aside. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings

_RANDOM_NAME = re.compile(r"(?<=-)(?:[bcdfghjklmnpqrstvwxz2456789]{5})(?![a-z0-9])")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| \+0000 UTC)?")
_NODE = re.compile(r"\b(?:lab-node|simulated-node)\b")
_JOB_FIELDS = ("jobDeploymentStatus", "jobStatus", "reason", "message", "jobId", "dashboardURL", "succeeded", "failed")
_CLUSTER_FIELDS = (
    "state",
    "desiredCPU",
    "desiredMemory",
    "desiredGPU",
    "desiredTPU",
    "desiredWorkerReplicas",
    "minWorkerReplicas",
    "maxWorkerReplicas",
    "availableWorkerReplicas",
    "readyWorkerReplicas",
    "endpoints",
)
_TIMES = ("startTime", "endTime", "jobStatusCheckFailureStartTime")
# The operator's cache may or may not know the new head pod when the first status is written: both were recorded.
_NO_HEAD_YET = {"HeadPodNotFound", "Unknown"}


def plain_text(text: str) -> str:
    """A text without random names, times and the node's name."""
    return _NODE.sub("<node>", _TIME.sub("<time>", _RANDOM_NAME.sub("<id>", text)))


def cluster_state(status: Mapping[str, Any]) -> dict[str, Any]:
    """What of a RayCluster's status is compared."""
    state = {name: status[name] for name in _CLUSTER_FIELDS if name in status}
    head = mapping(status.get("head"))
    state["head"] = sorted(name for name in head if name != "podName")
    state["transitions"] = sorted(mapping(status.get("stateTransitionTimes")))
    conditions = [_condition(item) for item in mappings(status.get("conditions"))]
    return {**state, "conditions": conditions}


def _condition(item: Mapping[str, Any]) -> list[str]:
    kind, reason, message = str(item.get("type")), str(item.get("reason")), str(item.get("message") or "")
    if kind == "HeadPodReady" and reason in _NO_HEAD_YET:
        reason, message = "no head yet", ""
    return [kind, str(item.get("status")), reason, plain_text(message)]


def job_state(rayjob: Mapping[str, Any]) -> dict[str, Any]:
    """What of a RayJob is compared."""
    status = mapping(rayjob.get("status"))
    state = {name: status[name] for name in _JOB_FIELDS if name in status}
    state = {name: plain_text(value) if isinstance(value, str) else value for name, value in state.items()}
    state["times"] = [name for name in _TIMES if name in status]
    state["info"] = sorted(mapping(status.get("rayJobInfo")))
    if "rayClusterStatus" in status:
        state["cluster"] = cluster_state(mapping(status["rayClusterStatus"]))
    metadata = mapping(rayjob.get("metadata"))
    state["finalizers"] = metadata.get("finalizers") or []
    state["terminating"] = "deletionTimestamp" in metadata
    return state


def event_state(event: Mapping[str, Any]) -> list[str]:
    """What of an event is compared: kind, type, reason, message, reporter, style."""
    style = "new" if event.get("eventTime") is not None else "old"
    reporter = str(event.get("reportingComponent"))
    kind = str(at(event, "involvedObject", "kind"))
    return [
        kind,
        str(event.get("type")),
        str(event.get("reason")),
        plain_text(str(event.get("message"))),
        reporter,
        style,
    ]


def without_repeats(states: Iterable[Any]) -> list[Any]:
    """The states without those equal to the one before."""
    kept: list[Any] = []
    for state in states:
        if not kept or kept[-1] != state:
            kept.append(state)
    return kept


def in_first_order(states: Iterable[Any]) -> list[Any]:
    """Each state once, in the order of its first appearance."""
    kept: list[Any] = []
    for state in states:
        if state not in kept:
            kept.append(state)
    return kept

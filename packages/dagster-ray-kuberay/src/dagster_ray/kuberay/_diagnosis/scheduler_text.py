"""What a scheduler and an autoscaler say of a pod that fits nowhere. Pure.

Texts: kube-scheduler 1.36 (pkg/scheduler/framework/types.go, FitError, and the plug-ins beside it), the cluster
autoscaler 1.3x (cluster-autoscaler/processors/status/eventing_scale_up_processor.go), Karpenter 1
(pkg/controllers/provisioning/scheduling/events.go).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dagster_ray.kuberay._diagnosis.events import Event
from dagster_ray.kuberay._diagnosis.situations import Code

_HEADER = re.compile(r"(\d+)/(\d+) nodes are available: ?")
# What follows the reasons: why preemption does not help either, and dynamic resources.
_TAIL = re.compile(r"\.+\s+(?:preemption:|no new claims|still not schedulable)|\.+\s*$|,\s+preemption:")
_REASON = re.compile(r"(\d+) (.+)")
_INSUFFICIENT = re.compile(r"Insufficient ([^\s,]+)")
_CLAIM_MISSING = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
# In this order: what takes longest to cure first. A message may have several.
_WORDS: tuple[tuple[Code, tuple[str, ...]], ...] = (
    ("unschedulable-resources", ("Insufficient ", "Too many pods")),
    (
        "unschedulable-affinity",
        ("node affinity/selector", "node selector", "affinity rules", "topology spread", "volume node affinity"),
    ),
    ("unschedulable-taints", ("untolerated taint", "had taint")),
)


@dataclass(frozen=True, slots=True)
class NoFit:
    """Why a scheduler found no node."""

    code: Code = "unschedulable"
    nodes: int | None = None
    """How many nodes it looked at; None if it does not say."""
    reasons: tuple[tuple[int, str], ...] = ()
    """On how many nodes each reason holds."""
    resources: tuple[str, ...] = field(default=())
    """Resources that are not enough, as pods name them."""
    short: str = ""
    """Its message without what it says of preemption."""


def read_scheduler(message: str) -> NoFit:
    """Return what the message of a condition PodScheduled, or of an event FailedScheduling, says."""
    header = _HEADER.match(message)
    if header is None:
        return NoFit(_claim_code(message) or "unschedulable", short=message.strip())
    body = _TAIL.split(message[header.end() :], maxsplit=1)[0]
    reasons = [
        (int(found[1]), found[2])
        for part in re.split(r",\s+(?=\d+ )", body)
        if (found := _REASON.fullmatch(part.strip())) is not None and len(found[1]) < 9
    ]
    fitting: list[Code] = [code for code, words in _WORDS if any(word in body for word in words)]
    code: Code = _claim_code(body) or (fitting[0] if fitting else "unschedulable")
    resources = tuple(dict.fromkeys(_INSUFFICIENT.findall(body)))
    nodes = int(header[2]) if len(header[2]) < 9 else None
    return NoFit(code, nodes, tuple(reasons), resources, (message[: header.end()] + body).strip())


def _claim_code(message: str) -> Code | None:
    if _CLAIM_MISSING.search(message):
        return "claim-missing"
    pending = ("unbound immediate PersistentVolumeClaims", "available persistent volumes to bind")
    return "claim-pending" if any(words in message for words in pending) else None


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """What an autoscaler last said of a pod."""

    verdict: Literal["adds", "cannot"]
    reason: str
    message: str


_ADDS = {"TriggeredScaleUp", "Nominated"}
_CANNOT = {"NotTriggerScaleUp", "FailedScaleUp"}


def autoscaler_of(events: Sequence[Event]) -> Autoscaler | None:
    """Return what the last word of an autoscaler on a pod is; None if none has spoken.

    Args:
        events: The pod's events, in the order of time.
    """
    for event in reversed(events):
        if event.reason in _ADDS:
            return Autoscaler("adds", event.reason, event.message)
        karpenter = event.reason == "FailedScheduling" and "incompatible with nodepool" in event.message
        if event.reason in _CANNOT or karpenter:
            return Autoscaler("cannot", event.reason, event.message)
    return None

"""Why a pod has no node: which resource, how much of it, and whether an autoscaler helps. Pure.

Texts: kube-scheduler 1.36 (pkg/scheduler/framework/types.go, FitError, and the plug-ins beside it), the cluster
autoscaler 1.3x (cluster-autoscaler/processors/status/eventing_scale_up_processor.go), Karpenter 1
(pkg/controllers/provisioning/scheduling/events.go).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from dagster_ray.kuberay._diagnosis.cluster_facts import Event, Facts, condition_of, is_head, sentence_end
from dagster_ray.kuberay._diagnosis.situations import Code, Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings, name_of, quantity, shown, text

_HEADER = re.compile(r"\d+/\d+ nodes are available: ?")
# What follows the reasons: why preemption does not help either, and dynamic resources.
_TAIL = re.compile(r"\.+\s+(?:preemption:|no new claims|still not schedulable)|\.+\s*$|,\s+preemption:")
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
    resources: tuple[str, ...] = ()
    """Resources that are not enough, as pods name them."""
    short: str = ""
    """Its message without what it says of preemption."""


def read_scheduler(message: str) -> NoFit:
    """Return what the message of a condition PodScheduled, or of an event FailedScheduling, says."""
    header = _HEADER.match(message)
    if header is None:
        return NoFit(_claim_code(message) or "unschedulable", short=message.strip())
    body = _TAIL.split(message[header.end() :], maxsplit=1)[0]
    fitting: list[Code] = [code for code, words in _WORDS if any(word in body for word in words)]
    code: Code = _claim_code(body) or (fitting[0] if fitting else "unschedulable")
    resources = tuple(dict.fromkeys(_INSUFFICIENT.findall(body)))
    return NoFit(code, resources, (message[: header.end()] + body).strip())


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


def scheduling_findings(facts: Facts) -> Iterator[Finding]:
    """Yield why each pod that waits for a node has none."""
    for pod in facts.pods:
        scheduled = condition_of(pod, "PodScheduled")
        if scheduled.get("status") != "False" or text(pod, "spec", "nodeName"):
            continue
        reason, message = text(scheduled, "reason") or "Unschedulable", text(scheduled, "message")
        if reason == "SchedulingGated":
            yield _gated(pod, message)
        else:
            yield from _unschedulable(facts, pod, reason, message)


def _gated(pod: Manifest, message: str) -> Finding:
    gates = [text(gate, "name") for gate in mappings(mapping(pod.get("spec")).get("schedulingGates"))]
    sentence = f"pod {name_of(pod)} is held by scheduling gates {', '.join(gates) or '?'}{sentence_end(message)}"
    return finding("scheduling-gated", "SchedulingGated", sentence, of_workers=not is_head(pod))


def _unschedulable(facts: Facts, pod: Manifest, reason: str, message: str) -> Iterator[Finding]:
    no_fit, workers = read_scheduler(message), not is_head(pod)
    need = _need(facts, pod, no_fit)
    of_claims = no_fit.code in {"claim-missing", "claim-pending"}  # no node helps against these
    autoscaler = None if of_claims else autoscaler_of(facts.events_of_pod(pod))
    if autoscaler is not None and autoscaler.verdict == "adds":
        sentence = f"pod {name_of(pod)}{need} waits for a new node: {autoscaler.message}"
        yield finding("scaling-up", autoscaler.reason, sentence, of_workers=workers)
    elif autoscaler is not None:
        sentence = f"pod {name_of(pod)}{need} fits no node ({no_fit.short}), and none is added: {autoscaler.message}"
        yield finding("no-scale-up", autoscaler.reason, sentence, of_workers=workers)
    else:
        sentence = f"pod {name_of(pod)}{need} fits no node{sentence_end(no_fit.short)}"
        yield finding(no_fit.code, reason, sentence, of_workers=workers)


def _need(facts: Facts, pod: Manifest, no_fit: NoFit) -> str:
    """Return how much the pod needs of what is short, and what nodes have of it, if that is known."""
    asked = requests_of(pod)
    parts: list[str] = []
    for resource in no_fit.resources:
        if resource not in asked:
            continue
        part = f"{shown(resource, asked[resource])} {_word(resource)}"
        if facts.nodes:
            part += f" (the largest of {_nodes(len(facts.nodes))} has {_largest(facts, resource)})"
        parts.append(part)
    return f" needs {' and '.join(parts)}; it" if parts else ""


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _word(resource: str) -> str:
    return {"cpu": "CPU", "nvidia.com/gpu": "GPU (nvidia.com/gpu)"}.get(resource, resource)


def _largest(facts: Facts, resource: str) -> str:
    """Return how much of a resource the node with most of it has for pods."""
    most = max((_allocatable(node, resource) for node in facts.nodes or ()), default=Decimal(0))
    return shown(resource, most)


def _allocatable(node: Manifest, resource: str) -> Decimal:
    return quantity(mapping(mapping(node.get("status")).get("allocatable")).get(resource))


def requests_of(pod: Manifest) -> dict[str, Decimal]:
    """Return what a scheduler sets aside for a pod.

    The sum of its containers or the largest init container, whichever is more, and the overhead; a request that is
    missing is the limit (k8s.io/component-helpers/resource/helpers.go). Requests of the whole pod take precedence.
    """
    spec = mapping(pod.get("spec"))
    total: dict[str, Decimal] = {}
    for container in mappings(spec.get("containers")):
        total = _sum(total, _asked(container))
    for container in mappings(spec.get("initContainers")):
        asked = _asked(container)
        beside = container.get("restartPolicy") == "Always"  # a sidecar runs as long as the containers do
        total = (
            _sum(total, asked)
            if beside
            else {key: max(total.get(key, Decimal(0)), asked.get(key, Decimal(0))) for key in total | asked}
        )
    return _sum(total | _asked(spec), _amounts(mapping(spec.get("overhead"))))


def _asked(container: Manifest) -> dict[str, Decimal]:
    resources = mapping(container.get("resources"))
    return _amounts(mapping(resources.get("limits"))) | _amounts(mapping(resources.get("requests")))


def _amounts(amounts: Manifest) -> dict[str, Decimal]:
    return {str(name): quantity(value) for name, value in amounts.items()}


def _sum(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {key: one.get(key, Decimal(0)) + other.get(key, Decimal(0)) for key in (*one, *other)}

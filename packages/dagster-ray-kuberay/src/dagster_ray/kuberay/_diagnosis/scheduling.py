"""Why a pod has no node: which resource, how much of it, and whether an autoscaler helps. Pure."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from dagster_ray.kuberay._diagnosis.facts import Facts, condition_of, is_head, sentence_end
from dagster_ray.kuberay._diagnosis.scheduler_text import NoFit, autoscaler_of, read_scheduler
from dagster_ray.kuberay._diagnosis.situations import Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings, name_of, text
from dagster_ray.kuberay._kubernetes.quantities import quantity, shown

_ENDED = {"Succeeded", "Failed"}


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
    """Return how much the node with most of a resource has free, or has at all where other pods are not known."""
    whole = {name_of(node): _allocatable(node, resource) for node in facts.nodes or ()}
    most = max(whole.values(), default=Decimal(0))
    if facts.pods_on_nodes is None:
        return shown(resource, most)
    free = dict(whole)
    for pod in facts.pods_on_nodes:
        node = text(pod, "spec", "nodeName")
        if node in free and text(pod, "status", "phase") not in _ENDED:
            free[node] -= requests_of(pod).get(resource, Decimal(0))
    return f"{shown(resource, max(max(free.values(), default=Decimal(0)), Decimal(0)))} free of {shown(resource, most)}"


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

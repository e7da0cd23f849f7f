"""Whether a node was lost, or a pod was taken off it. Pure.

Words: pod status reasons of kubelet and the node lifecycle controller (pkg/util/node, pkg/kubelet/eviction,
pkg/kubelet/preemption, pkg/kubelet/nodeshutdown), and reasons of the condition DisruptionTarget
(pkg/apis/core/types.go), Kubernetes 1.36.
"""

from collections.abc import Iterator

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, condition_of, is_head, is_true, sentence_end
from dagster_ray.kuberay._diagnosis.situations import Code, Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings, name_of, text

_OF_STATUS: dict[str, Code] = {
    "NodeLost": "node-lost",
    "NodeAffinity": "unschedulable-affinity",
    "Evicted": "evicted",
    "Preempting": "preempted",
    "Shutdown": "preempted",
    "NodeShutdown": "preempted",
    "Terminated": "preempted",  # since 1.23 of a node that shuts down
}
# A kubelet's own check finds less than the scheduler believed (pkg/kubelet/lifecycle/predicate.go): OutOfcpu.
_NOT_ADMITTED = ("OutOf", "UnexpectedAdmissionError")
_OF_CONDITION: dict[str, Code] = {
    "PreemptionByScheduler": "preempted",
    "DeletionByTaintManager": "node-lost",
    "DeletionByPodGC": "node-lost",
    "EvictionByEvictionAPI": "evicted",
    "TerminationByKubelet": "evicted",
}
OF_EVENT: dict[str, Code] = {
    "NodeNotReady": "node-lost",
    "TaintManagerEviction": "node-lost",
    "Preempted": "preempted",
    "Evicted": "evicted",
}
"""What events about a pod tell, by their reasons."""


def node_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what became of the nodes of pods, and of pods on their nodes."""
    for pod in facts.pods:
        yield from list(_of_pod(facts, pod))[:1]
    # Where no pod is left, or none was read, events tell what became of it.
    for event in reversed(facts.history if not facts.pods else ()):
        if event.kind == "Pod" and event.reason in OF_EVENT:
            sentence, code = (
                f"pod {event.name}{sentence_end(event.message)}",
                _code(OF_EVENT[event.reason], event.message),
            )
            yield finding(code, event.reason, sentence, of_workers="-worker-" in event.name)


def _code(code: Code, message: str) -> Code:
    """Return the situation of a pod that was taken off its node.

    Kubelet also evicts a pod that fills more disk than its own limits allow, which it says in its words alone
    (pkg/kubelet/eviction/eviction_manager.go, Kubernetes 1.36).
    """
    is_own = code == "evicted" and "exceed" in message and " limit" in message
    return "out-of-storage" if is_own else code


def _of_pod(facts: Facts, pod: Manifest) -> Iterator[Finding]:
    workers, node = not is_head(pod), text(pod, "spec", "nodeName")
    where = f"pod {name_of(pod)}" + (f" on node {node}" if node else "")
    reason, message = text(pod, "status", "reason"), text(pod, "status", "message")
    condition = condition_of(pod, "DisruptionTarget")
    if reason in _OF_STATUS or reason.startswith(_NOT_ADMITTED):
        yield finding(
            _code(_OF_STATUS.get(reason, "unschedulable-resources"), message),
            reason,
            f"{where}{sentence_end(message)}",
            of_workers=workers,
        )
    if condition.get("status") == "True":
        word = text(condition, "reason")
        said = sentence_end(text(condition, "message"))
        yield finding(_OF_CONDITION.get(word, "evicted"), word, f"{where} is taken away{said}", of_workers=workers)
    for event in reversed(facts.events_of_pod(pod)):
        if event.reason in OF_EVENT and not is_true(pod, "Ready"):
            sentence = f"{where}{sentence_end(event.message)}"
            yield finding(_code(OF_EVENT[event.reason], event.message), event.reason, sentence, of_workers=workers)
    yield from _of_node(facts, pod, where)


def _of_node(facts: Facts, pod: Manifest, where: str) -> Iterator[Finding]:
    node = text(pod, "spec", "nodeName")
    if not node or facts.nodes is None:
        return
    found = [known for known in facts.nodes if name_of(known) == node]
    if not found:
        if facts.nodes:
            yield finding("node-lost", "NodeGone", f"{where}: the node is gone", of_workers=not is_head(pod))
        return
    ready = condition_of(found[0], "Ready")
    taints = [text(taint, "key") for taint in mappings(mapping(found[0].get("spec")).get("taints"))]
    if ready and ready.get("status") != "True":
        said = sentence_end(text(ready, "message"))
        reason = text(ready, "reason") or "NodeNotReady"
        yield finding("node-lost", reason, f"{where}, which is not ready{said}", of_workers=not is_head(pod))
    elif "node.kubernetes.io/unreachable" in taints:
        yield finding("node-lost", "NodeUnreachable", f"{where}, which is unreachable", of_workers=not is_head(pod))

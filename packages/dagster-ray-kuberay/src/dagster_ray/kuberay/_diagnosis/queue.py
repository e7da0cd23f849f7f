"""What holds a RayJob or a RayCluster back before anything of it runs. Pure.

Texts: Kueue 0.9 to 0.17 (pkg/scheduler/flavorassigner, pkg/scheduler/scheduler.go, pkg/controller/core/
workload_controller.go, apis/kueue/v1beta1/workload_types.go).
"""

import re
from collections.abc import Iterator

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, condition_of, is_true, sentence_end
from dagster_ray.kuberay._diagnosis.situations import Code, Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mappings, name_of, text

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_SUSPENDED = {"Suspended", "Suspending"}
_MISSING = re.compile(r"(?:LocalQueue|ClusterQueue) \S+ (?:doesn't exist|not found|is inactive|is stopped)")


def queue_findings(facts: Facts) -> Iterator[Finding]:
    """Yield why a queue, or a person, holds the RayJob or the RayCluster back."""
    workloads = [workload for workload in facts.workloads or () if _is_of(workload, facts)]
    for workload in workloads:
        yield from _workload(workload)
    for kind, manifest in (("RayJob", facts.rayjob or {}), ("RayCluster", facts.raycluster or {})):
        if workloads or not _is_suspended(manifest):
            continue
        queue = text(manifest, "metadata", "labels", _QUEUE_LABEL)
        if queue:
            yield finding("queued", "Suspended", f"queue {queue} has not admitted {kind} {name_of(manifest)} yet")
        else:
            yield finding(
                "suspended", "Suspended", f"{kind} {name_of(manifest)} is suspended, and has no queue's label"
            )


def _is_of(workload: Manifest, facts: Facts) -> bool:
    """Return whether a Workload is the RayJob's or the RayCluster's, as far as these are known."""
    known = [manifest for manifest in (facts.rayjob, facts.raycluster) if manifest]
    owners = mappings(at(workload, "metadata", "ownerReferences"))
    names = {name_of(manifest) for manifest in known}
    uids = {text(manifest, "metadata", "uid") for manifest in known} - {""}
    return not known or any(
        text(owner, "uid") in uids if uids and text(owner, "uid") else text(owner, "name") in names for owner in owners
    )


def _is_suspended(manifest: Manifest) -> bool:
    """Return whether a RayJob or a RayCluster is suspended, or begins so."""
    status = text(manifest, "status", "jobDeploymentStatus")
    return status in _SUSPENDED or (not status and at(manifest, "spec", "suspend") is True)


def _workload(workload: Manifest) -> Iterator[Finding]:
    if is_true(workload, "Admitted") or is_true(workload, "Finished"):
        return
    queue = text(workload, "spec", "queueName") or "?"
    evicted = condition_of(workload, "Evicted")
    said = sentence_end(text(evicted, "message"))
    if at(workload, "spec", "active") is False:
        sentence = f"Workload {name_of(workload)} of queue {queue} is deactivated{said}"
        yield finding("queue-deactivated", text(evicted, "reason") or "Deactivated", sentence, fatal=True)
        return
    if evicted.get("status") == "True":
        sentence = f"queue {queue} took the quota of Workload {name_of(workload)} back{said}"
        yield finding("queue-preempted", text(evicted, "reason") or "Evicted", sentence)
        return
    reserved = condition_of(workload, "QuotaReserved")
    message, reason = text(reserved, "message"), text(reserved, "reason") or "Pending"
    code, fatal = _pending(message)
    if reserved.get("status") == "True":
        checks = ", ".join(
            f"{text(check, 'name')} ({text(check, 'state')})"
            for check in mappings(at(workload, "status", "admissionChecks"))
        )
        message = f"quota is reserved, admission checks are open: {checks or '?'}"
        code, fatal = "queued", False
    sentence = f"queue {queue} has not admitted Workload {name_of(workload)}{sentence_end(message)}"
    yield finding(code, reason, sentence, fatal=fatal)


def _pending(message: str) -> tuple[Code, bool]:
    """Return which kind of wait a message tells of, and whether it can end by itself."""
    if _MISSING.search(message):
        return "queue-missing", False
    # One part a pod set; it fits never if no flavor has room for it even when empty.
    for part in message.split("couldn't assign flavors to pod set"):
        if "> maximum capacity" in part and "insufficient unused quota" not in part:
            return "queue-too-small", True
    return "queued", False

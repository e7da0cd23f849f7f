"""What the KubeRay operator says, and whether there is one. Pure.

Words: ray-operator/controllers/ray/utils/constant.go, and the controllers beside it, KubeRay 1.3 to 1.7.
"""

import re
from collections.abc import Iterator, Sequence

from dagster_ray.kuberay._diagnosis.cluster_facts import Event, Facts, condition_of, is_head, is_true
from dagster_ray.kuberay._diagnosis.refusals import read_refusal
from dagster_ray.kuberay._diagnosis.situations import Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, name_of, text, texts, whole
from dagster_ray.kuberay._status.cluster_state import GATE_TEXT

_REFUSALS = {"InvalidRayJobSpec", "InvalidRayJobMetadata", "InvalidRayJobStatus"} | {
    "InvalidRayClusterSpec",
    "InvalidRayClusterMetadata",
}
_WARNING_ONLY = "RayCluster spec warning"  # KubeRay 1.7 uses a refusal's reason for a warning
# What failed, by the reason of the operator's event, and what says that it has worked since.
_CREATIONS = {
    "FailedToCreateHeadPod": "CreatedHeadPod",
    "FailedToCreateWorkerPod": "CreatedWorkerPod",
    "FailedToCreateRayCluster": "CreatedRayCluster",
    "FailedToCreateService": "CreatedService",
}
_SUCCESSES = frozenset(_CREATIONS.values())
# What the operator puts before the API server's words.
_FRAME = re.compile(r"^Failed to create (?:head|worker) Pod[^,]*, |^Failed to create RayCluster \S+: ")
_OPERATOR = "ray.io/kuberay-operator"
_GATE_REMEDY = "Leave `deletion_strategy` out, or switch the operator's feature gate RayJobDeletionPolicy on."
_GARBAGE_COLLECTORS = {"foregroundDeletion", "orphan"}  # Kubernetes' own: what the object owns goes first
_REDIS_FINALIZER = "ray.io/gcs-ft-redis-cleanup-finalizer"


def refusal_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what the operator refuses, and has not accepted since: it will not look at the object again."""
    rayjob = facts.rayjob or {}
    if text(rayjob, "status", "jobDeploymentStatus") == "ValidationFailed":
        yield _refused("ValidationFailed", text(rayjob, "status", "message"))
    accepted = _accepted(facts)
    for event in reversed(facts.history):
        if event.reason in _SUCCESSES:
            accepted.add((event.kind, event.name))
        elif event.message.startswith(_WARNING_ONLY) or (event.kind, event.name) in accepted:
            continue
        elif event.reason in _REFUSALS and not _head_is_younger(facts, event):
            yield _refused(event.reason, event.message)
        elif event.reason == "RayClusterNotFound" and not facts.raycluster:
            yield finding("cluster-not-found", event.reason, event.message, fatal=True)


def _accepted(facts: Facts) -> set[tuple[str, str]]:
    """Return the objects, by kind and name, whose specs as they are now have passed the operator's validation."""
    accepted: set[tuple[str, str]] = set()
    rayjob, raycluster = facts.rayjob or {}, facts.raycluster or {}
    if text(rayjob, "status", "jobDeploymentStatus") not in {"", "ValidationFailed"}:
        accepted.add(("RayJob", name_of(rayjob)))
    # Written with the status, which the operator computes after it has validated this generation.
    if 0 < whole(raycluster, "metadata", "generation") <= whole(raycluster, "status", "observedGeneration"):
        accepted.add(("RayCluster", name_of(raycluster)))
    return accepted


def _head_is_younger(facts: Facts, refusal: Event) -> bool:
    """Return whether the head pod was created after a refusal of its RayCluster."""
    made = [text(pod, "metadata", "creationTimestamp").removesuffix("Z") for pod in facts.pods if is_head(pod)]
    return refusal.kind == "RayCluster" and any(time >= refusal.time for time in made if time and refusal.time)


def _refused(reason: str, message: str) -> Finding:
    remedy = _GATE_REMEDY if GATE_TEXT in message else None
    return finding("refused", reason, message, fatal=True, remedy=remedy)


def creation_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what the operator could not create, and has not created since."""
    if any(is_head(pod) for pod in facts.pods):
        settled = {"FailedToCreateHeadPod", "FailedToCreateRayCluster"}
    else:
        settled: set[str] = set()
    failure = condition_of(facts.raycluster or {}, "ReplicaFailure")
    if failure.get("status") == "True":
        reason = text(failure, "reason")
        yield _not_created(reason, text(failure, "message"), of_workers="Worker" in reason)
    for event in reversed(facts.history):
        made = next((failed for failed, done in _CREATIONS.items() if done == event.reason), None)
        if made is not None:
            settled.add(made)
        elif event.reason in _CREATIONS and event.reason not in settled:
            yield _not_created(event.reason, event.message, of_workers=event.reason == "FailedToCreateWorkerPod")


def _not_created(reason: str, message: str, *, of_workers: bool) -> Finding:
    refusal = read_refusal(_FRAME.sub("", message))
    if refusal is None:
        return finding("not-created", reason, message, of_workers=of_workers)
    what = "a worker pod" if of_workers else "the head pod" if "HeadPod" in reason else "an object of the cluster"
    sentence = f"{what} is not created: {refusal.sentence}"
    return finding(refusal.code, reason, sentence, fatal=refusal.fatal, of_workers=of_workers, remedy=refusal.remedy)


def silence_findings(facts: Facts) -> Iterator[Finding]:
    """Yield why nobody has written a status, where nobody has."""
    for kind, manifest in (("RayJob", facts.rayjob), ("RayCluster", facts.raycluster)):
        if not manifest or mapping(manifest.get("status")) or at(manifest, "spec", "suspend") is True:
            continue
        what, owner = f"{kind} {name_of(manifest)}", text(manifest, "spec", "managedBy")
        if owner and owner != _OPERATOR:
            sentence = f"{what} is left to {owner}, which has written no status"
            yield finding("other-controller", "managedBy", sentence)
        else:
            yield _silent(facts.operator_pods, what)
        return


def _silent(operators: Sequence[Manifest] | None, what: str) -> Finding:
    if operators is None:
        return finding("operator-silent", "NoStatus", f"no operator has written a status into {what}")
    if not operators:
        return finding("operator-missing", "NoStatus", f"{what} has no status, and there is no operator's pod")
    down = _down(operators)
    if down is not None:
        return finding("operator-down", "NoStatus", f"{what} has no status, because {down}")
    sentence = f"{what} has no status although the operator's pod {name_of(operators[0])} is ready"
    remedy = "Check that the operator watches this namespace: `watchNamespace` and `singleNamespaceInstall` limit it."
    return finding("operator-silent", "NoStatus", sentence, remedy=remedy)


def _down(operators: Sequence[Manifest]) -> str | None:
    """Return what is wrong with the operator; None if one of its pods is ready."""
    if not operators:
        return "there is no operator's pod"
    if any(is_true(pod, "Ready") for pod in operators):
        return None
    words = [
        text(status, "state", "waiting", "reason")
        for status in mappings(mapping(operators[0].get("status")).get("containerStatuses"))
    ]
    word = next((word for word in words if word), text(operators[0], "status", "phase") or "not ready")
    return f"the operator's pod {name_of(operators[0])} is not ready ({word})"


def deletion_findings(facts: Facts) -> Iterator[Finding]:
    """Yield which finalizers hold an object that is to be deleted."""
    for kind, manifest in (("RayJob", facts.rayjob), ("RayCluster", facts.raycluster)):
        finalizers = [name for name in texts(manifest, "metadata", "finalizers") if name not in _GARBAGE_COLLECTORS]
        if not text(manifest, "metadata", "deletionTimestamp") or not finalizers:
            continue
        sentence = f"{kind} {name_of(manifest or {})} is to be deleted, but is held by {', '.join(finalizers)}"
        down = _down(facts.operator_pods) if facts.operator_pods is not None else None
        if down is not None:
            sentence += f"; {down}"
        elif _REDIS_FINALIZER in finalizers:
            sentence += "; KubeRay gives the clean-up of Redis 300 s (since 1.6.2)"
        yield finding("deletion-stuck", "Finalizers", sentence)

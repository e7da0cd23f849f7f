"""Why the volumes of a pod are not there. Pure.

Texts: kubelet and the attach-detach controller (pkg/kubelet/volumemanager, pkg/volume/util/operationexecutor,
pkg/controller/volume), Kubernetes 1.36.
"""

from collections.abc import Iterator

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, is_head, sentence_end
from dagster_ray.kuberay._diagnosis.containers import missing_object
from dagster_ray.kuberay._diagnosis.situations import Code, Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings, name_of, text

_MOUNT: dict[str, Code] = {
    "FailedMount": "volume-mount",
    "FailedMapVolume": "volume-mount",
    "FailedAttachVolume": "volume-attach",
}
_NORMAL = "WaitForFirstConsumer"  # the claim waits for the pod's node, and the pod tells why it has none
# Says the least of all mount errors; another event says more, if there is one.
_VAGUE = "timed out waiting for the condition"


def storage_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the claims and volumes of pods that have not started."""
    for pod in facts.pods:
        if not _has_started(pod):
            yield from _mounts(facts, pod)
            yield from _claims(facts, pod)


def _has_started(pod: Manifest) -> bool:
    status = mapping(pod.get("status"))
    states = [
        mapping(container.get("state"))
        for key in ("initContainerStatuses", "containerStatuses")
        for container in mappings(status.get(key))
    ]
    return any(state.get("running") or state.get("terminated") for state in states)


def _mounts(facts: Facts, pod: Manifest) -> Iterator[Finding]:
    found = [event for event in facts.events_of_pod(pod) if event.reason in _MOUNT]
    telling = [event for event in found if _VAGUE not in event.message] or found
    if telling:
        event = telling[-1]
        code = missing_object(event.message) or _MOUNT[event.reason]
        sentence = f"pod {name_of(pod)} does not get its volumes: {event.message}"
        yield finding(code, event.reason, sentence, of_workers=not is_head(pod))


def _claims(facts: Facts, pod: Manifest) -> Iterator[Finding]:
    if facts.claims is None:
        return
    claims, workers = {name_of(claim): claim for claim in facts.claims}, not is_head(pod)
    for volume in mappings(mapping(pod.get("spec")).get("volumes")):
        name = text(volume, "persistentVolumeClaim", "claimName")
        if not name:
            continue
        if name not in claims:
            sentence = f"pod {name_of(pod)} needs PersistentVolumeClaim {name}, which does not exist"
            yield finding("claim-missing", "NotFound", sentence, of_workers=workers)
            continue
        yield from _claim(facts, pod, claims[name], workers=workers)


def _claim(facts: Facts, pod: Manifest, claim: Manifest, *, workers: bool) -> Iterator[Finding]:
    phase, name = text(claim, "status", "phase"), name_of(claim)
    if phase not in {"Pending", "Lost"}:
        return
    about = [event for event in facts.history if event.kind == "PersistentVolumeClaim" and event.name == name]
    if phase == "Pending" and about and about[-1].reason == _NORMAL:
        return
    spec = mapping(claim.get("spec"))
    storage = mapping(mapping(spec.get("resources")).get("requests")).get("storage")
    size = f" of {storage}" if isinstance(storage, str) else ""
    kind = f" of storage class {text(spec, 'storageClassName')}" if text(spec, "storageClassName") else ""
    said = sentence_end(about[-1].message if about else "")
    sentence = f"pod {name_of(pod)} waits for PersistentVolumeClaim {name}{size}{kind}, which is {phase}{said}"
    yield finding("claim-pending", about[-1].reason if about else phase, sentence, of_workers=workers)

"""Why a cluster does not come up, and whether waiting helps. Pure.

Looks at the condition HeadPodReady, at pods and at events. What it does not know is no diagnosis: the step goes
on waiting and shows the raw facts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dagster_ray.kuberay._cluster_state import Head
from dagster_ray.kuberay._manifest_fields import Manifest, at, mapping, mappings

# kubelet's words (pkg/kubelet/images/types.go, pkg/kubelet/container/sync_result.go).
_PULL = {"ErrImagePull", "ImagePullBackOff"}
_HOPELESS = {"InvalidImageName", "ErrImageNeverPull", "CrashLoopBackOff", "RunContainerError", "StartError"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError"}
# A registry that cannot be reached may come back; one that says these will say them again.
_FINAL_PULL_TEXTS = ("not found", "notfound", "manifest unknown", "unauthorized", "denied", "forbidden", "invalid")
_REFUSALS = {"InvalidRayJobSpec", "InvalidRayJobMetadata", "InvalidRayClusterSpec", "InvalidRayClusterMetadata"}
_WARNING_ONLY = "RayCluster spec warning"  # KubeRay 1.7 uses a refusal's reason for a warning


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why the cluster is not there."""

    code: str
    """What kind of trouble: image, container, config, unschedulable, quota, refused."""
    fatal: bool
    """Whether waiting longer is of no use."""
    reason: str
    """Kubernetes' or KubeRay's own word."""
    sentence: str
    """Their own message."""


def explain_head(head: Head | None) -> Diagnosis | None:
    """Return what the condition HeadPodReady says, if it says why the head does not run.

    The operator copies the first waiting container's reason from 1.5.1 on; before, only pods have it.
    """
    return None if head is None else _container_trouble(head.reason, head.message)


def explain(pods: Iterable[Manifest], events: Iterable[Manifest]) -> Diagnosis | None:
    """Return why the cluster is not there, from the pods of the cluster and the events of the RayJob and the cluster.

    A fatal finding comes before a patient one.
    """
    found = [*_from_events(events), *_from_pods(pods)]
    return next((d for d in found if d.fatal), found[0] if found else None)


def _from_pods(pods: Iterable[Manifest]) -> list[Diagnosis]:
    found: list[Diagnosis] = []
    for pod in pods:
        is_head = at(pod, "metadata", "labels", "ray.io/node-type") == "head"
        # A worker that cannot start does not keep drivers from the head.
        found += [trouble if is_head else replace(trouble, fatal=False) for trouble in _pod_troubles(pod)]
    return found


def _pod_troubles(pod: Manifest) -> list[Diagnosis]:
    status = mapping(pod.get("status"))
    name = at(pod, "metadata", "name")
    found: list[Diagnosis] = []
    for condition in mappings(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = str(condition.get("reason") or "Unschedulable")
            found.append(Diagnosis("unschedulable", False, reason, f"pod {name}: {condition.get('message')}"))
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in mappings(status.get(key)):
            waiting = mapping(at(container, "state", "waiting"))
            trouble = _container_trouble(str(waiting.get("reason") or ""), str(waiting.get("message") or ""))
            if trouble is not None:
                found.append(trouble)
    return found


def _container_trouble(reason: str, message: str) -> Diagnosis | None:
    if reason in _PULL:
        final = any(text in message.lower() for text in _FINAL_PULL_TEXTS)
        return Diagnosis("image", final, reason, message)
    if reason in _HOPELESS:
        return Diagnosis("image" if "Image" in reason else "container", True, reason, message)
    if reason in _CONFIG:  # the Secret or ConfigMap may still be made
        return Diagnosis("config", False, reason, message)
    return None


def _from_events(events: Iterable[Manifest]) -> list[Diagnosis]:
    found: list[Diagnosis] = []
    for event in events:
        reason = str(event.get("reason") or "")
        message = str(event.get("message") or event.get("note") or "")
        if reason in _REFUSALS and not message.startswith(_WARNING_ONLY):
            found.append(Diagnosis("refused", True, reason, message))
        elif reason in {"FailedToCreateHeadPod", "FailedToCreateWorkerPod", "FailedToCreateRayCluster"}:
            found.append(Diagnosis("quota", False, reason, message))
    return found

"""What a RayJob's status means for a step that waits for its cluster. Pure.

The statuses are those of KubeRay 1.3 to 1.7 (ray-operator/apis/ray/v1/rayjob_types.go). A status that nobody
knows is a wait, never an error: newer operators may have more of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dagster_ray.kuberay._manifest_fields import Manifest, at, mapping, mappings

GATE_TEXT = "RayJobDeletionPolicy feature gate"
"""Part of the message by which an operator refuses a deletion strategy (KubeRay 1.5 with default gates)."""

_OVER = {"Complete", "Failed", "ValidationFailed"}
_QUEUED = {"Suspended", "Suspending"}
_OPERATOR_READY = {"Waiting", "Running"}
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True, slots=True)
class Head:
    """Where the head of a RayCluster is, as far as its status tells."""

    cluster: str
    service: str | None = None
    pod: str | None = None
    pod_ip: str | None = None
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    """Port numbers by the names of the head Service's ports."""
    reason: str = ""
    """Reason of the condition HeadPodReady."""
    message: str = ""

    @property
    def is_placed(self) -> bool:
        """Whether there is a pod with an address, and ports by name."""
        return self.pod is not None and self.pod_ip is not None and bool(self.ports)


@dataclass(frozen=True, slots=True)
class Unseen:
    """No operator has written a status yet."""

    sentence: str = "no operator has taken the RayJob up"


@dataclass(frozen=True, slots=True)
class Queued:
    """A queue, or a person, holds the RayJob back; nothing runs and nothing costs."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Starting:
    """The cluster is being made, or is there."""

    sentence: str
    head: Head | None = None
    operator_ready: bool = False
    """Whether the operator has seen all pods ready."""


@dataclass(frozen=True, slots=True)
class Ended:
    """No driver will ever connect: the RayJob has ended, was refused, or is gone."""

    status: str
    reason: str
    message: str

    @property
    def is_refused(self) -> bool:
        """Whether the operator refused the spec, so that nothing was made."""
        return self.status == "ValidationFailed"

    @property
    def is_deleted(self) -> bool:
        """Whether somebody deleted the RayJob."""
        return self.status == "Deleted"


RayJobState: TypeAlias = Unseen | Queued | Starting | Ended


def read_rayjob(rayjob: Manifest, *, deleted: bool = False) -> RayJobState:
    """Return what the RayJob's status means.

    Args:
        rayjob: The object as the API server gave it.
        deleted: Whether it came with a watch event DELETED.
    """
    if deleted or at(rayjob, "metadata", "deletionTimestamp"):
        return Ended("Deleted", "Deleted", "it was deleted by somebody else")
    status = mapping(rayjob.get("status"))
    word = str(status.get("jobDeploymentStatus") or "")
    if word in _OVER:
        return Ended(word, str(status.get("reason") or status.get("jobStatus") or ""), str(status.get("message") or ""))
    if word in _QUEUED or (not word and at(rayjob, "spec", "suspend")):
        return Queued(_queue_sentence(rayjob))
    return _waiting(rayjob, word) if status else Unseen()


def _waiting(rayjob: Manifest, word: str) -> Starting:
    """Return what a status means that is neither an end nor a queue."""
    if word in _OPERATOR_READY:
        return Starting(f"the operator says {word}", head_of_rayjob(rayjob), operator_ready=True)
    if word == "Initializing":
        return Starting("the cluster is being made", head_of_rayjob(rayjob))
    return Starting(f"the operator says {word or 'nothing'}")


def head_of_rayjob(rayjob: Manifest) -> Head | None:
    """Return the head that a RayJob's status tells of; None while no cluster has a name.

    The operator mirrors the cluster's status from 1.5.1 on; before, only the name is known.
    """
    status = mapping(rayjob.get("status"))
    name = status.get("rayClusterName")
    return head_of_status(str(name), mapping(status.get("rayClusterStatus"))) if name else None


def head_of_raycluster(raycluster: Manifest) -> Head:
    """Return the head that a RayCluster's own status tells of."""
    return head_of_status(str(at(raycluster, "metadata", "name")), mapping(raycluster.get("status")))


def head_of_status(cluster: str, status: Manifest) -> Head:
    """Return the head that the status of a RayCluster tells of."""
    head = mapping(status.get("head"))
    conditions = [c for c in mappings(status.get("conditions")) if c.get("type") == "HeadPodReady"]
    ready = conditions[0] if conditions else mapping(None)
    endpoints = mapping(status.get("endpoints"))
    return Head(
        cluster=cluster,
        service=head.get("serviceName") or None,
        pod=head.get("podName") or None,
        pod_ip=head.get("podIP") or None,
        ports={str(name): int(port) for name, port in endpoints.items() if str(port).isdecimal()},
        reason=str(ready.get("reason") or ""),
        message=str(ready.get("message") or ""),
    )


def service_differs_from_pod(rayjob: Manifest) -> bool:
    """Return whether the head Service may have other ports than the pod: NodePort, LoadBalancer, an own Service.

    `status.endpoints` holds node ports then (KubeRay raycluster_controller.go), so the Service must be read.
    """
    group = mapping(at(rayjob, "spec", "rayClusterSpec", "headGroupSpec"))
    return bool(group.get("headService")) or group.get("serviceType") not in {None, "", "ClusterIP"}


def ports_of_service(service: Manifest, *, of_pod: bool) -> dict[str, int]:
    """Return the ports of a Service by name: those of the pod behind it, or its own."""
    ports: dict[str, int] = {}
    for port in mappings(at(service, "spec", "ports")):
        own = str(port.get("port"))
        number = str(port.get("targetPort", own)) if of_pod else own
        ports[str(port.get("name"))] = int(number if number.isdecimal() else own)
    return ports


def _queue_sentence(rayjob: Manifest) -> str:
    queue = at(rayjob, "metadata", "labels", _QUEUE_LABEL)
    return f"the queue {queue!r} has not admitted it yet" if queue else "it is suspended"

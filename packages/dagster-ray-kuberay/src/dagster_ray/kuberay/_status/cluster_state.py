"""How far a cluster is for a step that waits for it, and where its head is. Pure.

The words are those of KubeRay 1.3 to 1.7. What nobody knows is a wait, never an error: newer operators may have more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, port_number, text

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
HEAD_READY = "HeadPodReady"
"""The condition of a RayCluster that follows its head pod."""


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
    since: str = ""
    """Since when the condition has its status, as the API writes it; a change of its reason alone changes nothing."""

    @property
    def is_placed(self) -> bool:
        """Whether there is a pod with an address, and ports by name."""
        return self.pod is not None and self.pod_ip is not None and bool(self.ports)


@dataclass(frozen=True, slots=True)
class Unseen:
    """No operator has written a status yet."""

    sentence: str = "KubeRay's operator has not taken it up yet"


@dataclass(frozen=True, slots=True)
class Queued:
    """A queue, or a person, holds the cluster back; nothing runs and nothing costs."""

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
    """No driver will ever connect: the RayJob or RayCluster has ended, was refused, or is gone."""

    status: str
    reason: str
    message: str

    @property
    def is_refused(self) -> bool:
        """Whether the operator refused the spec, so that nothing was made."""
        return self.status == "ValidationFailed"

    @property
    def is_deleted(self) -> bool:
        """Whether somebody deleted it."""
        return self.status == "Deleted"


ClusterState: TypeAlias = Unseen | Queued | Starting | Ended


def deleted_state(manifest: Manifest, *, deleted: bool) -> Ended | None:
    """Return the state of an object that is deleted or is being deleted; None if it is neither."""
    if deleted or at(manifest, "metadata", "deletionTimestamp"):
        return Ended("Deleted", "Deleted", "it was deleted by somebody else")
    return None


def queued_state(manifest: Manifest) -> Queued:
    """Return the state of an object that is suspended."""
    queue = at(manifest, "metadata", "labels", _QUEUE_LABEL)
    return Queued(f"the queue {queue!r} has not admitted it yet" if queue else "it is suspended")


def condition_of(status: Manifest, kind: str) -> Manifest:
    """Return the condition of a type; an empty one if the status has none."""
    found = [condition for condition in mappings(status.get("conditions")) if condition.get("type") == kind]
    return found[0] if found else mapping(None)


def head_of_status(cluster: str, status: Manifest) -> Head:
    """Return the head that the status of a RayCluster tells of."""
    head = mapping(status.get("head"))
    ready = condition_of(status, HEAD_READY)
    endpoints = mapping(status.get("endpoints"))
    return Head(
        cluster=cluster,
        service=text(head, "serviceName") or None,
        pod=text(head, "podName") or None,
        pod_ip=text(head, "podIP") or None,
        ports={str(name): port for name, found in endpoints.items() if (port := port_number(found)) is not None},
        reason=str(ready.get("reason") or ""),
        message=str(ready.get("message") or ""),
        since=text(ready, "lastTransitionTime"),
    )


def service_differs_from_pod(cluster_spec: Manifest) -> bool:
    """Return whether the head Service may have other ports than the pod: NodePort, LoadBalancer, an own Service.

    `status.endpoints` holds node ports then (KubeRay raycluster_controller.go), so the Service must be read.
    """
    group = mapping(cluster_spec.get("headGroupSpec"))
    return bool(group.get("headService")) or group.get("serviceType") not in (None, "", "ClusterIP")


def ports_of_service(service: Manifest, *, of_pod: bool) -> dict[str, int]:
    """Return the ports of a Service by name: those of the pod behind it, or its own; none for what has no number."""
    ports: dict[str, int] = {}
    for port in mappings(at(service, "spec", "ports")):
        own = port_number(port.get("port"))
        behind = port_number(port.get("targetPort")) if of_pod else None
        if (number := own if behind is None else behind) is not None:
            ports[str(port.get("name"))] = number
    return ports

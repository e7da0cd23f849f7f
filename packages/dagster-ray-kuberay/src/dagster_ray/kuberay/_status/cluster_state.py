"""A RayJob or RayCluster that a step uses: how far it is for a step that waits for it, and where its head is. Pure.

The words are those of KubeRay 1.3 to 1.7 (ray-operator/apis/ray/v1, rayjob_types.go and raycluster_types.go). What
nobody knows is a wait, never an error: newer operators may have more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, port_number, text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS, Kind
from dagster_ray.kuberay._status.errors import ClusterGoneError, RayJobEndedError, SpecRefusedError

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
HEAD_READY = "HeadPodReady"
"""The condition of a RayCluster that follows its head pod."""
GATE_TEXT = "RayJobDeletionPolicy feature gate"
"""Part of the message by which an operator refuses a deletion strategy (KubeRay 1.5 with default gates)."""

_READY = "ready"
_OVER = {"Complete", "Failed", "ValidationFailed"}
_QUEUED = {"Suspended", "Suspending"}
_OPERATOR_READY = {"Waiting", "Running"}
_BEFORE_PODS = {"", "Initializing"}


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

    def error(self, target: str) -> DagsterRayError:
        """Return the error of a step that needs it."""
        if self.is_deleted:
            return ClusterGoneError(target, self.message)
        if self.is_refused:
            return SpecRefusedError(target, self.reason, self.message)
        return RayJobEndedError(target, self.status, self.reason, self.message)


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


def read_rayjob(rayjob: Manifest, *, deleted: bool = False) -> ClusterState:
    """Return what the RayJob's status means.

    Args:
        rayjob: The object as the API server gave it.
        deleted: Whether it came with a watch event DELETED.
    """
    if (gone := deleted_state(rayjob, deleted=deleted)) is not None:
        return gone
    status = mapping(rayjob.get("status"))
    word = str(status.get("jobDeploymentStatus") or "")
    if word in _OVER:
        return Ended(word, str(status.get("reason") or status.get("jobStatus") or ""), str(status.get("message") or ""))
    if word in _QUEUED or (not word and at(rayjob, "spec", "suspend")):
        return queued_state(rayjob)
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


def read_raycluster(raycluster: Manifest, *, deleted: bool = False) -> ClusterState:
    """Return what the RayCluster's status means.

    `spec.suspend` decides whether a queue holds it: the state goes on saying `suspended` after the admission, until
    all pods are ready again (run with 1.7.0).

    Args:
        raycluster: The object as the API server gave it.
        deleted: Whether it came with a watch event DELETED.
    """
    if (gone := deleted_state(raycluster, deleted=deleted)) is not None:
        return gone
    if at(raycluster, "spec", "suspend") is True:
        return queued_state(raycluster)
    if not (status := mapping(raycluster.get("status"))):
        return Unseen()
    ready = is_ready(raycluster)
    said = f"the operator says {status.get('state')}" if ready else "the cluster is being made"
    return Starting(said, head_of_raycluster(raycluster), operator_ready=ready)


def is_ready(raycluster: Manifest) -> bool:
    """Return whether all pods were ready once and the head is ready now.

    The state alone tells nothing of the present: no failure takes `ready` back (KubeRay raycluster_controller.go).
    """
    status = mapping(raycluster.get("status"))
    return status.get("state") == _READY and condition_of(status, HEAD_READY).get("status") == "True"


def head_of_raycluster(raycluster: Manifest) -> Head:
    """Return the head that a RayCluster's own status tells of."""
    return head_of_status(str(at(raycluster, "metadata", "name")), mapping(raycluster.get("status")))


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


@dataclass(frozen=True, slots=True)
class Created:
    """An object of the Kubernetes API that stands for a step's cluster: a RayJob, or a RayCluster.

    Attributes:
        kind: RAYJOBS or RAYCLUSTERS.
        namespace: Its namespace.
        name: Its name.
        uid: What tells it from another object of the same name.
        manifest: The object as it was when the step got it.
    """

    kind: Kind
    namespace: str
    name: str
    uid: str
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def target(self) -> str:
        """Its name for people."""
        return f"{self.kind.kind} {self.namespace}/{self.name}"

    @property
    def cluster_spec(self) -> Manifest:
        """The spec of its cluster."""
        spec = mapping(self.manifest.get("spec"))
        return mapping(spec.get("rayClusterSpec")) if self.kind is RAYJOBS else spec

    def state_of(self, manifest: Manifest, *, deleted: bool = False) -> ClusterState:
        """Return what a later status of the object means for a step that waits."""
        read = read_rayjob if self.kind is RAYJOBS else read_raycluster
        return read(manifest, deleted=deleted)

    def head_of(self, manifest: Manifest) -> Head | None:
        """Return the head that a later status of the object tells of."""
        return head_of_rayjob(manifest) if self.kind is RAYJOBS else head_of_raycluster(manifest)


def created(kind: Kind, namespace: str, manifest: Mapping[str, Any]) -> Created:
    """Return an object as the API server gave it."""
    return Created(
        kind, namespace, str(at(manifest, "metadata", "name")), str(at(manifest, "metadata", "uid")), manifest
    )


def misses_pods(rayjob: Manifest) -> bool:
    """Return whether the operator has not seen all pods of a RayJob ready, so that it reads no job id yet."""
    return text(rayjob, "status", "jobDeploymentStatus") not in _OPERATOR_READY


def waits_for_pods(rayjob: Manifest) -> bool:
    """Return whether the operator still waits for the pods of a RayJob, whose job may have ended."""
    return text(rayjob, "status", "jobDeploymentStatus") in _BEFORE_PODS

"""The head of a RayJob or RayCluster that a person names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.kuberay._head.route import DASHBOARD_PORT
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at, mappings
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, SERVICES
from dagster_ray.kuberay._status.cluster_state import Created, Head, created, ports_of_service, service_differs_from_pod
from dagster_ray.kuberay.command._checks import Refusal
from dagster_ray.kuberay.command._terminal import CALL_SECONDS

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_HEAD_CONTAINER = "ray-head"
_DASHBOARD = 8265
"""Ray's own, for clusters whose status names no port."""


@dataclass(frozen=True, slots=True)
class FoundHead:
    """A cluster and its head, as far as they are.

    Attributes:
        named: The RayJob or RayCluster that was named.
        cluster: Its RayCluster; the same for a RayCluster, None while a RayJob has none.
        head: Its head; None while there is none.
    """

    named: Created
    cluster: Created | None
    head: Head | None

    @property
    def pod(self) -> str | None:
        """The head pod's name; None while there is none."""
        return None if self.head is None else self.head.pod

    @property
    def container(self) -> str:
        """The head pod's Ray container: its first (KubeRay ray-operator/controllers/ray/utils/constant.go)."""
        if self.cluster is None:
            return _HEAD_CONTAINER
        containers = mappings(at(self.cluster.cluster_spec, "headGroupSpec", "template", "spec", "containers"))
        return str(containers[0].get("name") or _HEAD_CONTAINER) if containers else _HEAD_CONTAINER

    def dashboard_port(self, api: "KubernetesApi") -> int:
        """Return the pod's dashboard port."""
        if self.cluster is None or self.head is None:
            return _DASHBOARD
        ports: Mapping[str, int] = self.head.ports
        if self.head.service is not None and service_differs_from_pod(self.cluster.cluster_spec):
            service = api.get(SERVICES, self.cluster.namespace, self.head.service, Deadline(CALL_SECONDS))
            ports = ports_of_service(service, of_pod=True)
        return ports.get(DASHBOARD_PORT, _DASHBOARD)

    @property
    def sentence(self) -> str:
        """Why there is no head pod yet."""
        state = self.named.state_of(self.named.manifest)
        return (
            f"{self.named.target} has no head pod: {getattr(state, 'sentence', None) or getattr(state, 'message', '')}"
        )


def find_head(api: "KubernetesApi", namespace: str, name: str) -> FoundHead:
    """Return the head of the RayJob, else of the RayCluster of a name.

    Raises:
        NotFoundError: There is neither.
    """
    try:
        job = created(RAYJOBS, namespace, api.get(RAYJOBS, namespace, name, Deadline(CALL_SECONDS)))
    except NotFoundError:
        own = _cluster(api, namespace, name)
        return FoundHead(own, own, own.head_of(own.manifest))
    mirrored = job.head_of(job.manifest)
    if mirrored is None:
        return FoundHead(job, None, None)
    try:  # the RayJob's copy of the status is old, or lacks all, in some versions of KubeRay
        own = _cluster(api, namespace, mirrored.cluster)
    except NotFoundError:
        return FoundHead(job, None, None)
    return FoundHead(job, own, own.head_of(own.manifest))


def named_head(api: "KubernetesApi", namespace: str, name: str) -> FoundHead | Refusal:
    """Return the head of the RayJob or RayCluster that a person names; a refusal if there is neither."""
    try:
        return find_head(api, namespace, name)
    except NotFoundError as error:
        return Refusal(
            error.code,
            f"There is no RayJob or RayCluster named {name} in namespace {namespace}.",
            f"check the name and the namespace; `dagster-ray clusters --namespace {namespace}` lists what exists.",
        )


def _cluster(api: "KubernetesApi", namespace: str, name: str) -> Created:
    found = api.get(RAYCLUSTERS, namespace, name, Deadline(CALL_SECONDS))
    return created(RAYCLUSTERS, namespace, found)

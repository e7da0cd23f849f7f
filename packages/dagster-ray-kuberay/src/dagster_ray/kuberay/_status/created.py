"""A RayJob or RayCluster that a step uses. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS, Kind
from dagster_ray.kuberay._status.cluster_state import ClusterState, Head
from dagster_ray.kuberay._status.raycluster_state import head_of_raycluster, read_raycluster
from dagster_ray.kuberay._status.rayjob_state import head_of_rayjob, read_rayjob


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

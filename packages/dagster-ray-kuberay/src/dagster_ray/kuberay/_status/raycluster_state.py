"""What a RayCluster's status means for a step that waits for it. Pure.

The words are those of KubeRay 1.3 to 1.7 (ray-operator/apis/ray/v1/raycluster_types.go).
"""

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._status.cluster_state import (
    HEAD_READY,
    ClusterState,
    Head,
    Starting,
    Unseen,
    condition_of,
    deleted_state,
    head_of_status,
    queued_state,
)

_READY = "ready"


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

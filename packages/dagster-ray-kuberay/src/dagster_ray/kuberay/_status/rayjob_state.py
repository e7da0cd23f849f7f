"""What a RayJob's status means for a step that waits for its cluster. Pure.

The statuses are those of KubeRay 1.3 to 1.7 (ray-operator/apis/ray/v1/rayjob_types.go). A status that nobody
knows is a wait, never an error: newer operators may have more of them.
"""

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._status.cluster_state import (
    ClusterState,
    Ended,
    Head,
    Starting,
    Unseen,
    deleted_state,
    head_of_status,
    queued_state,
)

GATE_TEXT = "RayJobDeletionPolicy feature gate"
"""Part of the message by which an operator refuses a deletion strategy (KubeRay 1.5 with default gates)."""

_OVER = {"Complete", "Failed", "ValidationFailed"}
_QUEUED = {"Suspended", "Suspending"}
_OPERATOR_READY = {"Waiting", "Running"}


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

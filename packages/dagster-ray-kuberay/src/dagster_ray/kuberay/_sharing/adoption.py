"""Use a RayCluster that somebody else has made. It is never changed, except for a lock, and never deleted."""

from dagster_ray.core import identity_of
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import ForbiddenError, InvalidObjectError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._sharing.requests import new_lock_id
from dagster_ray.kuberay._sharing.steps import Held
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.selection import SELECTOR
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.heartbeat import annotation_patch
from dagster_ray.kuberay._steps.step_cluster import StepCluster


def adopt(cluster: StepCluster, namespace: str, name: str, ttl_seconds: float) -> Held | None:
    """Return the cluster that has the wanted name; None if dagster-ray has made it, for another step.

    A lock on it tells its owner who uses it. An account that may not patch it, or whose update is denied, uses it
    without.

    Raises:
        NotFoundError: There is no cluster of this name any more.
        KubernetesError: It cannot be read.
    """
    api, log = cluster.api, cluster.log
    found = api.get(RAYCLUSTERS, namespace, name, cluster.deadline)
    if at(found, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY:
        return None
    own, now, identity = created(RAYCLUSTERS, namespace, found), api.server_time(), identity_of(cluster.context)
    lock = Lock(new_lock_id(), identity.run_id, identity.step_key, now, now, ttl_seconds)
    log.info("%s exists and is used; dagster-ray has not made it and will not delete it.", own.target)
    try:
        api.patch(own.kind, own.namespace, own.name, annotation_patch(own, {lock.key: lock.text()}), cluster.deadline)
    except (ForbiddenError, InvalidObjectError) as error:
        if proves_gone(error):
            raise NotFoundError("patch", own.kind.resource, own.namespace, own.name, 404, error.message) from error
        log.info("%s gets no lock: %s", own.target, error.problem)
        return Held(own, lock, made=False, is_locked=False)
    return Held(own, lock, made=False)


def adopt_selected(cluster: StepCluster, namespace: str, name: str, ttl_seconds: float) -> Held:
    """Return the cluster that a `clusterSelector` names. It must exist: nothing is created in its place.

    Args:
        cluster: What holds the step's cluster.
        namespace: The RayCluster's namespace.
        name: Its name.
        ttl_seconds: How long the lock of the step counts without renewal.

    Raises:
        InvalidSpecError: It does not exist, or dagster-ray has made it.
        KubernetesError: It cannot be read.
    """
    try:
        found = adopt(cluster, namespace, name, ttl_seconds)
    except NotFoundError:
        found = None
    if found is None:
        reason = (
            f"names the RayCluster {namespace}/{name}, which does not exist, or which dagster-ray made for other steps"
        )
        raise InvalidSpecError(f"spec.{SELECTOR}", reason, "create the RayCluster first, or use cluster_sharing")
    return found

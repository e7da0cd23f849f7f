"""Use a RayCluster that somebody else has made. It is never changed, except for a lock, and never deleted."""

from typing import TYPE_CHECKING, Any

from dagster_ray.core import DagsterContext, Deadline, identity_of, log_of
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import ForbiddenError, InvalidObjectError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._sharing.steps import Held, new_lock_id
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.selection import SELECTOR
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.creation import Wish
from dagster_ray.kuberay._steps.heartbeat import annotation_patch

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi


def adopt(
    api: "KubernetesApi", wish: Wish, context: DagsterContext, ttl_seconds: float, deadline: Deadline
) -> Held | None:
    """Return the cluster that has the wanted name; None if dagster-ray has made it, for another step.

    A lock on it tells its owner who uses it. An account that may not patch it, or whose update is denied, uses it
    without.

    Raises:
        NotFoundError: There is no cluster of this name any more.
        KubernetesError: It cannot be read.
    """
    found = api.get(wish.kind, wish.namespace, wish.names[0], deadline)
    if at(found, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY:
        return None
    own, now, identity = created(wish.kind, wish.namespace, found), api.server_time(), identity_of(context)
    lock = Lock(new_lock_id(), identity.run_id, identity.step_key, now, now, ttl_seconds)
    log = log_of(context)
    log.info("%s exists and is used; dagster-ray has not made it and will not delete it.", own.target)
    try:
        api.patch(own.kind, own.namespace, own.name, annotation_patch(own, {lock.key: lock.text()}), deadline)
    except (ForbiddenError, InvalidObjectError) as error:
        if proves_gone(error):
            raise NotFoundError("patch", wish.kind.resource, own.namespace, own.name, 404, error.message) from error
        log.info("%s gets no lock: %s", own.target, error.problem)
        return Held(own, lock, made=False, is_locked=False)
    return Held(own, lock, made=False)


def adopt_selected(
    api: "KubernetesApi", selected: tuple[str, str], context: DagsterContext, ttl_seconds: float, deadline: Deadline
) -> Held:
    """Return the cluster that a `clusterSelector` names. It must exist: nothing is created in its place.

    Args:
        api: The cluster's API.
        selected: The RayCluster's namespace and name.
        context: The step.
        ttl_seconds: How long the lock of the step counts without renewal.
        deadline: When to give up.

    Raises:
        InvalidSpecError: It does not exist, or dagster-ray has made it.
        KubernetesError: It cannot be read.
    """
    namespace, name = selected
    nothing: dict[str, Any] = {}
    wish = Wish(RAYCLUSTERS, namespace, (name,), "", lambda _: nothing, frozenset())
    try:
        found = adopt(api, wish, context, ttl_seconds, deadline)
    except NotFoundError:
        found = None
    if found is None:
        reason = (
            f"names the RayCluster {namespace}/{name}, which does not exist, or which dagster-ray made for other steps"
        )
        raise InvalidSpecError(f"spec.{SELECTOR}", reason, "create the RayCluster first, or use cluster_sharing")
    return found

"""Use a RayCluster that somebody else has made. It is never changed, except for a lock, and never deleted."""

import uuid
from typing import TYPE_CHECKING

from dagster_ray.core import DagsterContext, Deadline, identity_of
from dagster_ray.kuberay._cluster_sharing import Held
from dagster_ray.kuberay._cluster_steps import log_of
from dagster_ray.kuberay._created import created
from dagster_ray.kuberay._creation import Wish
from dagster_ray.kuberay._heartbeat import lock_patch
from dagster_ray.kuberay._kubernetes_errors import ForbiddenError, NotFoundError
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL
from dagster_ray.kuberay._locks import Lock
from dagster_ray.kuberay._manifest_fields import at

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes import KubernetesApi

_LOCK_ID_CHARACTERS = 12


def adopt(
    api: "KubernetesApi", wish: Wish, context: DagsterContext, ttl_seconds: float, deadline: Deadline
) -> Held | None:
    """Return the cluster that has the wanted name; None if dagster-ray has made it, for another step.

    A lock on it tells its owner who uses it. An account that may not patch it uses it without.

    Raises:
        KubernetesError: It cannot be read.
    """
    try:
        found = api.get(wish.kind, wish.namespace, wish.names[0], deadline)
    except NotFoundError:
        return None
    if at(found, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY:
        return None
    own, now, identity = created(wish.kind, wish.namespace, found), api.server_time(), identity_of(context)
    lock_id = uuid.uuid4().hex[:_LOCK_ID_CHARACTERS]
    lock = Lock(lock_id, identity.run_id, identity.step_key, now, now, ttl_seconds)
    log = log_of(context)
    log.info("%s exists and is used; dagster-ray has not made it and will not delete it.", own.target)
    try:
        api.patch(own.kind, own.namespace, own.name, lock_patch(own, lock.key, lock.text()), deadline)
    except ForbiddenError as error:
        log.info("%s gets no lock: %s", own.target, error.problem)
        return Held(own, lock, made=False, is_locked=False)
    return Held(own, lock, made=False)

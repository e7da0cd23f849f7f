"""Give a shared cluster up. What a step does with its lock is decided in `choice`."""

import logging
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import ConflictError, KubernetesError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import propagation_of
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL
from dagster_ray.kuberay._sharing.choice import Leave, is_free
from dagster_ray.kuberay._sharing.locks import common_lock
from dagster_ray.kuberay._sharing.steps import Held
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._steps.heartbeat import annotation_patch

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_DELETE_LOOKS = 5
_MERGE_ATTEMPTS = 3
_MERGE_PAUSE_SECONDS = 0.3


def leave(api: "KubernetesApi", held: Held, what: Leave, deadline: Deadline, log: logging.Logger) -> None:
    """Do with this step's lock what was decided. The heartbeat has been stopped."""
    own = held.own
    if not held.is_locked:
        return
    if what is Leave.KEEP_LOCK:
        log.info("%s stays available to other steps until at least %s.", own.target, held.lock.ends_at.isoformat())
        try:
            _merge(api, held, deadline)
        except DagsterRayError as error:
            log.debug("%s: the lock of this step stays as it is, and ends by itself: %s", own.target, error)
        return
    try:
        answer = api.patch(own.kind, own.namespace, own.name, annotation_patch(own, {held.lock.key: None}), deadline)
    except KubernetesError as error:
        if proves_gone(error):
            return
        raise
    if what is Leave.RELEASE_AND_DELETE_UNUSED:
        _delete_unused(api, own, answer, deadline, log)


def _merge(api: "KubernetesApi", held: Held, deadline: Deadline) -> None:
    """Replace this step's lock by the one that all steps which are over have in common.

    So the number of annotations follows the steps that live. The patch names the version in which the common lock was
    seen: of steps that end together none shortens the time that another one leaves. A step that does not come
    through leaves its own lock, which is as good.
    """
    own, lock = held.own, held.lock
    is_fresh = not held.made and lock.renewed_at == lock.applied_at  # nothing was written after the lock
    seen: Mapping[str, Any] = own.manifest if is_fresh else api.get(own.kind, own.namespace, own.name, deadline)
    for _ in range(_MERGE_ATTEMPTS):
        common = common_lock(seen, lock)
        if common is None or at(seen, "metadata", "uid") != own.uid or at(seen, "metadata", "deletionTimestamp"):
            return
        version = str(at(seen, "metadata", "resourceVersion"))
        patch = annotation_patch(own, {lock.key: None, common.key: common.text()}, version)
        try:
            api.patch(own.kind, own.namespace, own.name, patch, deadline)
        except ConflictError:
            deadline.sleep(random.uniform(0, _MERGE_PAUSE_SECONDS))  # noqa: S311 - jitter, not a secret
            seen = api.get(own.kind, own.namespace, own.name, deadline)
        else:
            return


def _delete_unused(
    api: "KubernetesApi", own: Created, seen: Mapping[str, Any], deadline: Deadline, log: logging.Logger
) -> None:
    """Delete a cluster as it was seen: a lock that comes in between changes its version and keeps it.

    So does the operator's status, after which it is looked at again.
    """
    for _ in range(_DELETE_LOOKS):
        is_ours = at(seen, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY
        if not is_ours or at(seen, "metadata", "uid") != own.uid or not is_free(seen, api.server_time()):
            return
        version = str(at(seen, "metadata", "resourceVersion"))
        try:
            api.delete(
                own.kind,
                own.namespace,
                own.name,
                deadline,
                uid=own.uid,
                resource_version=version,
                propagation=propagation_of(own.kind),
            )
        except ConflictError:
            try:
                seen = api.get(own.kind, own.namespace, own.name, deadline)
            except NotFoundError:
                return
        else:
            log.info("%s was deleted: this step has made it, and nobody uses it.", own.target)
            return
    log.info("%s was made by this step and is kept: it goes on changing.", own.target)

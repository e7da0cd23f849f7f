"""Take a shared cluster, or make it. What happens is decided in `choice`."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    InvalidObjectError,
    KubernetesError,
    NotFoundError,
)
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._sharing.choice import Make, Take, choose
from dagster_ray.kuberay._sharing.locks import Lock, UnreadableLock, ended_lock_keys, holders, locks_of
from dagster_ray.kuberay._sharing.requests import SharedRequest
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import WriteDeniedError
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, Attempt, post
from dagster_ray.kuberay._steps.heartbeat import annotation_patch
from dagster_ray.kuberay._steps.pulse import Answer, answer_of

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

# What was seen has changed in between, so the next look finds something else.
_AGAIN_SECONDS = 0.2
_LOST_ANSWER_SECONDS = 1.0
_LOST_ANSWER_LOOKS = 8  # within the 20 s that a cleanup has
_ENDED_SECONDS = 60.0  # a lock that ended so long ago is removed by the next step that comes
_REMOVAL_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Held:
    """A cluster with a lock of this step."""

    own: Created
    lock: Lock
    made: bool
    """Whether this step has created it."""
    is_locked: bool = True
    """False if this account may not lock it."""


def acquire(api: "KubernetesApi", request: SharedRequest, deadline: Deadline, log: logging.Logger) -> Held:
    """Return a cluster that this step holds a lock on: the best that there is, else a new one.

    Of any number of steps that find none exactly one creates it, because its name follows from the sharing key and
    the generation; the others get a conflict and take it.

    Raises:
        NotReadyError: The deadline passed while each cluster that was found went away.
        WriteDeniedError: The lock is denied; no cluster was made.
        FieldNotSupportedError, KubernetesError: The API server refused.
    """
    barred: set[str] = set()
    floor = 0
    while True:
        found = api.list(RAYCLUSTERS, request.namespace, deadline, label_selector=request.selection.selector).items
        match choose(found, api.server_time(), barred, floor):
            case Take(cluster):
                held = _lock(api, request, cluster, deadline, log)
                barred.add(str(at(cluster, "metadata", "uid")))
            case Make(generation):
                held, taken = _make(api, request, generation, deadline, log)
                floor = generation if taken else floor
        if held is not None:
            return held
        if not deadline.sleep(_AGAIN_SECONDS):
            target = f"RayCluster {request.namespace}/{request.selection.name(request.prefix, floor)}"
            raise NotReadyError(target, deadline.budget_seconds, "each shared cluster that was found went away")


def _lock(
    api: "KubernetesApi", request: SharedRequest, cluster: Mapping[str, Any], deadline: Deadline, log: logging.Logger
) -> Held | None:
    """Add this step's lock; return None if the cluster is going or gone, or has no room for a lock.

    Raises:
        WriteDeniedError: A policy or webhook denies the lock. Another cluster would not help, so none is made.
    """
    own, lock = created(RAYCLUSTERS, request.namespace, cluster), request.lock(api.server_time())
    what = f"The lock of this step (annotation {lock.key})"
    try:
        answer = _add_lock(api, own, lock, cluster, deadline)
    except KubernetesError as error:
        if proves_gone(error):
            return None
        if not isinstance(error, InvalidObjectError):
            raise
        if not error.is_too_long:
            raise WriteDeniedError(own.target, what, error.message) from error
        count = len(locks_of(cluster))
        text = "%s has no room for another lock beside its %d: Kubernetes allows 256 KiB of annotations. %s"
        log.warning(text, own.target, count, "Another cluster of this sharing key is used.")
        return None
    shown = answer_of(answer, own, lock.key, lock.text())
    if shown is Answer.GOING:
        return None
    if shown is not Answer.RENEWED:
        raise WriteDeniedError(own.target, what, "the API server accepted the update, but its answer does not show it")
    log.info("%s is shared with %d other steps.", own.target, len(holders(answer, lock.renewed_at)) - 1)
    made = at(answer, "metadata", "annotations", CREATION_ANNOTATION) == request.creation_id
    return Held(created(RAYCLUSTERS, request.namespace, answer), lock, made)


def _add_lock(
    api: "KubernetesApi", own: Created, lock: Lock, seen: Mapping[str, Any], deadline: Deadline
) -> dict[str, Any]:
    """Add a lock, and remove those that ended some time ago: all annotations together may have 256 KiB.

    A patch that removes names the version in which the locks were seen, so that one which is renewed after all is
    not lost. Where steps come too fast for that, the lock is added alone.
    """
    alone = annotation_patch(own, {lock.key: lock.text()})
    for _ in range(_REMOVAL_ATTEMPTS):
        ended = dict.fromkeys(ended_lock_keys(seen, lock.renewed_at, _ENDED_SECONDS))
        if not ended:
            break
        version = str(at(seen, "metadata", "resourceVersion"))
        patch = annotation_patch(own, {**ended, lock.key: lock.text()}, version)
        with contextlib.suppress(ConflictError):
            return api.patch(own.kind, own.namespace, own.name, patch, deadline)
        try:
            return api.patch(own.kind, own.namespace, own.name, alone, deadline)
        except InvalidObjectError as error:
            if not error.is_too_long:
                raise
        seen = api.get(own.kind, own.namespace, own.name, deadline)
    return api.patch(own.kind, own.namespace, own.name, alone, deadline)


def _make(
    api: "KubernetesApi", request: SharedRequest, generation: int, deadline: Deadline, log: logging.Logger
) -> tuple[Held | None, bool]:
    """Create the cluster, or take the one that another step has just created.

    Returns:
        The cluster, and whether its name is taken by something that this step cannot use.
    """
    name, lock = request.selection.name(request.prefix, generation), request.lock(api.server_time())
    try:
        answer = post(api, Attempt(request.one(name, generation, lock), api.server, log), deadline)
    except ConflictError:
        return _join(api, request, name, deadline, log)
    own = created(RAYCLUSTERS, request.namespace, answer)
    log.info("%s was created, to be shared.", own.target)
    return Held(own, lock, made=True), False


def _join(
    api: "KubernetesApi", request: SharedRequest, name: str, deadline: Deadline, log: logging.Logger
) -> tuple[Held | None, bool]:
    try:
        existing = api.get(RAYCLUSTERS, request.namespace, name, deadline)
    except NotFoundError:
        return None, False
    if not request.selection.matches(existing) or at(existing, "metadata", "deletionTimestamp"):
        return None, True
    held = _held_already(request, existing)  # by a POST whose answer was lost
    if held is not None:
        return held, False
    return _lock(api, request, existing, deadline, log), False


def find_lost(api: "KubernetesApi", request: SharedRequest, deadline: Deadline) -> Held | None:
    """Return the cluster that has this step's lock although no answer said so: a POST or PATCH was interrupted.

    The server may still be at work on it, so it is looked for during some seconds.
    """
    for _ in range(_LOST_ANSWER_LOOKS):
        for cluster in api.list(
            RAYCLUSTERS, request.namespace, deadline, label_selector=request.selection.selector
        ).items:
            held = _held_already(request, cluster)
            if held is not None:
                return held
        deadline.sleep(_LOST_ANSWER_SECONDS)
    return None


def _held_already(request: SharedRequest, cluster: Mapping[str, Any]) -> Held | None:
    """Return a cluster that has this step's lock; None if it has not."""
    mine = next((lock for lock in locks_of(cluster) if lock.id == request.lock_id), None)
    if mine is None or isinstance(mine, UnreadableLock):
        return None
    made = at(cluster, "metadata", "annotations", CREATION_ANNOTATION) == request.creation_id
    return Held(created(RAYCLUSTERS, request.namespace, cluster), mine, made)

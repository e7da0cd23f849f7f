"""Take a shared cluster, or make it; give it up. What happens is decided in `choice`."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    InvalidObjectError,
    KubernetesError,
    NotFoundError,
)
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, propagation_of
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL
from dagster_ray.kuberay._sharing.choice import Leave, Make, Selection, Take, choose, is_free
from dagster_ray.kuberay._sharing.heartbeat import lock_patch
from dagster_ray.kuberay._sharing.locks import Lock, UnreadableLock, ended_lock_keys, live_locks, locks_of
from dagster_ray.kuberay._status.created import Created, created
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, Wish, post

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

# What was seen has changed in between, so the next look finds something else.
_AGAIN_SECONDS = 0.2
_LOST_ANSWER_SECONDS = 1.0
_LOST_ANSWER_LOOKS = 8  # within the 20 s that a cleanup has
_DELETE_LOOKS = 5
_PRUNE_SECONDS = 600.0
_LOCK_ID_CHARACTERS = 12


def new_lock_id() -> str:
    """Return what the lock of a step is called, in each process another one."""
    return uuid.uuid4().hex[:_LOCK_ID_CHARACTERS]


@dataclass(frozen=True, slots=True)
class SharedWish:
    """The shared cluster that is wanted."""

    namespace: str
    selection: Selection
    prefix: str
    """What the names of new clusters begin with."""
    creation_id: str
    """The annotation by which a lost POST finds its object."""
    lock_id: str
    """What the lock of this step is called, in each process another one."""
    run_id: str | None
    step_key: str | None
    ttl_seconds: float
    render: Callable[[str, int, Lock], dict[str, Any]]
    """Returns the manifest under a name, as a generation, with a lock."""

    def one(self, name: str) -> Wish:
        """Return the wish for one object of this kind."""
        return Wish(RAYCLUSTERS, self.namespace, (name,), self.creation_id, lambda _: {}, frozenset())

    def sample(self) -> tuple[Wish, dict[str, Any]]:
        """Return what a new cluster would be, to be looked at before anything is asked for."""
        name = self.selection.name(self.prefix, 1)
        return self.one(name), self.render(name, 1, self.lock(datetime.fromtimestamp(0, UTC)))

    def lock(self, now: datetime) -> Lock:
        """Return the lock that this step puts on a cluster now."""
        return Lock(self.lock_id, self.run_id, self.step_key, now, now, self.ttl_seconds)


@dataclass(frozen=True, slots=True)
class Held:
    """A cluster with a lock of this step."""

    own: Created
    lock: Lock
    made: bool
    """Whether this step has created it."""
    is_locked: bool = True
    """False if this account may not lock it."""


def acquire(api: "KubernetesApi", wish: SharedWish, deadline: Deadline, log: logging.Logger) -> Held:
    """Return a cluster that this step holds a lock on: the best that there is, else a new one.

    Of any number of steps that find none exactly one creates it, because its name follows from the sharing key and
    the generation; the others get a conflict and take it.

    Raises:
        NotReadyError: The deadline passed while each cluster that was found went away.
        FieldNotSupportedError, KubernetesError: The API server refused.
    """
    barred: set[str] = set()
    floor = 0
    while True:
        found = api.list(RAYCLUSTERS, wish.namespace, deadline, label_selector=wish.selection.selector).items
        match choose(found, api.server_time(), barred, floor):
            case Take(cluster):
                held = _lock(api, wish, cluster, deadline, log)
                barred.add(str(at(cluster, "metadata", "uid")))
            case Make(generation):
                held, taken = _make(api, wish, generation, deadline, log)
                floor = generation if taken else floor
        if held is not None:
            return held
        if not deadline.sleep(_AGAIN_SECONDS):
            target = f"RayCluster {wish.namespace}/{wish.selection.name(wish.prefix, floor)}"
            raise NotReadyError(target, deadline.budget_seconds, "each shared cluster that was found went away")


def _lock(
    api: "KubernetesApi", wish: SharedWish, cluster: Mapping[str, Any], deadline: Deadline, log: logging.Logger
) -> Held | None:
    """Add this step's lock; return None if the cluster is going or gone."""
    own, lock = created(RAYCLUSTERS, wish.namespace, cluster), wish.lock(api.server_time())
    try:
        patch = lock_patch(own, lock.key, lock.text())
        answer = api.patch(RAYCLUSTERS, wish.namespace, own.name, patch, deadline)
    except (NotFoundError, InvalidObjectError):  # gone, or another one of this name
        return None
    if at(answer, "metadata", "deletionTimestamp"):
        return None
    ended = [key for key in ended_lock_keys(answer, lock.renewed_at, _PRUNE_SECONDS) if key != lock.key]
    if ended:
        _remove_ended(api, own, answer, ended, deadline)
    others = len(live_locks(answer, lock.renewed_at)) - 1
    log.info("%s is shared with %d other steps.", own.target, others)
    made = at(answer, "metadata", "annotations", CREATION_ANNOTATION) == wish.creation_id
    return Held(created(RAYCLUSTERS, wish.namespace, answer), lock, made)


def _remove_ended(
    api: "KubernetesApi", own: Created, seen: Mapping[str, Any], keys: list[str], deadline: Deadline
) -> None:
    """Remove locks that ended some time ago: all annotations of an object together may have 256 KiB.

    The patch names the version in which they were seen, so that a lock which is renewed after all is not lost.
    """
    version = str(at(seen, "metadata", "resourceVersion"))
    body = {"metadata": {"uid": own.uid, "resourceVersion": version, "annotations": dict.fromkeys(keys)}}
    with contextlib.suppress(KubernetesError):  # the next step that comes tries it again
        api.patch(own.kind, own.namespace, own.name, body, deadline)


def _make(
    api: "KubernetesApi", wish: SharedWish, generation: int, deadline: Deadline, log: logging.Logger
) -> tuple[Held | None, bool]:
    """Create the cluster, or take the one that another step has just created.

    Returns:
        The cluster, and whether its name is taken by something that this step cannot use.
    """
    name, lock = wish.selection.name(wish.prefix, generation), wish.lock(api.server_time())
    try:
        answer = post(api, wish.one(name), wish.render(name, generation, lock), deadline, log)
    except ConflictError:
        return _join(api, wish, name, deadline, log)
    own = created(RAYCLUSTERS, wish.namespace, answer)
    log.info("%s was created, to be shared.", own.target)
    return Held(own, lock, made=True), False


def _join(
    api: "KubernetesApi", wish: SharedWish, name: str, deadline: Deadline, log: logging.Logger
) -> tuple[Held | None, bool]:
    try:
        existing = api.get(RAYCLUSTERS, wish.namespace, name, deadline)
    except NotFoundError:
        return None, False
    if not wish.selection.matches(existing) or at(existing, "metadata", "deletionTimestamp"):
        return None, True
    return _lock(api, wish, existing, deadline, log), False


def find_lost(api: "KubernetesApi", wish: SharedWish, deadline: Deadline) -> Held | None:
    """Return the cluster that has this step's lock although no answer said so: a POST or PATCH was interrupted.

    The server may still be at work on it, so it is looked for during some seconds.
    """
    for _ in range(_LOST_ANSWER_LOOKS):
        for cluster in api.list(RAYCLUSTERS, wish.namespace, deadline, label_selector=wish.selection.selector).items:
            mine = next((lock for lock in locks_of(cluster) if lock.id == wish.lock_id), None)
            if mine is not None and not isinstance(mine, UnreadableLock):
                made = at(cluster, "metadata", "annotations", CREATION_ANNOTATION) == wish.creation_id
                return Held(created(RAYCLUSTERS, wish.namespace, cluster), mine, made)
        deadline.sleep(_LOST_ANSWER_SECONDS)
    return None


def leave(api: "KubernetesApi", held: Held, what: Leave, deadline: Deadline, log: logging.Logger) -> None:
    """Do with this step's lock what was decided. The heartbeat has been stopped."""
    own = held.own
    if not held.is_locked:
        return
    if what is Leave.KEEP_LOCK:
        log.info("%s stays for others until %s at least.", own.target, held.lock.ends_at.isoformat())
        return
    try:
        answer = api.patch(own.kind, own.namespace, own.name, lock_patch(own, held.lock.key, None), deadline)
    except (NotFoundError, InvalidObjectError):
        return  # it is gone
    if what is Leave.RELEASE_AND_DELETE_UNUSED:
        _delete_unused(api, own, answer, deadline, log)


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
            was_there = api.delete(
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
            deleted = "was deleted: this step has made it, and nobody uses it" if was_there else "was already gone"
            log.info("%s %s.", own.target, deleted)
            return
    log.info("%s was made by this step and is kept: it goes on changing.", own.target)

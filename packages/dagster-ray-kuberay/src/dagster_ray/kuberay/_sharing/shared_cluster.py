"""`SharedCluster`: a RayCluster that other steps may use as well. What happens is decided in `choice`."""

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, identity_of
from dagster_ray.core.errors import DagsterRayError, NotReadyError
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    InvalidObjectError,
    KubernetesError,
    NotFoundError,
)
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, SAID_OF_DELETION, propagation_of
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL, RUN_SCOPE, SCOPE_LABEL
from dagster_ray.kuberay._sharing.choice import Leave, Make, Take, choose, is_free
from dagster_ray.kuberay._sharing.locks import (
    Lock,
    UnreadableLock,
    common_lock,
    ended_lock_keys,
    holders,
    locks_of,
)
from dagster_ray.kuberay._sharing.requests import SharedRequest, lock_id_of
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import WriteDeniedError
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, Attempt, post
from dagster_ray.kuberay._steps.heartbeat import Sign, annotation_patch
from dagster_ray.kuberay._steps.pulse import Answer, answer_of
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay._steps.wait import Reach

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

# What was seen has changed in between, so the next look finds something else.
_AGAIN_SECONDS = 0.2
_LOST_ANSWER_SECONDS = 1.0
_LOST_ANSWER_LOOKS = 8  # within the 20 s that a cleanup has
_ENDED_SECONDS = 60.0  # a lock that ended so long ago is removed by the next step that comes
_REMOVAL_ATTEMPTS = 3
_DELETE_LOOKS = 5
_MERGE_ATTEMPTS = 3
_MERGE_PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Held:
    """A cluster with a lock of this step."""

    own: Created
    lock: Lock
    made: bool
    """Whether this step has created it."""
    is_locked: bool = True
    """False if this account may not lock it."""


class SharedCluster(StepCluster):
    """A RayCluster that other steps may use as well: taken, or made for all, or made by somebody else.

    While this step uses it, a lock of the step is on it. It is never deleted as a step's own: `leave` gives it up. A
    cluster that the step makes for itself is a `StepCluster`'s, and `leave` has nothing to do with it.

    Attributes:
        held: The cluster with this step's lock; None while there is none.
        is_adopted: Whether somebody else has made it.
        renewal_seconds: Seconds between renewals of the lock; None: it is not renewed.
    """

    def __init__(self, api: "KubernetesApi", reach: Reach, context: DagsterContext, deadline: Deadline) -> None:
        """Ask for nothing yet."""
        super().__init__(api, reach, context, deadline)
        self.held: Held | None = None
        self.is_adopted = False
        self.renewal_seconds: float | None = None
        self._wanted: SharedRequest | None = None

    @property
    def is_taken(self) -> bool:
        """Whether it is shared with other steps, so that another one may be taken in its place."""
        return self._wanted is not None

    @property
    def has_scope(self) -> bool:
        """Whether a run or a backfill keeps it between its steps."""
        return self._wanted is not None and self._wanted.selection.has_scope

    @property
    def ends_with_run(self) -> bool:
        """Whether it is of use to steps of one run only."""
        return self._wanted is not None and self._wanted.selection.required.get(SCOPE_LABEL) == RUN_SCOPE

    def take(self, request: SharedRequest) -> None:
        """Use the best cluster that there is, else make a new one.

        Of any number of steps that find none exactly one creates it, because its name follows from the sharing key
        and the generation; the others get a conflict and take it.

        Raises:
            NotReadyError: The deadline passed while each cluster that was found went away.
            WriteDeniedError: The lock is denied; no cluster was made.
            FieldNotSupportedError, CannotStartError, KubernetesError: The API server refused.
        """
        self.stop_heartbeat()
        self.held, self._wanted = None, request
        with self.if_refused(self.forget):
            held = self._acquired(request)
        self._hold(held)

    @override
    def forget(self) -> None:
        """Let neither `delete` nor `look_for_lost` look for anything."""
        super().forget()
        self._wanted = None

    @override
    def stop_heartbeat(self) -> Sign | None:
        """End the renewals, and note the lock as it was renewed last."""
        sign = super().stop_heartbeat()
        if self.held is not None and isinstance(sign, Lock):
            self.held = replace(self.held, lock=sign)
        return sign

    def look_for_lost(self, deadline: Deadline) -> None:
        """Find the cluster that has this step's lock although no answer said so: a POST or PATCH was interrupted.

        The server may still be at work on it, so it is looked for during some seconds.
        """
        if self.held is not None or self._wanted is None:
            return
        for _ in range(_LOST_ANSWER_LOOKS):
            for cluster in self._matching(self._wanted, deadline):
                self.held = _held_already(self._wanted, cluster)
                if self.held is not None:
                    return
            deadline.sleep(_LOST_ANSWER_SECONDS)

    def _hold(self, held: Held) -> None:
        self.use(held.own)
        self.held = held
        if self.renewal_seconds is not None and held.is_locked:
            self.keep_alive(held.lock, self.renewal_seconds)

    def _matching(self, request: SharedRequest, deadline: Deadline) -> list[dict[str, Any]]:
        selector = request.selection.selector
        return self.api.list(RAYCLUSTERS, request.namespace, deadline, label_selector=selector).items

    def _patch(self, own: Created, body: Mapping[str, object], deadline: Deadline) -> dict[str, Any]:
        return self.api.patch(own.kind, own.namespace, own.name, body, deadline)

    # A cluster that somebody else has made

    def adopt(self, namespace: str, name: str, ttl_seconds: float, check: Callable[[Mapping[str, Any]], None]) -> bool:
        """Use the cluster of a name; return False if dagster-ray has made it, for another step.

        A lock on it tells its owner who uses it. An account that may not patch it, or whose update is denied, uses it
        without.

        Args:
            namespace: Where it is.
            name: What it is called.
            ttl_seconds: How long the lock lives.
            check: Raises if this step cannot use it.

        Raises:
            NotFoundError: There is no cluster of this name any more.
            KubernetesError: It cannot be read.
        """
        found = self.api.get(RAYCLUSTERS, namespace, name, self.deadline)
        if at(found, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY:
            return False
        check(found)
        own, now, identity = created(RAYCLUSTERS, namespace, found), self.api.server_time(), identity_of(self.context)
        lock_id = lock_id_of(identity, driver_in_cluster=self.reach.goal == "dashboard")
        lock = Lock(lock_id, identity.run_id, identity.step_key, now, now, ttl_seconds)
        self.log.info("%s exists and is used; dagster-ray has not made it and will not delete it.", own.target)
        try:
            self._patch(own, annotation_patch(own, {lock.key: lock.text()}), self.deadline)
        except (ForbiddenError, InvalidObjectError) as error:
            if proves_gone(error):
                raise NotFoundError("patch", own.kind.resource, own.namespace, own.name, 404, error.message) from error
            self.log.info("%s gets no lock: %s", own.target, error.problem)
            held = Held(own, lock, made=False, is_locked=False)
        else:
            held = Held(own, lock, made=False)
        self.is_adopted = True
        self._hold(held)
        return True

    # A cluster of many

    def _acquired(self, request: SharedRequest) -> Held:
        """Return a cluster that this step holds a lock on: the best that there is, else a new one."""
        barred: set[str] = set()
        floor = 0
        while True:
            found = self._matching(request, self.deadline)
            match choose(found, self.api.server_time(), barred, floor, request.lock_id):
                case Take(cluster):
                    held = self._lock(request, cluster)
                    barred.add(str(at(cluster, "metadata", "uid")))
                case Make(generation):
                    held, taken = self._make(request, generation)
                    floor = generation if taken else floor
            if held is not None:
                return held
            if not self.deadline.sleep(_AGAIN_SECONDS):
                target = f"RayCluster {request.namespace}/{request.selection.name(request.prefix, floor)}"
                raise NotReadyError(
                    target, self.deadline.budget_seconds, "each shared cluster that was found went away"
                )

    def _lock(self, request: SharedRequest, cluster: Mapping[str, Any]) -> Held | None:
        """Add this step's lock; return None if the cluster is going or gone, or has no room for a lock.

        Raises:
            WriteDeniedError: A policy or webhook denies the lock. Another cluster would not help, so none is made.
        """
        own, lock = created(RAYCLUSTERS, request.namespace, cluster), request.lock(self.api.server_time())
        what = f"The lock of this step (annotation {lock.key})"
        try:
            answer = self._add_lock(own, lock, cluster)
        except KubernetesError as error:
            if proves_gone(error):
                return None
            if not isinstance(error, InvalidObjectError):
                raise
            if not error.is_too_long:
                raise WriteDeniedError(own.target, what, error.message) from error
            count = len(locks_of(cluster))
            text = "%s has no room for another lock beside its %d: Kubernetes allows 256 KiB of annotations. %s"
            self.log.warning(text, own.target, count, "Another cluster of this sharing key is used.")
            return None
        shown = answer_of(answer, own, lock.key, lock.text())
        if shown is Answer.GOING:
            return None
        if shown is not Answer.RENEWED:
            raise WriteDeniedError(
                own.target, what, "the API server accepted the update, but its answer does not show it"
            )
        self.log.info("%s is shared with %d other steps.", own.target, len(holders(answer, lock.renewed_at)) - 1)
        made = at(answer, "metadata", "annotations", CREATION_ANNOTATION) == request.creation_id
        return Held(created(RAYCLUSTERS, request.namespace, answer), lock, made)

    def _add_lock(self, own: Created, lock: Lock, seen: Mapping[str, Any]) -> dict[str, Any]:
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
                return self._patch(own, patch, self.deadline)
            try:
                return self._patch(own, alone, self.deadline)
            except InvalidObjectError as error:
                if not error.is_too_long:
                    raise
            seen = self.api.get(own.kind, own.namespace, own.name, self.deadline)
        return self._patch(own, alone, self.deadline)

    def _make(self, request: SharedRequest, generation: int) -> tuple[Held | None, bool]:
        """Create the cluster, or take the one that another step has just created.

        Returns:
            The cluster, and whether its name is taken by something that this step cannot use.
        """
        name, lock = request.selection.name(request.prefix, generation), request.lock(self.api.server_time())
        attempt = Attempt(request.one(name, generation, lock), self.api.server, self.log)
        try:
            answer = post(self.api, attempt, self.deadline)
        except ConflictError:
            return self._join(request, name)
        own = created(RAYCLUSTERS, request.namespace, answer)
        self.log.info("%s was created, to be shared.", own.target)
        return Held(own, lock, made=True), False

    def _join(self, request: SharedRequest, name: str) -> tuple[Held | None, bool]:
        try:
            existing = self.api.get(RAYCLUSTERS, request.namespace, name, self.deadline)
        except NotFoundError:
            return None, False
        if not request.selection.matches(existing) or at(existing, "metadata", "deletionTimestamp"):
            return None, True
        held = _held_already(request, existing)  # by a POST whose answer was lost
        if held is not None:
            return held, False
        return self._lock(request, existing), False

    # The end

    def leave(self, what: Leave, deadline: Deadline) -> None:
        """Do with this step's lock what was decided. The heartbeat has been stopped."""
        held = self.held
        if held is None or not held.is_locked:
            return
        own = held.own
        if what is Leave.KEEP_LOCK:
            self.log.info(
                "%s stays available to other steps until at least %s.", own.target, held.lock.ends_at.isoformat()
            )
            try:
                self._merge(held, deadline)
            except DagsterRayError as error:
                self.log.debug("%s: the lock of this step stays as it is, and ends by itself: %s", own.target, error)
            return
        try:
            answer = self._patch(own, annotation_patch(own, {held.lock.key: None}), deadline)
        except KubernetesError as error:
            if proves_gone(error):
                return
            raise
        if what is Leave.RELEASE_AND_DELETE_UNUSED:
            self._delete_unused(own, answer, deadline)

    def _merge(self, held: Held, deadline: Deadline) -> None:
        """Replace this step's lock by the one that all steps which are over have in common.

        So the number of annotations follows the steps that live. The patch names the version in which the common lock
        was seen: of steps that end together none shortens the time that another one leaves. A step that does not come
        through leaves its own lock, which is as good.
        """
        own, lock = held.own, held.lock
        is_fresh = not held.made and lock.renewed_at == lock.applied_at  # nothing was written after the lock
        seen: Mapping[str, Any] = (
            own.manifest if is_fresh else self.api.get(own.kind, own.namespace, own.name, deadline)
        )
        for _ in range(_MERGE_ATTEMPTS):
            common = common_lock(seen, lock)
            if common is None or at(seen, "metadata", "uid") != own.uid or at(seen, "metadata", "deletionTimestamp"):
                return
            version = str(at(seen, "metadata", "resourceVersion"))
            patch = annotation_patch(own, {lock.key: None, common.key: common.text()}, version)
            try:
                self._patch(own, patch, deadline)
            except ConflictError:
                deadline.sleep(random.uniform(0, _MERGE_PAUSE_SECONDS))  # noqa: S311 - jitter, not a secret
                seen = self.api.get(own.kind, own.namespace, own.name, deadline)
            else:
                return

    def _delete_unused(self, own: Created, seen: Mapping[str, Any], deadline: Deadline) -> None:
        """Delete a cluster as it was seen: a lock that comes in between changes its version and keeps it.

        So does the operator's status, after which it is looked at again.
        """
        for _ in range(_DELETE_LOOKS):
            is_ours = at(seen, "metadata", "labels", MANAGED_BY_LABEL) == MANAGED_BY
            if not is_ours or at(seen, "metadata", "uid") != own.uid or not is_free(seen, self.api.server_time()):
                return
            version = str(at(seen, "metadata", "resourceVersion"))
            try:
                deletion = self.api.delete(
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
                    seen = self.api.get(own.kind, own.namespace, own.name, deadline)
                except NotFoundError:
                    return
            else:
                said = "%s %s: this step has made it, and nobody uses it."
                self.log.info(said, own.target, SAID_OF_DELETION[deletion])
                return
        self.log.info("%s was made by this step and is kept: it goes on changing.", own.target)


def _held_already(request: SharedRequest, cluster: Mapping[str, Any]) -> Held | None:
    """Return a cluster that has this step's lock; None if it has not."""
    mine = next((lock for lock in locks_of(cluster) if lock.id == request.lock_id), None)
    if mine is None or isinstance(mine, UnreadableLock):
        return None
    made = at(cluster, "metadata", "annotations", CREATION_ANNOTATION) == request.creation_id
    return Held(created(RAYCLUSTERS, request.namespace, cluster), mine, made)

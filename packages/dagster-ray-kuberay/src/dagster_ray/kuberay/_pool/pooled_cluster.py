"""`PooledCluster`: a warm RayCluster that one step has for itself. What happens is decided in `choice`."""

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, StepOutcome
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.dashboard import fetch
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    InvalidObjectError,
    KubernetesError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.fields import at, text, time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, SAID_OF_DELETION, propagation_of
from dagster_ray.kuberay._pool.choice import (
    Claim,
    Create,
    Note,
    Queue,
    Spend,
    Wait,
    decide,
    is_given_back,
    spent,
)
from dagster_ray.kuberay._pool.leftovers import (
    ACTORS_PATH,
    GROUPS_PATH,
    JOBS_PATH,
    LIMIT_BYTES,
    actors_left,
    groups_left,
    jobs_left,
)
from dagster_ray.kuberay._pool.members import (
    ENDED_ANNOTATION,
    SIZES_ANNOTATION,
    TICKET_SECONDS,
    USED_ANNOTATION,
    USES_ANNOTATION,
    Member,
    Ticket,
    member_of,
)
from dagster_ray.kuberay._pool.requests import RENEWAL_SECONDS, PoolRequest
from dagster_ray.kuberay._pool.view import View
from dagster_ray.kuberay._sharing.locks import Lock, locks_of
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import PoolBusyError, WriteDeniedError
from dagster_ray.kuberay._steps.creation import Attempt, post
from dagster_ray.kuberay._steps.heartbeat import Sign, annotation_patch
from dagster_ray.kuberay._steps.pulse import Answer, answer_of
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay._steps.wait import Reach

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import Deletion, KubernetesApi

_LOST_ANSWER_SECONDS = 1.0
_LOST_ANSWER_LOOKS = 8  # within the 20 s that a cleanup has
_END_SECONDS = 5.0  # of the cleanup's time, kept for giving the cluster back or deleting it
_AWAY_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 0.3
_LOOK_SECONDS = 5.0
_LEAST_SECONDS = 0.1
_QUESTIONS = ((JOBS_PATH, jobs_left), (ACTORS_PATH, actors_left), (GROUPS_PATH, groups_left))
_PATIENCE_SECONDS = 8.0  # for what ends by itself a moment after its step


@dataclass(frozen=True, slots=True)
class Held:
    """A cluster with a claim of this step."""

    own: Created
    claim: Lock


class PooledCluster(StepCluster):
    """A warm RayCluster of a pool: claimed, used by this step alone, and given back or deleted.

    Attributes:
        held: The cluster with this step's claim; None while there is none.
        request: The pool that was asked; None before.
    """

    def __init__(self, api: "KubernetesApi", reach: Reach, context: DagsterContext, deadline: Deadline) -> None:
        """Ask for nothing yet."""
        super().__init__(api, reach, context, deadline)
        self.held: Held | None = None
        self.request: PoolRequest | None = None

    def claim(self, request: PoolRequest) -> None:
        """Use a free cluster of the pool, make one where it has room, or wait until another step gives one back.

        Raises:
            PoolBusyError: The deadline passed while other steps had all clusters.
            WriteDeniedError: A policy or webhook denies the claim.
            FieldNotSupportedError, CannotStartError, KubernetesError: The API server refused.
        """
        self.stop_heartbeat()
        self.held, self.request = None, request
        with self.if_refused(self.forget):
            held = self._claimed(request)
        self.use(held.own)
        self.held = held
        self.keep_alive(held.claim, RENEWAL_SECONDS)

    @override
    def forget(self) -> None:
        """Let neither `delete` nor `look_for_lost` look for anything."""
        super().forget()
        self.request = None

    @override
    def stop_heartbeat(self) -> Sign | None:
        """End the renewals, and note the claim as it was renewed last."""
        sign = super().stop_heartbeat()
        if self.held is not None and isinstance(sign, Lock):
            self.held = replace(self.held, claim=sign)
        return sign

    # To a claim

    def _claimed(self, request: PoolRequest) -> Held:
        view = View(self.api, request, self.deadline)
        try:
            while True:
                held, seconds = self._next(request, view)
                if held is not None:
                    self._drop_ticket(request, view, held)
                    return held
                if self.deadline.is_over():
                    self._drop_ticket(request, view, None)
                    raise self._busy(request, view)
                view.follow(min(seconds, self.deadline.remaining_seconds()))
        finally:
            view.close()

    def _next(self, request: PoolRequest, view: View) -> tuple[Held | None, float]:
        """Carry out one decision; return what is held then, and how long to wait for a change if nothing is."""
        now = self.api.server_time()
        match decide(view.members(now), now, view.who, request.sizes):
            case Claim(member):
                return self._try_claim(request, view, member), 0.0
            case Create(slot):
                return self._make(request, view, slot), 0.0
            case Spend(member, because):
                act = partial(self._end, because=because, version=member.version)
                return None, self._tend(request, view, member, act)
            case Note(member):
                return None, self._tend(request, view, member, partial(self._note_ended, view=view, member=member))
            case Queue(member):
                self._queue(request, view, member)
            case Wait(seconds):
                return None, seconds
        return None, 0.0

    def _try_claim(self, request: PoolRequest, view: View, member: Member) -> Held | None:
        """Claim a member as it was seen; None if it is other than that.

        Raises:
            WriteDeniedError: A policy or webhook denies the claim. Another cluster would not help.
        """
        own = created(RAYCLUSTERS, request.namespace, view.clusters[member.uid])
        now = self.api.server_time()
        claim = request.claim(now)
        stale = [ticket.key for ticket in member.tickets if ticket.id == claim.id or not ticket.is_live(now)]
        wanted = {
            **dict.fromkeys(stale),
            claim.key: claim.text(),
            USED_ANNOTATION: time_text(now),
            ENDED_ANNOTATION: None,
            SIZES_ANNOTATION: request.sizes.text(),
        }
        view.failed(member)  # whatever comes: this version of it will not be claimed again
        unanswered = self.api.unanswered_writes
        try:
            answer = self._patch(own, annotation_patch(own, wanted, member.version), self.deadline)
        except ConflictError:
            return self._written(request, own.name, claim, unanswered)
        except KubernetesError as error:
            if proves_gone(error):
                view.gone(member.uid)
                return None
            if isinstance(error, InvalidObjectError):
                raise WriteDeniedError(own.target, f"The claim of this step ({claim.key})", error.message) from error
            raise
        shown = answer_of(answer, own, claim.key, claim.text())
        if shown is Answer.GOING:
            return None
        if shown is not Answer.RENEWED:
            why = "the API server accepted the update, but its answer does not show it"
            raise WriteDeniedError(own.target, f"The claim of this step ({claim.key})", why)
        self.log.info("%s of the pool is claimed by this step; %d steps have used it before.", own.target, member.uses)
        return Held(created(RAYCLUSTERS, request.namespace, answer), claim)

    def _make(self, request: PoolRequest, view: View, slot: int) -> Held | None:
        """Create a member with a claim; None if its name is taken."""
        claim, unanswered = request.claim(self.api.server_time()), self.api.unanswered_writes
        view.name_taken(slot)
        attempt = Attempt(request.one(slot, claim), self.api.server, self.log)
        try:
            answer = post(self.api, attempt, self.deadline)
        except ConflictError:
            return self._written(request, attempt.name, claim, unanswered)
        own = created(RAYCLUSTERS, request.namespace, answer)
        self.log.info("%s was created: the pool had no cluster that is free.", own.target)
        return Held(own, claim)

    def _written(self, request: PoolRequest, name: str, claim: Lock, unanswered: int) -> Held | None:
        """Return the cluster that has a claim after all; None if it has not.

        The server may carry out a write, lose the answer, and answer the repetition with the conflict that the first
        attempt has caused. Until a watch shows the claim, the step would take a second cluster.

        Args:
            request: The pool.
            name: The cluster's name.
            claim: What was written.
            unanswered: How many writes had got no answer before it.
        """
        if self.api.unanswered_writes == unanswered:
            return None
        found = self.api.listed(RAYCLUSTERS, request.namespace, name, self.deadline)
        has_claim = at(found, "metadata", "annotations", claim.key) == claim.text()
        if found is None or not has_claim or at(found, "metadata", "deletionTimestamp"):
            return None
        own = created(RAYCLUSTERS, request.namespace, found)
        self.log.info("%s has the claim of this step, although the answer to it was lost.", own.target)
        return Held(own, claim)

    def _tend(self, request: PoolRequest, view: View, member: Member, act: Callable[[Created], object]) -> float:
        """Delete a member that nobody may use again, or note that its claims have ended; return how long to wait.

        The call does not outlast an outage: whoever has the member must have time to renew a claim after it.
        """
        own = created(RAYCLUSTERS, request.namespace, view.clusters[member.uid])
        try:
            if act(own) == "gone":
                view.gone(member.uid)
        except UnavailableError:
            return _AWAY_SECONDS
        except KubernetesError as error:
            if proves_gone(error):
                view.gone(member.uid)
            elif not isinstance(error, ConflictError):
                said = "%s cannot be used by any step now, and that could not be changed: %s"
                self.log.warning(said, own.target, error)
        view.failed(member)  # this version of it has had its turn
        return 0.0

    def _note_ended(self, own: Created, view: View, member: Member) -> None:
        """Note on a member that its claims have ended."""
        notes = {ENDED_ANNOTATION: time_text(self.api.server_time())}
        patch = annotation_patch(own, notes, member.version)
        view.clusters[member.uid] = self._patch(own, patch, self._short())

    def _queue(self, request: PoolRequest, view: View, member: Member) -> None:
        """Let other steps know that this one waits; one that cannot be written costs it its place in line only."""
        if self.deadline.is_over():
            return
        own = created(RAYCLUSTERS, request.namespace, view.clusters[member.uid])
        until = self.api.server_time() + timedelta(seconds=min(self.deadline.remaining_seconds(), TICKET_SECONDS))
        ticket = Ticket(request.claim_id, view.who.since, until)
        try:
            patch = annotation_patch(own, {ticket.key: ticket.text()})
            view.queued(member.uid, self._patch(own, patch, self.deadline), until)
        except KubernetesError as error:
            if proves_gone(error):
                view.gone(member.uid)
            else:
                self.log.warning("%s: this step waits without a place in line: %s", own.target, error)
                view.clusters.pop(member.uid)
        waited = "All clusters of the pool %s are used by other steps. This step waits for one of them."
        self.log.info(waited, text(own.manifest, "metadata", "labels", "dagster/pool-name") or own.name)

    def _drop_ticket(self, request: PoolRequest, view: View, held: Held | None) -> None:
        """Remove this step's ticket from another member than the one that it has claimed."""
        for uid, cluster in view.clusters.items():
            key = Ticket(request.claim_id, view.who.since, view.who.since).key
            is_claimed = held is not None and held.own.uid == uid
            has_ticket = uid == view.who.ticket_at or at(cluster, "metadata", "annotations", key) is not None
            if is_claimed or not has_ticket:
                continue
            own = created(RAYCLUSTERS, request.namespace, cluster)
            try:
                self._patch(own, annotation_patch(own, {key: None}), Deadline(_END_SECONDS))
            except DagsterRayError as error:
                self.log.debug("%s: the ticket of this step stays, and ends by itself: %s", own.target, error)

    def _busy(self, request: PoolRequest, view: View) -> PoolBusyError:
        name = str(request.selection.required.get("dagster/pool-name"))
        return PoolBusyError(name, self.deadline.budget_seconds, len(view.clusters), request.sizes.max_size)

    # The end

    def look_for_lost(self, deadline: Deadline) -> None:
        """Find the cluster that has this step's claim although no answer said so: a POST or PATCH was interrupted."""
        request = self.request
        if self.held is not None or request is None:
            return
        for _ in range(_LOST_ANSWER_LOOKS):
            selector = request.selection.selector
            for one in self.api.list(RAYCLUSTERS, request.namespace, deadline, label_selector=selector).items:
                mine = [lock for lock in locks_of(one) if lock.id == request.claim_id and isinstance(lock, Lock)]
                if mine:
                    self.held = Held(created(RAYCLUSTERS, request.namespace, one), mine[0])
                    return
            deadline.sleep(_LOST_ANSWER_SECONDS)

    def leave(self, outcome: StepOutcome, deadline: Deadline) -> None:
        """Give the cluster back after a success that left nothing behind, else delete it. The heartbeat has stopped.

        A step that can do neither leaves its claim, which ends; then the sensor, or a step that needs the room, deletes
        the cluster.

        Raises:
            KubernetesError: The API server refused, or does not answer.
        """
        held, request = self.held, self.request
        if held is None or request is None:
            return
        used = self.route is not None
        left = self._left(deadline) if outcome is StepOutcome.SUCCEEDED and used else None
        if not is_given_back(outcome, used=used, left=left):
            self._end(held.own, left or f"the outcome of its step is: {outcome.value}")
            return
        now = self.api.server_time()
        member = member_of(held.own.manifest, now)
        after = replace(member, uses=member.uses + 1, claims=())
        if (because := spent(after, now, request.sizes)) is not None:
            self._end(held.own, because)
            return
        notes = {held.claim.key: None, USES_ANNOTATION: str(after.uses), USED_ANNOTATION: time_text(now)}
        try:
            self._patch(held.own, annotation_patch(held.own, notes), deadline)
        except KubernetesError as error:
            if not proves_gone(error):
                raise
        self.log.info("%s was given back to its pool.", held.own.target)

    def _left(self, deadline: Deadline) -> str | None:
        """Return what the step has left running, or why that is not known; None if it has left nothing.

        Ray ends the driver, its tasks and its actors within a moment, which is waited for.
        """
        url = None if self.route is None else self.route.dashboard_url
        if url is None:
            return "it has no dashboard that could show whether anything still runs"
        patience = Deadline(min(_PATIENCE_SECONDS, deadline.remaining_seconds() - _END_SECONDS))
        while True:
            left: str | None = None
            try:
                for path, left_of in _QUESTIONS:
                    seconds = min(_LOOK_SECONDS, max(_LEAST_SECONDS, deadline.remaining_seconds() - _END_SECONDS))
                    left = left or left_of(*fetch(url, path, self.token, seconds, LIMIT_BYTES))
            except (OSError, http.client.HTTPException) as error:
                left = f"its dashboard could not be asked whether anything still runs ({type(error).__name__})"
            if left is None or patience.is_over():
                return left
            patience.sleep(_LOOK_AGAIN_SECONDS)

    def _end(self, own: Created, because: str, version: str | None = None) -> "Deletion | None":
        """Delete a member that nobody may use again; return what the API server answered, None if it is another now."""
        try:
            deletion = self.api.delete(
                own.kind,
                own.namespace,
                own.name,
                Deadline(_END_SECONDS) if version is None else self._short(),
                uid=own.uid,
                resource_version=version,
                propagation=propagation_of(own.kind),
            )
        except ConflictError:  # it has changed, or another one has its name
            return None
        if deletion != "gone":
            self.log.info("%s %s: %s.", own.target, SAID_OF_DELETION[deletion], because)
        return deletion

    def _short(self) -> Deadline:
        seconds = min(_END_SECONDS, max(0.1, self.deadline.remaining_seconds()))
        return Deadline(seconds, self.deadline.clock, self.deadline.sleeper)

    def _patch(self, own: Created, body: Mapping[str, object], deadline: Deadline) -> dict[str, Any]:
        return self.api.patch(own.kind, own.namespace, own.name, body, deadline)

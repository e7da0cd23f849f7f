"""Wait until a driver can connect to the head of a RayJob or RayCluster, or until it is certain that none ever will.

The shell around `WaitState`: it watches, dials, looks and sleeps.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagster_ray.core import Deadline, WaitLines
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._diagnosis.patience import QUIET_SECONDS, probe_pause_seconds
from dagster_ray.kuberay._head.route import Access, Goal, Route, goes_direct
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._status.cluster_state import Created, Ended, Queued, Starting, Unseen
from dagster_ray.kuberay._status.errors import (
    CannotStartError,
    ClientPortClosedError,
    ClusterGoneError,
    OperatorSilentError,
    QueueTimeoutError,
    RayJobEndedError,
    SpecRefusedError,
)
from dagster_ray.kuberay._status.failure_classes import class_of
from dagster_ray.kuberay._steps.wait_state import WaitState

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._kubernetes.watch_stream import WatchStream

# A queue may hold a cluster for a day; its words are read this often at least.
_QUEUE_SECONDS = 120.0
# What the deadline's error may take to say why, where the API server hangs as well.
_LAST_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Reach:
    """How a step reaches a head, and what it waits for."""

    access: Access
    head_host: str | None
    queue_timeout: float
    """Seconds that a queue may hold the cluster; the deadline stands still meanwhile."""
    wait_for: Literal["head", "workers"] = "head"
    goal: Goal = "drivers"

    def is_direct(self, *, in_cluster: bool) -> bool:
        """Return whether this process dials the head itself; `in_cluster` says whether it is in a pod."""
        return goes_direct(self.access, in_cluster=in_cluster, head_host=self.head_host)


class ClusterWait:
    """One wait for one RayJob or RayCluster. Its `run` is called once."""

    def __init__(
        self,
        api: "KubernetesApi",
        awaited: Created,
        reach: Reach,
        log: logging.Logger,
        *,
        even_if_complete: bool = False,
    ) -> None:
        """Take what was created and what is wanted.

        Args:
            api: The Kubernetes API.
            awaited: The RayJob or RayCluster.
            reach: How its head is reached, and what must answer.
            log: Where changes are told.
            even_if_complete: Whether a RayJob whose job has succeeded is a goal as well, while its cluster is there.
        """
        self._api, self._awaited, self._reach, self._log = api, awaited, reach, log
        self._known = WaitState(awaited, even_if_complete=even_if_complete)
        self._direct = reach.is_direct(in_cluster=api.in_cluster)
        self._route = Route(api, awaited, reach.goal, lambda: self._known.head, reach.head_host, direct=self._direct)
        self._evidence = Evidence(api, awaited, log)
        self._cluster_watch: tuple[str, WatchStream] | None = None
        self.queued_seconds = 0.0
        self._lines = WaitLines()

    @property
    def cluster(self) -> str | None:
        """The RayCluster's name; None while it is not known."""
        return self._known.cluster

    @property
    def head_pod(self) -> str | None:
        """The head's pod, as far as is known."""
        return self._known.head.pod if self._known.head is not None else None

    def take(self, manifest: Mapping[str, Any]) -> None:
        """Take in the object as it was read after the wait, so that the route finds a new head pod.

        A RayJob's copy of the cluster's status counts only until the cluster itself was read.
        """
        self._known.note_head(manifest)

    def take_cluster(self, raycluster: Mapping[str, Any]) -> None:
        """Take in the RayCluster as it was read after the wait, so that the route finds a new head pod."""
        before = self.head_pod
        self._known.note_head_of_cluster(raycluster)
        if before and self.head_pod != before:
            now = self.head_pod or "another one"
            self._log.info("%s: the head pod %s is replaced by %s.", self._awaited.target, before, now)

    def run(self, deadline: Deadline) -> Route:
        """Return the way to a head that accepts drivers.

        Raises:
            SpecRefusedError, RayJobEndedError, ClusterGoneError, CannotStartError: No driver will ever connect.
            QueueTimeoutError: A queue held the RayJob for too long.
            OperatorSilentError, ClientPortClosedError, NotReadyError: The deadline passed.
        """
        try:
            return self._follow(deadline)
        except BaseException:
            self._route.close()
            raise
        finally:
            self._close_cluster_watch()

    def _follow(self, deadline: Deadline) -> Route:
        awaited = self._awaited
        self._known.note(awaited.manifest, self._now(deadline))  # it may be far already
        self._raise_if_ended()
        if self._is_accepting(deadline):
            return self._reached(deadline)  # without a watch: a shared cluster is ready for most of its steps
        version = str(at(awaited.manifest, "metadata", "resourceVersion"))
        with self._api.watch(awaited.kind, awaited.namespace, name=awaited.name, resource_version=version) as stream:
            while True:
                self._raise_if_ended()
                if isinstance(self._known.state, Queued):
                    self._sit_in_queue(stream, deadline)
                    continue
                if self._is_accepting(deadline):
                    return self._reached(deadline)  # whatever else is said: such a head is alive
                self._judge(deadline)
                if deadline.is_over():
                    raise stream.absence or self._late(deadline)
                pause = probe_pause_seconds(self._route.tried_seconds(deadline), direct=self._direct)
                self._take(stream, min(pause, deadline.remaining_seconds()), deadline)
                if self._known.needs_look(self._now(deadline)):
                    self._look(deadline)

    def _now(self, deadline: Deadline) -> float:
        """Return the time of `WaitState`, which passes in a queue as well."""
        return deadline.spent_seconds() + self.queued_seconds

    # What is seen

    def _take(self, stream: "WatchStream", seconds: float, deadline: Deadline) -> None:
        """Take in what the watches have to say within `seconds`."""
        event = stream.next(seconds)
        while event is not None:
            self._known.note(event.object, self._now(deadline), deleted=event.type == "DELETED")
            event = stream.next(0)
        self._take_from_cluster(deadline)

    def _take_from_cluster(self, deadline: Deadline) -> None:
        """Take in what the watch of the RayCluster has to say, if it needs one of its own."""
        known, now = self._known, self._now(deadline)
        if self._cluster_watch is not None and self._cluster_watch[0] != known.cluster:
            self._close_cluster_watch()
        missing_pod, tried_seconds = self._route.missing_pod, self._route.tried_seconds(deadline)
        is_needed = known.needs_cluster_watch(now, missing_pod=missing_pod, tried_seconds=tried_seconds)
        if self._cluster_watch is None and known.cluster is not None and is_needed:
            # Begins with a list: what the cluster was before may be all that is ever said of it.
            stream = self._api.watch(RAYCLUSTERS, self._awaited.namespace, name=known.cluster)
            self._cluster_watch = known.cluster, stream
            known.watched()
        if self._cluster_watch is None:
            return
        while (event := self._cluster_watch[1].next(0)) is not None:
            if event.type != "DELETED":
                known.note_cluster(event.object, now)

    def _close_cluster_watch(self) -> None:
        if self._cluster_watch is not None:
            self._cluster_watch[1].close()
            self._cluster_watch = None

    def _is_accepting(self, deadline: Deadline) -> bool:
        """Return whether the head accepts drivers now, and the operator is as far as was asked."""
        if not isinstance(self._known.state, Starting):
            return False
        if self._reach.wait_for == "workers" and not self._known.is_operator_ready:
            return False
        return self._route.accepts(deadline)

    def _look(self, deadline: Deadline) -> None:
        """Read pods and events."""
        seen = self._evidence.look(self._question(), max(_LAST_LOOK_SECONDS, deadline.remaining_seconds()))
        self._known.looked(seen, self._now(deadline))

    def _question(self, *, closed_port: str | None = None) -> Question:
        return Question(
            manifest=self._known.manifest,
            cluster=self.cluster,
            is_seen=not isinstance(self._known.state, Unseen),
            is_queued=isinstance(self._known.state, Queued),
            closed_port=closed_port,
            by_service=self._direct and self._reach.head_host is None,
        )

    # What follows from it

    def _raise_if_ended(self) -> None:
        """Raise if the object has ended, was refused, or is gone."""
        state, target = self._known.state, self._awaited.target
        if not isinstance(state, Ended):
            return
        if state.is_deleted:
            raise ClusterGoneError(target, state.message)
        if state.is_refused:
            raise SpecRefusedError(target, state.reason, state.message)
        raise RayJobEndedError(target, state.status, state.reason, state.message)

    def _judge(self, deadline: Deadline) -> None:
        """Raise if no driver will ever connect; log what changed otherwise.

        What lasts long enough to be fatal is looked at once more before it is called so, and the head is dialed, which
        a step that waits for the workers does not do otherwise.
        """
        known, now = self._known, self._now(deadline)
        if known.is_hopeless(now) and not known.is_fresh(now):
            self._look(deadline)
        if known.is_hopeless(now) and known.diagnosis is not None and not self._route.accepts(deadline):
            raise self._fatal(known.diagnosis)
        self._say(now)

    def _fatal(self, diagnosis: Diagnosis) -> Exception:
        if diagnosis.code == "refused":
            return SpecRefusedError(self._awaited.target, diagnosis.reason, diagnosis.sentence)
        log = diagnosis.log or self._evidence.head_log(self._question())
        return CannotStartError(
            self._awaited.target, diagnosis.code, diagnosis.reason, diagnosis.sentence, diagnosis.remedy, log
        )

    def _say(self, now: float) -> None:
        """Log one line for each change, and one from time to time while nothing changes."""
        line = self._lines.due(self._known.topic, now)
        if line == "moved":
            self._log.info("%s: %s", self._awaited.target, self._known.sentence)
        elif line == "still":
            self._log.info("%s: still waiting after %.0f s: %s", self._awaited.target, now, self._known.sentence)

    def _reached(self, deadline: Deadline) -> Route:
        what = "the dashboard answers" if self._reach.goal == "dashboard" else "the head accepts drivers"
        self._log.info("%s: %s after %.1f s.", self._awaited.target, what, self._now(deadline))
        return self._route

    def _sit_in_queue(self, stream: "WatchStream", deadline: Deadline) -> None:
        """Wait while nothing runs; the deadline of the cluster's start stands still."""
        deadline.pause()
        queue, pause, before = Deadline(self._reach.queue_timeout), QUIET_SECONDS, self.queued_seconds
        look_at = pause
        self._route.close()
        try:
            while isinstance(self._known.state, Queued):
                self.queued_seconds = before + queue.spent_seconds()
                self._judge(deadline)
                to_line = self._lines.seconds_to_next(self._now(deadline))
                event = stream.next(min(look_at - queue.spent_seconds(), to_line, queue.remaining_seconds()))
                if event is not None:
                    self._known.note(event.object, self._now(deadline), deleted=event.type == "DELETED")
                elif queue.is_over():
                    raise QueueTimeoutError(self._awaited.target, self._known.sentence, self._reach.queue_timeout)
                elif queue.spent_seconds() >= look_at:
                    pause = min(pause * 2, _QUEUE_SECONDS)
                    look_at = queue.spent_seconds() + pause
                    self._look(deadline)
        finally:
            self.queued_seconds = before + queue.spent_seconds()
            deadline.resume()

    def _late(self, deadline: Deadline) -> Exception:
        """Return the error for a deadline that has passed."""
        target, budget, place = self._awaited.target, deadline.budget_seconds, self._route.place
        serves = self._known.is_operator_ready
        question = self._question(closed_port=place if serves else None)
        last = Deadline(_LAST_LOOK_SECONDS)
        seen = self._evidence.look(question, last.remaining_seconds())
        self._known.looked(seen or self._known.diagnosis, self._now(deadline))
        found, sentence = self._known.diagnosis, self._known.sentence
        if found is not None and found.code == "refused":
            return SpecRefusedError(target, found.reason, found.sentence)
        if isinstance(self._known.state, Unseen):
            return OperatorSilentError(target, budget)
        log = self._evidence.head_log(question, last.remaining_seconds())
        if serves and (found is None or found.code == "client-port-closed"):
            if self._reach.goal == "dashboard":
                return NotReadyError(target, budget, f"{sentence}; {place} does not answer", log=log)
            return ClientPortClosedError(target, place, budget, log)
        advice = found.remedy if found is not None else ""
        whose = "infrastructure" if found is None else class_of(found.code)
        return NotReadyError(target, budget, sentence, advice, log, whose)

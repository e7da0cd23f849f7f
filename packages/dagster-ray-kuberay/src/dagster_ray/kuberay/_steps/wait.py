"""Wait until a driver can connect to the head of a RayJob or RayCluster, or until it is certain that none ever will.

`WaitState` decides; this carries its steps out, and reports back what came of them.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagster_ray.core import Deadline
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._head.route import Access, Goal, Route, goes_direct, uses_tls
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._steps.wait_state import Do, Fail, Pause, Sought, WaitState

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._kubernetes.watch_stream import WatchStream

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
        self._api, self._awaited, self._log = api, awaited, log
        self._is_dashboard = reach.goal == "dashboard"
        direct = reach.is_direct(in_cluster=api.in_cluster)
        self._by_service = direct and reach.head_host is None
        # A forward's own port is always open, and a server with TLS says nothing: only the operator knows.
        self._is_blind = not direct and not self._is_dashboard and uses_tls()
        self._known = WaitState(
            awaited,
            Sought(direct, reach.wait_for == "workers", self._is_dashboard, even_if_complete, reach.queue_timeout),
        )
        self._route = Route(api, awaited, reach.goal, lambda: self._known.head, reach.head_host, direct=direct)
        self._evidence = Evidence(api, awaited, log)
        self._watch: WatchStream | None = None
        self._cluster_watch: tuple[str, WatchStream] | None = None
        self._last: Deadline | None = None

    @property
    def cluster(self) -> str | None:
        """The RayCluster's name; None while it is not known."""
        return self._known.cluster

    @property
    def head_pod(self) -> str | None:
        """The head's pod, as far as is known."""
        return self._known.head.pod if self._known.head is not None else None

    @property
    def queued_seconds(self) -> float:
        """For how long a queue has held the cluster."""
        return self._known.queued_seconds

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
        with ExitStack() as stack:
            stack.callback(self._close_watches)
            stack.callback(deadline.resume)
            failed = stack.enter_context(ExitStack())
            failed.callback(self._route.close)
            self._follow(deadline)
            failed.pop_all()
            return self._route

    def _follow(self, deadline: Deadline) -> None:
        """Carry out one step after the other until the head answers."""
        known, clock, before = self._known, Deadline(float("inf")), deadline.spent_seconds()
        known.note(self._awaited.manifest, before)  # it may be far already
        while True:
            now = before + clock.spent_seconds()  # which goes on in a queue
            step = known.next(now, deadline.remaining_seconds())
            if known.is_queued:
                deadline.pause()
                self._route.close()
            else:
                deadline.resume()
            if isinstance(step, Pause) or step is Do.LAST_LOOK or (step is Do.LOOK and known.is_queued):
                self._say(now)
            match step:
                case Fail(error):
                    raise error
                case Pause(seconds):
                    self._take(seconds, lambda: before + clock.spent_seconds())
                case Do.RETURN:
                    what = "the dashboard answers" if self._is_dashboard else "the head accepts drivers"
                    self._log.info("%s: %s after %.1f s.", self._awaited.target, what, now)
                    return
                case _:
                    self._carry_out(step, deadline, lambda: before + clock.spent_seconds())

    def _carry_out(self, step: Do, deadline: Deadline, now: Callable[[], float]) -> None:
        """Do what needs the network, and report what came of it."""
        known, route, evidence, place = self._known, self._route, self._evidence, self._route.place
        match step:
            case Do.DIAL:
                may_answer = known.is_operator_ready or not self._is_blind
                known.dialed(may_answer and route.accepts(deadline), route.missing_pod)
            case Do.WATCH_CLUSTER if known.cluster is not None:
                self._close_cluster_watch()
                # Begins with a list: what the cluster was before may be all that is ever said of it.
                stream = self._api.watch(RAYCLUSTERS, self._awaited.namespace, name=known.cluster)
                self._cluster_watch = known.cluster, stream
                known.watched()
            case Do.LOOK:
                seen = evidence.look(self._question(), max(_LAST_LOOK_SECONDS, deadline.remaining_seconds()))
                known.looked(seen, now())
            case Do.LAST_LOOK:
                if self._watch is not None and self._watch.absence is not None:
                    raise self._watch.absence
                self._last = Deadline(_LAST_LOOK_SECONDS)
                question = self._question(closed_port=place if known.is_operator_ready else None)
                seen = evidence.look(question, self._last.remaining_seconds())
                known.looked_last(seen, now(), place, deadline.budget_seconds)
            case _:
                left = () if self._last is None else (self._last.remaining_seconds(),)
                known.log_read(evidence.head_log(self._question(), *left))

    def _take(self, seconds: float, now: Callable[[], float]) -> None:
        """Take in what the watches have to say within `seconds`. They begin here: a head that is ready needs none."""
        known, awaited = self._known, self._awaited
        if self._watch is None:
            version = str(at(awaited.manifest, "metadata", "resourceVersion"))
            self._watch = self._api.watch(
                awaited.kind,
                awaited.namespace,
                name=awaited.name,
                resource_version=version,
                known=[awaited.manifest],
            )
        event = self._watch.next(seconds)
        while event is not None:
            known.note(event.object, now(), deleted=event.type == "DELETED")
            event = None if known.is_queued else self._watch.next(0)  # a queue's words are shown one by one
        if self._cluster_watch is not None and self._cluster_watch[0] != known.cluster:
            self._close_cluster_watch()
        while self._cluster_watch is not None and (event := self._cluster_watch[1].next(0)) is not None:
            if event.type != "DELETED":
                known.note_cluster(event.object, now())

    def _close_cluster_watch(self) -> None:
        if self._cluster_watch is not None:
            self._cluster_watch[1].close()
            self._cluster_watch = None

    def _close_watches(self) -> None:
        self._close_cluster_watch()
        if self._watch is not None:
            self._watch.close()

    def _say(self, now: float) -> None:
        if (line := self._known.line(now)) is not None:
            self._log.info("%s: %s", self._awaited.target, line)

    def _question(self, *, closed_port: str | None = None) -> Question:
        known = self._known
        return Question(
            manifest=known.manifest,
            cluster=known.cluster,
            is_seen=known.is_seen,
            is_queued=known.is_queued,
            closed_port=closed_port,
            by_service=self._by_service,
        )

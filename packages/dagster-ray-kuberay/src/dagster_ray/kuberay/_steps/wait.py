"""Wait until a driver can connect to the head of a RayJob or RayCluster, or until it is certain that none ever will."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dagster_ray.core import Deadline
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain_head
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._diagnosis.patience import QUIET_SECONDS, look_is_due, probe_pause_seconds
from dagster_ray.kuberay._head.dashboard_route import DirectDashboard, ForwardedDashboard
from dagster_ray.kuberay._head.route import (
    CLIENT_PORT,
    DASHBOARD_PORT,
    DirectRoute,
    ForwardRoute,
    Route,
    host_of,
)
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, SERVICES
from dagster_ray.kuberay._spec.head_ports import ports_by_role
from dagster_ray.kuberay._status.cluster_state import (
    ClusterState,
    Ended,
    Head,
    Queued,
    Starting,
    Unseen,
    ports_of_service,
    service_differs_from_pod,
)
from dagster_ray.kuberay._status.created import Created
from dagster_ray.kuberay._status.errors import (
    CannotStartError,
    ClientPortClosedError,
    ClusterGoneError,
    OperatorSilentError,
    QueueTimeoutError,
    RayJobEndedError,
    SpecRefusedError,
)
from dagster_ray.kuberay._status.raycluster_state import head_of_raycluster

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._kubernetes.watch_stream import WatchStream

_PROBE_SECONDS = 2.0
# An operator from 1.5.1 on mirrors the cluster's status within 0.2 s (run with 1.7.0).
_MIRROR_SECONDS = 1.5
# A queue may hold a cluster for a day; its words are read this often at least.
_QUEUE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class WaitPlan:
    """What the wait is for, and how the head is reached."""

    direct: bool
    head_host: str | None
    wait_for: Literal["head", "workers"]
    queue_timeout: float
    """Seconds that a queue may hold the RayJob; the deadline stands still meanwhile."""
    goal: Literal["drivers", "dashboard"] = "drivers"
    """What must answer: the port of Ray Client, or the dashboard, to which jobs are submitted."""
    even_if_complete: bool = False
    """Whether a RayJob whose job has succeeded is a goal as well, for as long as its cluster is there."""


class ClusterWait:
    """One wait for one RayJob or RayCluster. Its `run` is called once."""

    def __init__(self, api: "KubernetesApi", awaited: Created, plan: WaitPlan, log: logging.Logger) -> None:
        """Take what was created and what is wanted."""
        self._api, self._awaited, self._plan, self._log = api, awaited, plan, log
        self._state: ClusterState = awaited.state_of(awaited.manifest)
        self._head: Head | None = None
        self._service_ports: tuple[Mapping[str, int], Mapping[str, int]] | None = None
        self._route: Route | None = None
        self._route_pod: str | None = None
        self._tried_at: float | None = None
        self._cluster_watch: WatchStream | None = None
        self._cluster_was_read = False
        self._named_at: float | None = None
        self.queued_seconds = 0.0
        self._evidence = Evidence(api, awaited, log)
        self._manifest: Mapping[str, Any] = awaited.manifest
        self._moved_at = 0.0
        self._looks = 0
        self._diagnosis: Diagnosis | None = None
        self._said = ""

    def run(self, deadline: Deadline) -> Route:
        """Return the way to a head that accepts drivers.

        Raises:
            SpecRefusedError, RayJobEndedError, ClusterGoneError, CannotStartError: No driver will ever connect.
            QueueTimeoutError: A queue held the RayJob for too long.
            OperatorSilentError, ClientPortClosedError, NotReadyError: The deadline passed.
        """
        with ExitStack() as streams:
            try:
                return self._follow(streams, deadline)
            except BaseException:
                self._close_route()
                raise

    def _follow(self, streams: ExitStack, deadline: Deadline) -> Route:
        self._note(self._awaited.manifest, deadline)  # it may be far already
        self._judge()
        if (route := self._accepting(deadline)) is not None:
            return route  # without a watch: a cluster of many steps is ready for most of them
        version = at(self._awaited.manifest, "metadata", "resourceVersion")
        stream = streams.enter_context(
            self._api.watch(
                self._awaited.kind, self._awaited.namespace, name=self._awaited.name, resource_version=str(version)
            )
        )
        while True:
            self._judge()
            if isinstance(self._state, Queued):
                self._sit_in_queue(stream, deadline)
                continue
            if (route := self._accepting(deadline)) is not None:
                return route
            if deadline.is_over():
                raise stream.absence or self._late(deadline)
            tried_seconds = 0.0 if self._tried_at is None else deadline.spent_seconds() - self._tried_at
            pause = probe_pause_seconds(tried_seconds, direct=self._plan.direct)
            self._take(stream, streams, min(pause, deadline.remaining_seconds()), deadline)
            self._look_closer(deadline)

    # What is known

    def _take(self, stream: "WatchStream", streams: ExitStack, seconds: float, deadline: Deadline) -> None:
        """Take in what the watches have to say within `seconds`."""
        event = stream.next(seconds)
        while event is not None:
            self._note(event.object, deadline, deleted=event.type == "DELETED")
            event = stream.next(0)
        self._watch_cluster(streams, deadline)
        event = self._cluster_watch.next(0) if self._cluster_watch is not None else None
        while event is not None and self._cluster_watch is not None:
            if event.type != "DELETED":
                self._see_head(head_of_raycluster(event.object))
                self._moved_at, self._looks = deadline.spent_seconds(), 0
            event = self._cluster_watch.next(0)

    def _note(self, manifest: Mapping[str, Any], deadline: Deadline, *, deleted: bool = False) -> None:
        """Take in the object as it was at some time."""
        self._manifest, self._moved_at, self._looks = manifest, deadline.spent_seconds(), 0
        self._state = self._awaited.state_of(manifest, deleted=deleted)
        if self._plan.even_if_complete and isinstance(self._state, Ended) and self._state.status == "Complete":
            self._state = Starting("the job is complete", self._awaited.head_of(manifest), operator_ready=True)
        if isinstance(self._state, Starting) and self._state.head is not None:
            if self._cluster_watch is None:
                self._see_head(self._state.head)
            if self._named_at is None:
                self._named_at = deadline.spent_seconds()

    def _see_head(self, head: Head) -> None:
        if self._head is None or head.service is not None or head.cluster != self._head.cluster:
            self._head = head

    def _watch_cluster(self, streams: ExitStack, deadline: Deadline) -> None:
        """Watch the RayCluster itself where the RayJob does not tell where the head is.

        Before 1.5.1 the operator does not mirror the cluster's status at all; after, the copy stands still once the
        RayJob is Waiting, also if the head got its address only then (run with 1.7.0).
        """
        head, state = self._head, self._state
        if self._awaited.kind is RAYCLUSTERS or self._cluster_watch is not None:
            return
        if self._named_at is None or head is None or (head.is_placed and not self._is_left(head, deadline)):
            return
        ready = isinstance(state, Starting) and state.operator_ready
        if not ready and (head.service is not None or deadline.spent_seconds() - self._named_at < _MIRROR_SECONDS):
            return
        # Begins with a list: what the cluster was before may be all that is ever said of it.
        self._cluster_watch = streams.enter_context(
            self._api.watch(RAYCLUSTERS, self._awaited.namespace, name=head.cluster)
        )

    def _is_left(self, head: Head, deadline: Deadline) -> bool:
        """Return whether the head may be another one than the RayJob's copy tells: it is gone, or does not answer."""
        if self._route is not None and self._route.missing_pod == head.pod:
            return True
        is_copy_final = isinstance(self._state, Starting) and self._state.operator_ready
        tried_at = self._tried_at
        return is_copy_final and tried_at is not None and deadline.spent_seconds() - tried_at >= _MIRROR_SECONDS

    @property
    def cluster(self) -> str | None:
        """The RayCluster's name; None while it is not known."""
        return self._head.cluster if self._head is not None else None

    def take(self, manifest: Mapping[str, Any]) -> None:
        """Take in the object as it was read after the wait, so that the route finds a new head pod.

        A RayJob's copy of the cluster's status counts only until the cluster itself was read.
        """
        head = self._awaited.head_of(manifest)
        if head is not None and not (self._cluster_was_read and head.cluster == self.cluster):
            self._see_head(head)

    def take_cluster(self, raycluster: Mapping[str, Any]) -> None:
        """Take in the RayCluster as it was read after the wait, so that the route finds a new head pod."""
        before, self._cluster_was_read = self._pod_name(), True
        self._see_head(head_of_raycluster(raycluster))
        if before and (now := self._pod_name()) != before:
            self._log.info("%s: the head pod %s is replaced by %s.", self._awaited.target, before, now or "another one")

    @property
    def head_pod(self) -> str | None:
        """The head's pod, as far as is known."""
        return self._head.pod if self._head is not None else None

    # What follows from it

    def _judge(self) -> None:
        """Raise if no driver will ever connect; say what changed otherwise."""
        state, target = self._state, self._awaited.target
        if isinstance(state, Ended):
            if state.is_deleted:
                raise ClusterGoneError(target, state.message)
            if state.is_refused:
                raise SpecRefusedError(target, state.reason, state.message)
            raise RayJobEndedError(target, state.status, state.reason, state.message)
        found = explain_head(self._head)
        if found is not None:
            self._diagnosis = found
        elif self._looks == 0:
            self._diagnosis = None  # something has moved since it was made
        if self._diagnosis is not None and self._diagnosis.fatal:
            raise self._fatal(self._diagnosis)
        self._say(self._sentence())

    def _fatal(self, diagnosis: Diagnosis) -> Exception:
        if diagnosis.code == "refused":
            return SpecRefusedError(self._awaited.target, diagnosis.reason, diagnosis.sentence)
        log = diagnosis.log or self._evidence.head_log(self._question())
        return CannotStartError(
            self._awaited.target, diagnosis.code, diagnosis.reason, diagnosis.sentence, diagnosis.remedy, log
        )

    def _sentence(self) -> str:
        sentence = self._state.sentence if not isinstance(self._state, Ended) else self._state.message
        if (found := self._diagnosis) is not None:
            return f"{sentence}; {found.reason}: {found.sentence}"
        if isinstance(self._state, Starting) and self._head is not None and self._head.pod is not None:
            return f"{sentence}; head pod {self._head.pod}" + (f" ({self._head.reason})" if self._head.reason else "")
        return sentence

    def _say(self, sentence: str) -> None:
        """Log one line for each change; the reason alone changes with every attempt to pull an image."""
        found, state = self._diagnosis, "" if isinstance(self._state, Ended) else self._state.sentence
        said = sentence if found is None else f"{state} {found.code} {found.sentence}"
        if said != self._said:
            self._said = said
            self._log.info("%s: %s", self._awaited.target, sentence)

    def _sit_in_queue(self, stream: "WatchStream", deadline: Deadline) -> None:
        """Wait while nothing runs; the deadline of the cluster's start stands still."""
        deadline.pause()
        queue, pause = Deadline(self._plan.queue_timeout), QUIET_SECONDS
        try:
            while isinstance(self._state, Queued):
                self._judge()
                event = stream.next(min(pause, queue.remaining_seconds()))
                if event is not None:
                    self._note(event.object, deadline, deleted=event.type == "DELETED")
                elif queue.is_over():
                    raise QueueTimeoutError(self._awaited.target, self._sentence(), self._plan.queue_timeout)
                else:
                    self._looks, pause = 1, min(pause * 2, _QUEUE_SECONDS)
                    self._diagnosis = self._evidence.look(self._question())
        finally:
            self.queued_seconds += queue.spent_seconds()
            deadline.resume()

    # The way to the head

    def _accepting(self, deadline: Deadline) -> Route | None:
        """Return the way to the head if it accepts drivers now, and the operator is as far as was asked."""
        state, head = self._state, self._head
        if not isinstance(state, Starting) or head is None or not head.is_placed:
            return None
        if self._plan.wait_for == "workers" and not state.operator_ready:
            return None
        if self._route is None or self._route_pod != head.pod:
            self._close_route()
            self._route, self._route_pod = self._open_route(head, deadline), head.pod
            self._tried_at = deadline.spent_seconds()
        if self._route is None:
            return None
        seconds = min(_PROBE_SECONDS, max(0.1, deadline.remaining_seconds()))
        return self._route if self._route.accepts(seconds) else None

    def _open_route(self, head: Head, deadline: Deadline) -> Route | None:
        service_ports, pod_ports = self._ports(head, deadline)
        ports = service_ports if self._plan.direct else pod_ports
        client, dashboard = ports.get(CLIENT_PORT), ports.get(DASHBOARD_PORT)
        if self._plan.goal == "dashboard":
            return None if dashboard is None else self._dashboard_route(head, dashboard)
        if client is None:
            return None
        if self._plan.direct:
            return DirectRoute(host_of(head, self._awaited.namespace, self._plan.head_host), client, dashboard)
        wanted = (client,) if dashboard is None else (client, dashboard)
        return ForwardRoute(self._api, self._awaited.namespace, self._pod_name, wanted)

    def _dashboard_route(self, head: Head, port: int) -> Route:
        if self._plan.direct:
            return DirectDashboard(host_of(head, self._awaited.namespace, self._plan.head_host), port)
        return ForwardedDashboard(self._api, self._awaited.namespace, self._pod_name, port)

    def _pod_name(self) -> str:
        return (self._head.pod if self._head is not None else None) or ""

    def _ports(self, head: Head, deadline: Deadline) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return the ports for drivers and of the dashboard, those of the head's Service and those of its pod."""
        spec = self._awaited.cluster_spec
        if head.service is None or not service_differs_from_pod(spec):
            ports = ports_by_role(spec, head.ports, head.ports, undeclared=True)
            return ports, ports
        if self._service_ports is None:
            service = self._api.get(SERVICES, self._awaited.namespace, head.service, deadline)
            own, behind = ports_of_service(service, of_pod=False), ports_of_service(service, of_pod=True)
            self._service_ports = (
                ports_by_role(spec, own, behind, undeclared=False),
                ports_by_role(spec, behind, behind, undeclared=True),
            )
        return self._service_ports

    def _close_route(self) -> None:
        if self._route is not None:
            self._route.close()
            self._route = None

    # Why it takes so long

    def _look_closer(self, deadline: Deadline) -> None:
        """Read pods and events when nothing has moved for some time."""
        reason = self._head.reason if self._head is not None else ""
        is_told = self._awaited.kind is RAYJOBS and self._cluster_watch is None
        if look_is_due(deadline.spent_seconds() - self._moved_at, self._looks, reason, is_told=is_told):
            self._looks += 1
            self._diagnosis = self._evidence.look(self._question())

    def _question(self, *, closed_port: str | None = None) -> Question:
        return Question(
            manifest=self._manifest,
            cluster=self.cluster,
            is_seen=not isinstance(self._state, Unseen),
            is_queued=isinstance(self._state, Queued),
            closed_port=closed_port,
            by_service=self._plan.direct and self._plan.head_host is None,
        )

    def _late(self, deadline: Deadline) -> Exception:
        """Return the error for a deadline that has passed."""
        target, budget = self._awaited.target, deadline.budget_seconds
        serves = isinstance(self._state, Starting) and self._state.operator_ready
        question = self._question(closed_port=self._place() if serves else None)
        self._diagnosis = found = self._evidence.look(question) or self._diagnosis
        if found is not None and found.code == "refused":
            return SpecRefusedError(target, found.reason, found.sentence)
        if isinstance(self._state, Unseen):
            return OperatorSilentError(target, budget)
        log = self._evidence.head_log(question)
        if serves and (found is None or found.code == "client-port-closed"):
            if self._plan.goal == "dashboard":
                return NotReadyError(target, budget, f"{self._sentence()}; {self._place()} does not answer", log=log)
            return ClientPortClosedError(target, self._place(), budget, log)
        advice = found.remedy if found is not None else ""
        return NotReadyError(target, budget, self._sentence(), advice, log)

    def _place(self) -> str:
        if self._route is not None:
            return self._route.place
        return f"the head's port `{DASHBOARD_PORT if self._plan.goal == 'dashboard' else CLIENT_PORT}`"

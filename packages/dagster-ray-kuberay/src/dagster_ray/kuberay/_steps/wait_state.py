"""What is known of a cluster that is waited for, and what the wait does next. Pure.

Times are seconds of one clock of the caller, which never stands still.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from dagster_ray.core import WaitLines
from dagster_ray.core.errors import NotReadyError
from dagster_ray.kuberay._diagnosis.containers import ray_container_of
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain_head, says_more
from dagster_ray.kuberay._diagnosis.patience import (
    Dials,
    QueueTime,
    Suspicion,
    is_proven,
    look_is_due,
    probe_pause_seconds,
    suspect_look_is_due,
)
from dagster_ray.kuberay._kubernetes.fields import text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._status.cluster_state import (
    ClusterState,
    Created,
    Ended,
    Head,
    Queued,
    Starting,
    Unseen,
    head_of_raycluster,
)
from dagster_ray.kuberay._status.errors import (
    CannotStartError,
    ClientPortClosedError,
    OperatorSilentError,
    QueueTimeoutError,
    SpecRefusedError,
)
from dagster_ray.kuberay._status.failure_classes import class_of

# An operator from 1.5.1 on mirrors the cluster's status within 0.2 s (run with 1.7.0).
_MIRROR_SECONDS = 1.5
# What is called fatal was looked at this long ago at most.
_FRESH_SECONDS = 1.0


class Do(Enum):
    """What a wait does next, and the event that follows."""

    RETURN = "return the route; the last step"
    DIAL = "try whether the head answers; `dialed`"
    WATCH_CLUSTER = "watch the RayCluster as well; `watched`"
    LOOK = "read pods and events; `looked`"
    LAST_LOOK = "read pods and events once more, because the deadline has passed; `looked_last`"
    READ_LOG = "read the end of the head's log; `log_read`"


@dataclass(frozen=True, slots=True)
class Pause:
    """Take in what the watches have to say within some seconds; `note` and `note_cluster`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Raise; the last step."""

    error: Exception


Step: TypeAlias = Do | Pause | Fail


@dataclass(frozen=True, slots=True)
class Sought:
    """What a wait is for.

    Attributes:
        direct: Whether the head is dialed without the API server.
        needs_workers: Whether the operator must have seen all pods ready.
        is_dashboard: Whether the dashboard must answer, and not the port for drivers.
        even_if_complete: Whether a RayJob whose job has succeeded is a goal as well, while its cluster is there.
        queue_seconds: How long a queue may hold the cluster.
    """

    direct: bool = True
    needs_workers: bool = False
    is_dashboard: bool = False
    even_if_complete: bool = False
    queue_seconds: float = float("inf")


class WaitState:
    """A RayJob or RayCluster as it was seen last, its head, and what may be wrong. `next` says what to do.

    Attributes:
        manifest: The object as it was seen last.
        state: What it means for a step that waits.
        head: Where the head is; None while no RayCluster is known.
        diagnosis: Why the cluster is not there; None if nothing that is known keeps it away.
    """

    def __init__(self, awaited: Created, sought: Sought | None = None) -> None:
        """Take what is awaited, and what for."""
        self._awaited, self._sought = awaited, sought or Sought()
        self._ray_container = ray_container_of(awaited.cluster_spec)
        self.manifest: Mapping[str, Any] = awaited.manifest
        self.state: ClusterState = awaited.state_of(awaited.manifest)
        self.head: Head | None = None
        self.diagnosis: Diagnosis | None = None
        self._named_at: float | None = None
        self._is_watched = self._cluster_was_read = False
        self._moved_at = self._looked_at = 0.0
        self._looks = 0
        self._suspicion = Suspicion()
        self._queue = QueueTime()
        self._dials = Dials()
        self._answers: bool | None = None  # to the dial since the last pause
        self._missing_pod: str | None = None
        self._ending: tuple[Callable[[str], Exception], str | None] | None = None  # the error, and the log it shows
        self._lines = WaitLines()

    @property
    def cluster(self) -> str | None:
        """The RayCluster's name; None while it is not known."""
        return self.head.cluster if self.head is not None else None

    @property
    def is_operator_ready(self) -> bool:
        """Whether the operator has seen all pods ready."""
        return isinstance(self.state, Starting) and self.state.operator_ready

    @property
    def is_seen(self) -> bool:
        """Whether an operator has written a status."""
        return not isinstance(self.state, Unseen)

    @property
    def queued_seconds(self) -> float:
        """For how long queues have held the cluster, up to the last `next`."""
        return self._queue.seconds

    @property
    def is_queued(self) -> bool:
        """Whether a queue holds the cluster; the deadline stands still meanwhile."""
        return isinstance(self.state, Queued)

    # What is done next

    def next(self, at_seconds: float, remaining_seconds: float) -> Step:
        """Return what to do now.

        Args:
            at_seconds: The time.
            remaining_seconds: What is left until the deadline.
        """
        self._queue.count(at_seconds, is_queued=self.is_queued)
        if self.is_queued:
            return self._end() or self._judged(at_seconds) or self._in_queue(at_seconds)
        step = self._end() or self._reach(at_seconds, remaining_seconds <= 0) or self._judged(at_seconds)
        if step is not None:
            return step
        if remaining_seconds <= 0:
            return Do.LAST_LOOK
        if self.needs_look(at_seconds):
            return Do.LOOK
        self._answers = None
        pause = probe_pause_seconds(self._dials.seconds(at_seconds), direct=self._sought.direct)
        return Pause(min(pause, remaining_seconds))

    def _end(self) -> Step | None:
        if self._ending is not None:
            error, log = self._ending
            return Do.READ_LOG if log is None else Fail(error(log))
        return Fail(self.state.error(self._awaited.target)) if isinstance(self.state, Ended) else None

    def _in_queue(self, at_seconds: float) -> Step:
        left = self._sought.queue_seconds - self._queue.held_seconds(at_seconds)
        if left <= 0:
            return Fail(QueueTimeoutError(self._awaited.target, self.sentence, self._sought.queue_seconds))
        to_look = self._queue.seconds_to_look(at_seconds)
        return Pause(min(to_look, self._lines.seconds_to_next(at_seconds), left)) if to_look > 0 else Do.LOOK

    def _reach(self, at_seconds: float, is_late: bool) -> Step | None:
        """Return what brings the wait nearer to its goal."""
        if self.needs_cluster_watch(at_seconds):
            return Do.WATCH_CLUSTER
        if not isinstance(self.state, Starting) or (self._sought.needs_workers and not self.is_operator_ready):
            return None
        if self._answers:
            return Do.RETURN  # whatever else is said: such a head is alive
        return self._dial(at_seconds, at_once=is_late or self._sought.direct)

    def _dial(self, at_seconds: float, *, at_once: bool) -> Step | None:
        """Return the step if the head has an address, was not dialed since the last pause, and it is time to."""
        head = self.head
        if head is None or not head.is_placed or self._answers is not None:
            return None
        return Do.DIAL if self._dials.begin(head, at_seconds, self.is_operator_ready, at_once=at_once) else None

    def _judged(self, at_seconds: float) -> Step | None:
        """Return how to make sure that no driver will ever connect, and to say so; None if it is not so.

        What lasts long enough to be fatal is looked at once more before it is called so, and the head is dialed, which
        a wait for the workers does not do otherwise.
        """
        if not self.is_hopeless(at_seconds):
            return None
        if not self.is_fresh(at_seconds):
            return Do.LOOK
        dial = self._dial(at_seconds, at_once=True)
        if dial is not None or self._answers or (found := self.diagnosis) is None:
            return dial
        if found.code == "refused":
            return Fail(SpecRefusedError(self._awaited.target, found.reason, found.sentence))
        said = self._awaited.target, found.code, found.reason, found.sentence, found.remedy
        self._ending = lambda log: CannotStartError(*said, log), found.log or None
        return self._end()

    def _late(self, place: str, budget: float, log: str) -> Exception:
        """Return the error for a deadline that has passed."""
        target, found, sentence = self._awaited.target, self.diagnosis, self.sentence
        if found is not None and found.code == "refused":
            return SpecRefusedError(target, found.reason, found.sentence)
        if not self.is_seen:
            return OperatorSilentError(target, budget)
        if self.is_operator_ready and (found is None or found.code == "client-port-closed"):
            if self._sought.is_dashboard:
                return NotReadyError(target, budget, f"{sentence}; {place} does not answer", log=log)
            return ClientPortClosedError(target, place, budget, log)
        if found is None:
            return NotReadyError(target, budget, sentence, log=log)
        return NotReadyError(target, budget, sentence, found.remedy, log, class_of(found.code))

    # What is seen

    def dialed(self, answers: bool, missing_pod: str | None = None) -> None:
        """Take in whether the head has answered, and the pod that the API server said does not exist any more."""
        self._answers, self._missing_pod = answers, missing_pod

    def note(self, manifest: Mapping[str, Any], at_seconds: float, *, deleted: bool = False) -> None:
        """Take in the object as it was at some time."""
        if text(manifest, "metadata", "uid") not in {"", self._awaited.uid}:
            self._note_another(deleted=deleted)
            return
        was_queued, self.manifest = self.is_queued, manifest
        self.state = self._awaited.state_of(manifest, deleted=deleted)
        if was_queued and self.is_queued:
            return  # what a look has found in the queue holds until the next one
        if self._sought.even_if_complete and isinstance(self.state, Ended) and self.state.status == "Complete":
            self.state = Starting("the job is complete", self._awaited.head_of(manifest), operator_ready=True)
        named = self._awaited.head_of(manifest)
        if isinstance(self.state, Queued) or named is None or named.cluster != self.cluster:
            self._forget_cluster()
        if isinstance(self.state, Starting) and self.state.head is not None:
            if not self._is_watched:
                self._see(self.state.head)
            if self._named_at is None:
                self._named_at = at_seconds
        self._move(at_seconds)

    def _note_another(self, *, deleted: bool) -> None:
        """Take in that an object of the same name is another one: what is awaited is gone, whatever the other does."""
        if not deleted:
            self.state = Ended("Deleted", "Deleted", "it was deleted by somebody else, and another object has its name")

    def note_cluster(self, raycluster: Mapping[str, Any], at_seconds: float) -> None:
        """Take in the RayCluster of a RayJob, unless the RayJob has another one by now."""
        head = head_of_raycluster(raycluster)
        if head.cluster == self.cluster:
            self._see(head)
            self._move(at_seconds)

    def note_head(self, manifest: Mapping[str, Any]) -> None:
        """Take in where the head is by the object as it was read after the wait, unless the cluster itself told it."""
        head = self._awaited.head_of(manifest)
        if head is not None and not (self._cluster_was_read and head.cluster == self.cluster):
            self._see(head)

    def note_head_of_cluster(self, raycluster: Mapping[str, Any]) -> None:
        """Take in where the head is by the RayCluster as it was read after the wait."""
        self._cluster_was_read = True
        self._see(head_of_raycluster(raycluster))

    def watched(self) -> None:
        """Note that the RayCluster itself is watched, which knows more than the RayJob's copy."""
        self._is_watched = True

    def needs_cluster_watch(self, at_seconds: float) -> bool:
        """Return whether the RayCluster must be watched, because the RayJob does not tell where the head is.

        Before 1.5.1 the operator does not mirror the cluster's status at all; after, the copy stands still once the
        RayJob is Waiting, also if the head got its address, or was replaced, only then (run with 1.7.0).
        """
        head = self.head
        if self._awaited.kind is not RAYJOBS or self._is_watched or head is None or self._named_at is None:
            return False
        is_silent = self.is_operator_ready and self._dials.ready_seconds(at_seconds) >= _MIRROR_SECONDS
        is_left = head.pod == self._missing_pod or is_silent
        if head.is_placed and not is_left:
            return False
        is_late = head.service is None and at_seconds - self._named_at >= _MIRROR_SECONDS
        return self.is_operator_ready or is_late

    def _forget_cluster(self) -> None:
        """Begin anew: a queue took the cluster back, and KubeRay makes another one after the next admission."""
        self.head, self._named_at = None, None
        self._is_watched = self._cluster_was_read = False
        self.diagnosis, self._suspicion = None, Suspicion()
        self._answers = self._missing_pod = None

    def _see(self, head: Head) -> None:
        if self.head is None or head.service is not None or head.cluster != self.head.cluster:
            self.head = head

    def _move(self, at_seconds: float) -> None:
        """Note that something has changed; what was found before holds only as far as it may be fatal."""
        self._moved_at, self._looks = at_seconds, 0
        known, said = self.diagnosis, explain_head(self.head, self._ray_container)
        if known is not None and (known.proof is not None if said is None else says_more(known, said)):
            return
        self.diagnosis = said

    # What is found

    def looked(self, found: Diagnosis | None, at_seconds: float) -> None:
        """Take in what pods and events say; None if they do not say why, or may not be read."""
        self._looks += 1
        self._looked_at = at_seconds
        self.diagnosis = found or explain_head(self.head, self._ray_container)

    def looked_last(self, found: Diagnosis | None, at_seconds: float, place: str, budget: float) -> None:
        """Take in the look after the deadline, where the head was dialed, for people, and the seconds there were."""
        self.looked(found or self.diagnosis, at_seconds)
        known = self.diagnosis
        needs_log = self.is_seen and (known is None or known.code != "refused")
        self._ending = lambda log: self._late(place, budget, log), None if needs_log else ""

    def log_read(self, log: str) -> None:
        """Take in the last lines of the head's log; empty if there are none."""
        if self._ending is not None:
            self._ending = self._ending[0], log

    def needs_look(self, at_seconds: float) -> bool:
        """Return whether pods and events are to be read now."""
        last = max(self._looked_at, self._moved_at)
        if self.diagnosis is not None and self.diagnosis.proof is not None:
            return suspect_look_is_due(at_seconds - last, self._looks)
        is_told = self._awaited.kind is RAYJOBS and not self._is_watched
        reason = self.head.reason if self.head is not None else ""
        return look_is_due(at_seconds - self._moved_at, self._looks, reason, is_told=is_told)

    def is_fresh(self, at_seconds: float) -> bool:
        """Return whether pods and events were read just now."""
        return self._looks > 0 and at_seconds - self._looked_at <= _FRESH_SECONDS

    def is_hopeless(self, at_seconds: float) -> bool:
        """Return whether what is wrong has been seen often or long enough to be called fatal."""
        found = self.diagnosis
        suspect = None if found is None or found.proof is None else found
        seconds = self._suspicion.seen(None if suspect is None else suspect.code, at_seconds)
        if suspect is None or suspect.proof is None:
            return False
        return is_proven(suspect.proof, seconds=seconds, attempts=suspect.attempts)

    # What is said

    def line(self, at_seconds: float) -> str | None:
        """Return a line for the log: one for each change, and one from time to time while nothing changes."""
        match self._lines.due(self.topic, at_seconds):
            case "moved":
                return self.sentence
            case "still":
                return f"still waiting after {at_seconds:.0f} s: {self.sentence}"
            case None:
                return None

    @property
    def sentence(self) -> str:
        """How far it is, for people."""
        sentence = self.state.message if isinstance(self.state, Ended) else self.state.sentence
        if (found := self.diagnosis) is not None:
            return f"{sentence}; {found.reason}: {found.sentence}"
        if isinstance(self.state, Starting) and self.head is not None and self.head.pod is not None:
            return f"{sentence}; head pod {self.head.pod}" + (f" ({self.head.reason})" if self.head.reason else "")
        return sentence

    @property
    def topic(self) -> str:
        """What a line of the log is about; the reason alone changes with every attempt to pull an image."""
        found = self.diagnosis
        if found is None or isinstance(self.state, Ended):
            return self.sentence
        return f"{self.state.sentence} {found.code} {found.sentence}"

"""When to look closer at a cluster that does not come up, and when a situation counts as fatal. Pure.

Kubernetes retries: a kubelet its pulls and restarts, KubeRay's operator its creations (after 5 ms, doubled each time).
So a situation that looks final at first sight often passes. Giving up too early costs a healthy step; giving up late
costs some minutes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dagster_ray.kuberay._status.cluster_state import Head

Seconds: TypeAlias = float
QUIET_SECONDS = 10.0
"""How long nothing must have moved before anything beside the watch is asked for."""
# What a head that starts normally says meanwhile (KubeRay copies it from the pod from 1.5.1 on), and for how long.
_NORMAL_SECONDS: Mapping[str, float] = {
    "ContainerCreating": 20.0,
    "PodInitializing": 45.0,
    "ContainersNotReady": 45.0,
    "HeadPodRunningAndReady": 20.0,
}

# A queue may hold a cluster for a day; its words are read this often at least.
_QUEUE_SECONDS = 120.0
_SUSPECT_SECONDS, _MOST_SUSPECT_SECONDS = 1.0, 20.0
_DIRECT_SECONDS, _FORWARD_SECONDS, _LATE_FORWARD_SECONDS = 0.2, 0.5, 1.0
_LATE_SECONDS = 15.0
_HEAD_READY = "HeadPodRunningAndReady"
# A container that is not there yet has no port; one whose Ray starts has it some seconds before kubelet calls it ready.
_NO_CONTAINER = ("ContainerCreating", "PodInitializing")
_FIRST_STARTING_SECONDS, _STARTING_SECONDS = 6.0, 30.0
_MINUTE = 60.0


def probe_pause_seconds(tried_seconds: float, *, direct: bool) -> float:
    """Return how long to wait between two tries of a head's port.

    A refused connection costs nothing; one through the API server is a stream of its own, so that a head which takes
    long to start is tried less often.

    Args:
        tried_seconds: For how long the port has been tried.
        direct: Whether the head is dialled without the API server.
    """
    if direct:
        return _DIRECT_SECONDS
    return _FORWARD_SECONDS if tried_seconds < _LATE_SECONDS else _LATE_FORWARD_SECONDS


class Dials:
    """When a head is dialed, and since when it has been.

    Through the API server each dial is a stream of its own. A head that the operator calls ready, or of which it says
    nothing, is dialed after each pause; before, after 6 s, because it is up some time before kubelet looks at it, and
    then every 30 s, because what the operator says may be about another container.
    """

    def __init__(self) -> None:
        """Nothing was dialed."""
        self._pod: tuple[str, str | None] | None = None
        self._about: tuple[str, str | None, str] | None = None
        self._since = self._last = 0.0
        self._ready_since: Seconds | None = None
        self._tries = 0

    def begin(self, head: Head, at_seconds: Seconds, is_ready: bool, *, at_once: bool) -> bool:
        """Return whether to dial a head now, which then counts as done.

        Args:
            head: The head. Another pod, or another reason of its condition, begins anew.
            at_seconds: The time.
            is_ready: Whether the operator has seen all pods ready.
            at_once: Whether it is not to be waited for.
        """
        if self._about != (head.cluster, head.pod, head.reason):
            self._about, self._last, self._tries = (head.cluster, head.pod, head.reason), at_seconds, 0
        if not (at_once or is_ready or head.reason in ("", _HEAD_READY)):
            is_first = self._tries == 0 and head.reason not in _NO_CONTAINER
            if at_seconds - self._last < (_FIRST_STARTING_SECONDS if is_first else _STARTING_SECONDS):
                return False
        self._last, self._tries = at_seconds, self._tries + 1
        if self._pod != (head.cluster, head.pod):
            self._pod, self._since, self._ready_since = (head.cluster, head.pod), at_seconds, None
        if is_ready and self._ready_since is None:
            self._ready_since = at_seconds
        return True

    def seconds(self, at_seconds: Seconds) -> Seconds:
        """Return for how long the head has been dialed."""
        return 0.0 if self._pod is None else at_seconds - self._since

    def ready_seconds(self, at_seconds: Seconds) -> Seconds:
        """Return for how long the head has been dialed since all pods are ready."""
        return 0.0 if self._ready_since is None else at_seconds - self._ready_since


def look_is_due(quiet_seconds: float, looks: int, reason: str, *, is_told: bool) -> bool:
    """Return whether to read pods and events now.

    Args:
        quiet_seconds: For how long nothing has moved.
        looks: How often it was looked since something moved; each look doubles the time to the next.
        reason: The reason of the condition HeadPodReady.
        is_told: Whether the operator copies the reason from the head's container, so that a normal one is an
            explanation.
    """
    first = _NORMAL_SECONDS.get(reason, QUIET_SECONDS) if is_told else QUIET_SECONDS
    return quiet_seconds >= first * 2**looks


def suspect_look_is_due(quiet_seconds: float, looks: int) -> bool:
    """Return whether to read pods and events now, because something was seen that is fatal if it lasts.

    Args:
        quiet_seconds: For how long nothing has moved and nobody has looked.
        looks: How often it was looked since something moved; each look doubles the time to the next, up to a bound.
    """
    return quiet_seconds >= min(_SUSPECT_SECONDS * 2**looks, _MOST_SUSPECT_SECONDS)


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a situation does not pass: it lasts, or whoever tries has failed often enough."""

    seconds: float = 0.0
    """For how long it is seen without a break."""
    attempts: int | None = None
    """How many failed attempts are a proof, however soon they come; None where nobody counts them."""
    of_what: str = ""
    """What these attempts are, in the plural."""

    @property
    def words(self) -> str:
        """When it is called fatal, as the end of a sentence."""
        if self.seconds == 0:
            return "at once"
        lasts = f"{self.seconds:g} s" if self.seconds < _MINUTE else _minutes(self.seconds)
        counted = "" if self.attempts is None else f"after {self.attempts} {self.of_what}, or "
        return f"{counted}once it has lasted {lasts}"


AT_ONCE = Proof()
"""What nobody tries again."""


def _minutes(seconds: float) -> str:
    minutes = seconds / _MINUTE
    return "one minute" if minutes == 1 else f"{minutes:g} minutes"


class Suspicion:
    """For how long one situation that may be fatal has been seen."""

    def __init__(self) -> None:
        """Suspect nothing."""
        self._code: str | None = None
        self._since: Seconds = 0.0

    def seen(self, code: str | None, at_seconds: Seconds) -> Seconds:
        """Take in what is seen now; return for how long it has been without a break.

        Args:
            code: A situation that is fatal if it lasts; None if there is none now.
            at_seconds: The time.
        """
        if code != self._code:
            self._code, self._since = code, at_seconds
        return at_seconds - self._since


def is_proven(proof: Proof, *, seconds: Seconds, attempts: int) -> bool:
    """Return whether a situation has been seen for long enough, or has failed often enough."""
    return seconds >= proof.seconds or (proof.attempts is not None and attempts >= proof.attempts)


class QueueTime:
    """For how long queues hold a cluster back, and when pods and events are read meanwhile: less often each time.

    Attributes:
        seconds: For how long they have, up to the last `count`.
    """

    def __init__(self) -> None:
        """Nothing was held back."""
        self.seconds = 0.0
        self._since: Seconds | None = None
        self._before = self._look_at = self._pause = 0.0

    def count(self, at_seconds: Seconds, *, is_queued: bool) -> None:
        """Take in whether a queue holds the cluster now."""
        if self._since is None and is_queued:
            self._since, self._pause, self._look_at = at_seconds, QUIET_SECONDS, at_seconds + QUIET_SECONDS
        if self._since is not None:
            self.seconds = self._before + at_seconds - self._since
        if not is_queued:
            self._since, self._before = None, self.seconds

    def held_seconds(self, at_seconds: Seconds) -> Seconds:
        """Return for how long the queue that holds the cluster has done so."""
        return 0.0 if self._since is None else at_seconds - self._since

    def seconds_to_look(self, at_seconds: Seconds) -> Seconds:
        """Return when pods and events are to be read; 0: now, which counts as done."""
        if at_seconds < self._look_at:
            return self._look_at - at_seconds
        self._pause = min(self._pause * 2, _QUEUE_SECONDS)
        self._look_at = at_seconds + self._pause
        return 0.0

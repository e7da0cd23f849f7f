"""The thread that renews an annotation while its step lives. What its answers mean is decided in `pulse`."""

import logging
import queue
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TypeVar

from typing_extensions import Protocol

from dagster_ray.core import Deadline, safe_log
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.errors import KubernetesError, ServerTimeUnknownError
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._labels import ALIVE_ANNOTATION
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._steps.pulse import Answer, Pulse, answer_of, answer_of_error

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_CALL_SECONDS = 10.0
_LEAST_CALL_SECONDS = 1.0
_JOIN_SECONDS = 12.0
_TELL_SECONDS = 2.0
_LONG_AGO = datetime.fromtimestamp(0, UTC)


class Sign(Protocol):
    """An annotation that says until when, or since when, a step is known to live: a `Lock`, for example."""

    @property
    def key(self) -> str:
        """The name of the annotation."""
        ...

    def text(self) -> str:
        """Return the annotation's value."""
        ...

    def renewed(self, now: datetime) -> Self:
        """Return the sign as it is written at `now`, a time of the API server."""
        ...


AnySign = TypeVar("AnySign", bound=Sign)


@dataclass(frozen=True, slots=True)
class Alive:
    """A step was alive at a time of the API server.

    Attributes:
        at: The time. By default long ago: before the first sign.
    """

    at: datetime = _LONG_AGO

    @property
    def key(self) -> str:
        """The name of its annotation."""
        return ALIVE_ANNOTATION

    def text(self) -> str:
        """Return the annotation's value."""
        return time_text(self.at)

    def renewed(self, now: datetime) -> "Alive":
        """Return what another sign says; a clock that went back does not make it older."""
        return Alive(max(now, self.at))


def alive_annotations(api: "KubernetesApi") -> dict[str, str]:
    """Return the annotation for a request that is sent now; none if the API server has not told its time."""
    try:
        sign = Alive(api.server_time())
    except ServerTimeUnknownError:
        return {}
    return {sign.key: sign.text()}


def annotation_patch(
    own: Created, annotations: Mapping[str, str | None], version: str | None = None
) -> dict[str, object]:
    """Return the merge patch that sets annotations, or removes them (None).

    It names the uid, so that a cluster that was made anew under the name is not meant. A step writes or removes its
    own lock without a version: any number of steps do so at once without a conflict (run with kube-apiserver 1.36).
    What concerns other steps' locks needs the version in which they were seen.
    """
    wanted = {} if version is None else {"resourceVersion": version}
    return {"metadata": {"uid": own.uid, **wanted, "annotations": dict(annotations)}}


def renew(api: "KubernetesApi", own: Created, sign: AnySign, deadline: Deadline) -> tuple[Answer, AnySign]:
    """Write a sign with the API server's time of now; return what the answer shows, and the sign as it stands there.

    Raises:
        DagsterRayError: The answer shows nothing of the object.
    """
    renewed = sign.renewed(api.server_time())
    patch = annotation_patch(own, {sign.key: renewed.text()})
    try:
        found = answer_of(api.patch(own.kind, own.namespace, own.name, patch, deadline), own, sign.key, renewed.text())
    except DagsterRayError as error:
        found = answer_of_error(error)
        if found is Answer.UNKNOWN:
            raise
    if found is Answer.UNKNOWN:
        said = "the answer does not show the object with this annotation"
        raise KubernetesError("patch", own.kind.resource, own.namespace, own.name, 200, said)
    return found, renewed if found is Answer.RENEWED else sign


class Heartbeat:
    """Renews one annotation at an interval, from its construction until `stop`.

    Nothing but proof that the object is gone or going ends it before: it goes on through every refusal, outage and
    exception, with pauses that grow up to the interval. Its messages are written by a second thread, so that a log
    whose storage hangs does not delay a renewal.

    Args:
        api: The Kubernetes cluster.
        own: The object that has the annotation.
        sign: The annotation as it was applied: a lock, or any other sign of the step.
        interval_seconds: Seconds between renewals.
        log: Where trouble is told, when it begins and when it ends.
    """

    def __init__(
        self, api: "KubernetesApi", own: Created, sign: Sign, interval_seconds: float, log: logging.Logger
    ) -> None:
        """Start."""
        self._api, self._own, self._sign = api, own, sign
        self._interval_seconds = interval_seconds
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._stopped = threading.Event()
        self._messages = _MessageThread(safe_log(log))
        self._thread = threading.Thread(target=self._run, name="dagster-ray heartbeat", daemon=True)
        self._thread.start()

    @property
    def sign(self) -> Sign:
        """The annotation as it was renewed last."""
        return self._sign

    def stop(self) -> None:
        """End the thread; a renewal that is under way is waited for."""
        self._stopped.set()
        self._thread.join(_JOIN_SECONDS)
        self._messages.close(_TELL_SECONDS)

    def _run(self) -> None:
        pulse = Pulse()
        while not self._stopped.wait(pulse.pause_seconds(self._interval_seconds, self._rng)):
            before, (answer, trouble) = pulse, self._beat()
            pulse = pulse.after(answer)
            if pulse.is_over:
                self._messages.put(logging.WARNING, "%s: %s while this step uses it.", self._own.target, answer.value)
                return
            if trouble and not before.failures:
                text = "%s: the annotation %s could not be renewed. This is tried again while the step lives. %s"
                self._messages.put(logging.WARNING, text, self._own.target, self._sign.key, trouble)
            elif before.failures and not pulse.failures:
                text = "%s: the annotation %s is renewed again."
                self._messages.put(logging.INFO, text, self._own.target, self._sign.key)

    def _beat(self) -> tuple[Answer, str]:
        """Renew once; return what that has shown, and what went wrong."""
        seconds = min(_CALL_SECONDS, max(_LEAST_CALL_SECONDS, self._interval_seconds))
        try:
            answer, self._sign = renew(self._api, self._own, self._sign, Deadline(seconds))
        except DagsterRayError as error:
            return Answer.UNKNOWN, str(error)
        except Exception as error:  # noqa: BLE001 - credentials, TLS and HTTP have errors of their own
            return Answer.UNKNOWN, type(error).__name__  # their texts may quote a token
        return answer, answer.value if answer is not Answer.RENEWED else ""


class _MessageThread:
    """Writes messages of another thread, which does not wait for that."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._queue: queue.SimpleQueue[tuple[int, str, tuple[object, ...]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="dagster-ray messages", daemon=True)
        self._thread.start()

    def put(self, level: int, text: str, *details: object) -> None:
        self._queue.put((level, text, details))

    def close(self, seconds: float) -> None:
        self._queue.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            level, text, details = message
            self._log.log(level, text, *details)

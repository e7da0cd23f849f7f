"""The shell around `WatchState`: one thread that reads, one queue that the caller waits at."""

# urllib3's responses come untyped from the Kubernetes client.
# pyright: reportUnknownMemberType=false

import contextlib
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.answers import Listing, is_transient
from dagster_ray.kuberay._kubernetes.errors import (
    KindNotInstalledError,
    KubernetesAnswerError,
    KubernetesError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.kinds import Kind
from dagster_ray.kuberay._kubernetes.watch import Pace, WatchEvent, WatchState, WatchUnavailableError

_LIST_SECONDS = 10.0
_JOIN_SECONDS = 2.0
_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Selection:
    """What is watched."""

    kind: Kind
    namespace: str
    label_selector: str | None
    field_selector: str | None
    list: Callable[[Deadline], Listing]
    """Returns all that is selected."""
    open: Callable[[Mapping[str, str]], Any]
    """Sends one watch request with a query; returns the open response of urllib3."""

    def query(self) -> dict[str, str]:
        """Return the selectors as parameters of a watch request."""
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {key: value for key, value in selectors.items() if value is not None}


def socket_of(response: Any) -> "socket.socket | None":
    """Return the socket of a response that is being read; None where urllib3 does not show it."""
    connection = getattr(response, "connection", None) or getattr(response, "_connection", None)
    return getattr(connection, "sock", None)


class WatchStream:
    """Events of some objects, one after the other, for as long as somebody wants them.

    While the API server is away, or answers with anything but a watch, the stream goes on trying, with a pause between
    attempts, until `close`; the caller sees no events meanwhile and decides by its own deadline how long to wait.
    """

    def __init__(
        self, selection: Selection, resource_version: str | None, known: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Start to watch, from a resourceVersion at which `known` existed, or by a list."""
        self._selection = selection
        self._state = WatchState(resource_version, known)
        self._queue: queue.SimpleQueue[WatchEvent | Exception] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._response: Any = None
        self._pace = Pace(random.Random())  # noqa: S311 - jitter, not a secret
        self._is_asking = self._is_open = False
        self._events = 0
        self._lasted_seconds = 0.0
        self.absence: UnavailableError | None = None
        """How the server has not answered since the last stream ended; None while one is open."""
        self._thread = threading.Thread(target=self._run, name="dagster-ray watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> "WatchStream":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether the server has accepted the watch, and it has not ended."""
        return self._is_open

    def next(self, timeout_seconds: float) -> WatchEvent | None:
        """Return the next event, or None if there is none within the timeout.

        Raises:
            KubernetesError: The API server refused the watch for good: rights, no such kind.
        """
        try:
            item = self._queue.get(timeout=timeout_seconds) if timeout_seconds > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            self._queue.put(item)  # the stream has ended; each further call says so
            raise item
        return item

    def close(self) -> None:
        """End the connection and the thread.

        A thread whose request has no answer yet cannot be woken. It is not waited for, and ends with the request,
        within some seconds.
        """
        self._closed.set()
        if self._cut():
            self._thread.join(_JOIN_SECONDS)

    def _cut(self) -> bool:
        """Wake a thread that reads; return whether it can end now. Closing a socket does not, shutting it down does."""
        if self._is_asking:
            return False
        sock = socket_of(self._response)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        return True

    def _run(self) -> None:
        while not self._closed.is_set():
            self._events, self._lasted_seconds, self._is_open, retry_after = 0, 0.0, False, None
            try:
                self._step()
            except UnavailableError as error:
                self._note_absence(error.status, error.message)
            except (KindNotInstalledError, KubernetesAnswerError) as error:  # of whatever stands before the server
                self._note_absence(error.status, error.message)
            except DagsterRayError as error:
                if not (isinstance(error, KubernetesError) and error.is_expired):
                    self._queue.put(error)
                    return
                self._state.ended(lost=True)
            except WatchUnavailableError as error:
                self._state.ended()
                self._note_absence(0, error.said)
                retry_after = error.retry_after
            except Exception as error:  # noqa: BLE001 - resets, timeouts, half answers have many names in urllib3, ssl
                self._state.ended()
                if not self._is_open or self._pace.useless_rounds:  # one stream that breaks is no silent server
                    self._note_absence(0, type(error).__name__)  # urllib3's texts have addresses of objects in them
            pause = self._pace.pause_seconds(
                events=self._events, lasted_seconds=self._lasted_seconds, retry_after=retry_after
            )
            self._closed.wait(pause)

    def _note_absence(self, status: int, said: str) -> None:
        times, chosen = self._pace.useless_rounds + 1, self._selection
        self.absence = UnavailableError("watch", chosen.kind.resource, chosen.namespace, None, status, said, times)

    def _step(self) -> None:
        """List, where that must come first, and watch once."""
        chosen = self._selection
        self._is_asking = True
        try:
            if self._state.version is None:
                found = chosen.list(Deadline(_LIST_SECONDS))
                # A page says nothing of the objects, least of all that they are gone.
                if not found.resource_version:
                    raise WatchUnavailableError("200, and no list")
                self._put(self._state.listed(found.items, found.resource_version))
            query = {**chosen.query(), "resourceVersion": self._state.version or ""}
            response = chosen.open(query)
            self._response = response
        finally:
            self._is_asking = False
        self.absence, self._is_open = None, True
        self._read(response)

    def _read(self, response: Any) -> None:
        """Read a stream to its end."""
        opened_at = time.monotonic()
        self._state.foreign = self._state.retry_after = None
        try:
            if self._closed.is_set():
                return
            for chunk in response.stream(_CHUNK_BYTES):
                self._put(self._state.fed(chunk))
                if self._closed.is_set():
                    return
        finally:
            self._lasted_seconds = time.monotonic() - opened_at
            self._response = None
            response.close()
            self._state.ended()
        self._judge()

    def _judge(self) -> None:
        """Raise if the stream that has ended was no watch, or was refused inside an answer 200."""
        refused, self._state.refused = self._state.refused, None
        if refused is not None and is_transient(refused[0]):
            raise WatchUnavailableError(f"{refused[0]} {refused[1]}", self._state.retry_after)
        if refused is not None:
            chosen = self._selection
            raise KubernetesError("watch", chosen.kind.resource, chosen.namespace, None, *refused)
        if self._state.foreign is not None and not self._events:
            raise WatchUnavailableError(f"200, and no watch but: {self._state.foreign}")

    def _put(self, events: list[WatchEvent]) -> None:
        self._events += len(events)
        for event in events:
            self._queue.put(event)

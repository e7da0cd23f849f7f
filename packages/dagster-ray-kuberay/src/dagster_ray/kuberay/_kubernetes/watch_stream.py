"""The shell around `WatchState`: one thread that reads, one queue that the caller waits at."""

# urllib3's responses come untyped from the Kubernetes client.
# pyright: reportUnknownMemberType=false

import contextlib
import queue
import random
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.answers import is_transient, retry_seconds
from dagster_ray.kuberay._kubernetes.errors import GoneError, KubernetesError, UnavailableError
from dagster_ray.kuberay._kubernetes.kinds import Kind
from dagster_ray.kuberay._kubernetes.watch import WatchEvent, WatchState

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_LIST_SECONDS = 30.0
_JOIN_SECONDS = 2.0
_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Selection:
    """What is watched."""

    kind: Kind
    namespace: str
    label_selector: str | None
    field_selector: str | None

    def query(self) -> dict[str, str]:
        """Return the selectors as parameters of a watch request."""
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {key: value for key, value in selectors.items() if value is not None}


class WatchStream:
    """Events of some objects, one after the other, for as long as somebody wants them.

    While the API server is away the stream goes on trying, with a pause between attempts, until `close`; the caller
    sees no events meanwhile and decides by its own deadline how long to wait.
    """

    def __init__(self, api: "KubernetesApi", selection: Selection, resource_version: str | None) -> None:
        """Start to watch, from a resourceVersion or by a list."""
        self._api, self._selection = api, selection
        self._state = WatchState(resource_version)
        self._queue: queue.SimpleQueue[WatchEvent | Exception] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._response: Any = None
        self.absence: UnavailableError | None = None
        """How the server has not answered since the last stream ended; None while one is open."""
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
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
        """End the connection and the thread."""
        self._closed.set()
        self._cut()
        self._thread.join(_JOIN_SECONDS)

    def _cut(self) -> None:
        """Wake a thread that reads. Closing a socket does not; shutting it down does."""
        response = self._response
        connection = getattr(response, "connection", None) or getattr(response, "_connection", None)
        sock = getattr(connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        attempt = 0
        while not self._closed.is_set():
            try:
                if self._step():
                    attempt = 0
                    continue
            except GoneError:
                self._state.ended(lost=True)
            except UnavailableError as error:
                self._note_absence(error.status, error.message)
            except DagsterRayError as error:
                self._queue.put(error)
                return
            except Exception as error:  # noqa: BLE001 - resets, timeouts, half answers have many names in urllib3, ssl
                self._state.ended()
                # The text of an OSError proper is an answer's; those of urllib3 have addresses of objects in them.
                self._note_absence(0, str(error) if type(error) is OSError else type(error).__name__)
            attempt += 1
            self._closed.wait(retry_seconds(attempt, None, self._rng))

    def _note_absence(self, status: int, said: str) -> None:
        times = 1 if self.absence is None else self.absence.attempts + 1
        chosen = self._selection
        self.absence = UnavailableError("watch", chosen.kind.resource, chosen.namespace, None, status, said, times)

    def _step(self) -> bool:
        """List or watch once; return whether the server did its part."""
        chosen = self._selection
        if self._state.version is None:
            found = self._api.list(
                chosen.kind,
                chosen.namespace,
                Deadline(_LIST_SECONDS),
                label_selector=chosen.label_selector,
                field_selector=chosen.field_selector,
            )
            self._put(self._state.listed(found.items, found.resource_version))
        response = self._api.open_watch(
            chosen.kind, chosen.namespace, {**chosen.query(), "resourceVersion": self._state.version or ""}
        )
        self.absence = None
        return self._read(response)

    def _read(self, response: Any) -> bool:
        """Read a stream to its end; return whether it brought anything."""
        self._response = response
        brought = False
        try:
            if self._closed.is_set():
                return True
            for chunk in response.stream(_CHUNK_BYTES):
                brought = True
                self._put(self._state.fed(chunk))
                if self._closed.is_set():
                    return True
        finally:
            self._response = None
            response.close()
            self._state.ended()
        refused, self._state.refused = self._state.refused, None
        if refused is not None and not is_transient(refused[0]):
            chosen = self._selection
            raise KubernetesError("watch", chosen.kind.resource, chosen.namespace, None, *refused)
        return brought and refused is None

    def _put(self, events: list[WatchEvent]) -> None:
        for event in events:
            self._queue.put(event)

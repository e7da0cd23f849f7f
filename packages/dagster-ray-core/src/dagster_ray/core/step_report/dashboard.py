"""Asks Ray's dashboard for JSON, over one connection that is kept, in a thread that nobody has to wait for."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import cast
from urllib.parse import urlsplit

from typing_extensions import Protocol

from dagster_ray.core._bounded_sockets import SocketLimit, watched
from dagster_ray.core._deadline import Deadline

DashboardPlace = Callable[[], tuple[str | None, str | None]]
"""Returns the dashboard's URL and Ray's token as they are now; None for what there is not."""

ANSWER_SECONDS = 2.0
"""Longest wait for a part of an answer."""
_LIMIT_BYTES = 32 * 1024 * 1024


class JsonReader(Protocol):
    """Reads what a dashboard answers, in one thread at a time."""

    def get(self, path: str, timeout_seconds: float) -> object:
        """Return the JSON at a path; None if there is none.

        Args:
            path: The path, with its query.
            timeout_seconds: Longest wait for a part of the answer.
        """
        ...

    def close(self) -> None:
        """Close the connection; the next question opens another one."""
        ...


class DashboardReader:
    """Reads what a dashboard answers. Its answers are extras of a step: one that fails is None.

    Proxies of the environment are not used: the address is one of the cluster, or of this machine.
    Belongs to one thread at a time.
    """

    def __init__(self, place: DashboardPlace) -> None:
        """Connect to nothing yet.

        Args:
            place: Returns the dashboard's URL and Ray's token as they are now; None for what there is not.
        """
        self._place = place
        self._open: tuple[str, http.client.HTTPConnection] | None = None

    def get(self, path: str, timeout_seconds: float) -> object:
        """Return the JSON at a path; None if there is no dashboard, or it does not answer with JSON.

        Args:
            path: The path, with its query.
            timeout_seconds: Longest wait for connecting, for the head of the answer, and for its body.
        """
        url, token = self._place()
        if not url:
            return None
        if self._open is None or self._open[0] != url:
            self.close()
        was_open = self._open is not None
        try:
            return self._answer(url, token, path, timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not was_open or isinstance(error, TimeoutError):
                return None
        try:  # a connection that was kept may have been closed meanwhile
            return self._answer(url, token, path, timeout_seconds)
        except (OSError, http.client.HTTPException):
            self.close()
            return None

    def _answer(self, url: str, token: str | None, path: str, timeout_seconds: float) -> object:
        connection = self._connection(url, timeout_seconds)
        if connection.sock is None:
            connection.connect()
        # The connection forgets it if the answer says that it is the last one.
        opened = cast("socket.socket", connection.sock)
        with SocketLimit(timeout_seconds):
            watched(opened)
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
        with SocketLimit(timeout_seconds):
            watched(opened)
            body = response.read(_LIMIT_BYTES + 1)
        if response.status != http.client.OK or len(body) > _LIMIT_BYTES:
            self.close()
            return None
        try:
            return cast("object", json.loads(body))
        except (ValueError, RecursionError):
            return None

    def _connection(self, url: str, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._open is None:
            parts = urlsplit(url)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._open = url, kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
        connection = self._open[1]
        connection.timeout = timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        return connection

    def close(self) -> None:
        """Close the connection."""
        opened, self._open = self._open, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened[1].close()


class DashboardThread:
    """Asks in a thread of its own from time to time, and once more when it is told to.

    A timeout of a socket does not bound the lookup of a name, and each of several answers may take as long. So whoever
    ends a step waits for the thread instead, until a deadline, and a thread that is late ends by itself.
    """

    def __init__(
        self, name: str, reader: JsonReader, ask: Callable[[JsonReader], None], pauses_seconds: Iterable[float]
    ) -> None:
        """Start.

        Args:
            name: The thread's name.
            reader: Reads the dashboard; the thread closes it.
            ask: Asks, and keeps what it finds. It may raise, and then it has found nothing.
            pauses_seconds: Seconds before each question.
        """
        self._reader, self._ask, self._pauses = reader, ask, pauses_seconds
        self._wanted, self._answered, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask_now(self, deadline: Deadline) -> bool:
        """Ask once more, and return whether that was done before the deadline. After it, nothing is asked."""
        if deadline.is_over():
            return False
        self._answered.clear()
        self._wanted.set()
        return self._answered.wait(deadline.remaining_seconds())

    def close(self, deadline: Deadline) -> None:
        """End the thread; a question that is under way is waited for until the deadline."""
        self._closed.set()
        self._wanted.set()
        self._thread.join(deadline.remaining_seconds())

    def _run(self) -> None:
        reader = self._reader
        for pause in self._pauses:
            is_wanted = self._wanted.wait(pause)
            if self._closed.is_set():
                break
            if is_wanted:
                self._wanted.clear()
            try:
                self._ask(reader)
            except Exception:  # noqa: BLE001 - whatever answers: it is an extra of the step, and the next one may be read
                reader.close()
            if is_wanted:
                self._answered.set()
        reader.close()

"""Where a file of Ray's log folder is read from, by byte position.

Measured with Ray 2.60: the websocket of `/api/jobs/<id>/logs/tail` loses data silently, so it is not used at all. The
agent of the node serves its log folder with HTTP ranges; the dashboard streams a file from its beginning, until it
cuts the stream after 300 s, or hands it out whole.
"""

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import Protocol

from dagster_ray.core import Deadline
from dagster_ray.pipes._job_answers import excerpt
from dagster_ray.pipes._job_server import JobServer, has_no_length

if TYPE_CHECKING:
    import requests

_MISSING = (b"not found", b"Not Found", b"No such file")
_PIECE_BYTES = 2**16
_BUFFER_BYTES = 8 * 2**20
_STREAM_SECONDS = 290.0  # the dashboard cuts it after 300 s
_MISSING_SECONDS = 1.0
_CALL_SECONDS = 10.0
_SLOWEST_BYTES = 2**18
"""In a second, of what is skipped: a server that is slower than this is one that sends a byte now and then."""
_JOIN_SECONDS = 5.0


class SourceUnavailableError(Exception):
    """The file cannot be read here now; another place, or another time, may do."""


class Source(Protocol):
    """A place where one file can be read."""

    def read(self, position: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `position` on; nothing if there are no more now, or no file yet.

        Raises:
            SourceUnavailableError: The place does not answer.
        """
        ...

    def close(self) -> None:
        """End connections and threads."""
        ...


class Pieces:
    """The body of an answer as it arrives, from some byte on. What came before a connection broke is not lost."""

    def __init__(self, response: "requests.Response", skip: int = 0) -> None:
        """Take an answer whose body is not read yet, and how many bytes of it are not wanted."""
        self._response, self._skip, self._is_empty = response, skip, True
        self.skip_seconds = skip / _SLOWEST_BYTES
        """What skipping may take."""
        self.broken = False
        """Whether the body has broken off, so that its end is not the file's."""

    def next(self, most: int = _PIECE_BYTES, deadline: Deadline | None = None) -> bytes:
        """Return the next bytes, up to `most`; nothing at the end, or where the connection has broken.

        It counts as broken if nothing that is wanted has come by the deadline.
        """
        while piece := self._read(min(_PIECE_BYTES, self._skip + most)):
            wanted, self._skip = piece[self._skip :], max(0, self._skip - len(piece))
            if wanted:
                return wanted
            if deadline is not None and deadline.is_over():
                self.broken = True
                break
        return b""

    def _read(self, most: int) -> bytes:
        try:
            data = self._response.raw.read1(most) or b""
        except Exception:  # noqa: BLE001 - urllib3, http.client and ssl each have their own; all mean a break
            self.broken = True
            return b""
        self._is_empty = self._is_empty and not data
        self.broken = self._is_empty and has_no_length(self._response)
        return data

    def close(self) -> None:
        """Close the connection; a thread that waits for bytes wakes up."""
        with contextlib.suppress(Exception):  # it is closed already, or not connected
            self._response.raw.shutdown()
        self._response.close()


class AgentSource:
    """HTTP ranges of the log folder that a node's agent serves (ray/dashboard/modules/log/log_agent.py)."""

    def __init__(self, server: JobServer, name: str) -> None:
        """Take the agent as a server, and the file's name."""
        self._server, self._name = server, name

    def read(self, position: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `position` on."""
        import requests

        url = f"{self._server.address}/logs/{self._name}"
        try:
            response = self._server.open(
                "GET", url, _CALL_SECONDS, headers={"Range": f"bytes={position}-{position + limit - 1}"}
            )
        except requests.RequestException as error:
            raise SourceUnavailableError(f"the agent: {type(error).__name__}") from error
        with response:
            if response.status_code in {404, 416}:
                return b""
            if response.status_code not in {200, 206}:
                raise SourceUnavailableError(f"the agent answered {response.status_code}")
            whole = response.status_code == 200
            pieces = Pieces(response, skip=position if whole else 0)
            data = _gathered(pieces, limit)
            # A range that is served is never empty, and a body of known length that breaks off raises nothing.
            if not data and (pieces.broken or not whole or position == 0):
                raise SourceUnavailableError("the agent's answer broke off")
            return data

    def close(self) -> None:
        """Close the agent's connections."""
        self._server.close()


def _gathered(pieces: Pieces, limit: int) -> bytes:
    """Return the next bytes, up to `limit`, as far as they arrive within some seconds after those that are skipped."""
    found, deadline = bytearray(), Deadline(_CALL_SECONDS + pieces.skip_seconds)
    while len(found) < limit and (piece := pieces.next(limit - len(found), deadline)):
        found += piece
        if deadline.is_over():
            break
    return bytes(found)


class WholeFileSource:
    """`/api/v0/logs/file` of the dashboard: the whole file, as it is now.

    The answer stays open while it is read from one position to the next, so that a long file crosses the network once.
    """

    def __init__(self, server: JobServer, node_id: str, name: str) -> None:
        """Take the dashboard as a server, the node and the file's name."""
        self._server = server
        self._params = {"node_id": node_id, "filename": name, "lines": "-1"}
        self._open: tuple[int, Pieces] | None = None

    def read(self, position: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `position` on."""
        if self._open is None or self._open[0] != position:
            self._open_at(position)
        if self._open is None:
            return b""
        pieces = self._open[1]
        data = _gathered(pieces, limit)
        if not data:
            self.close()
            if pieces.broken:
                raise SourceUnavailableError("the dashboard's answer broke off")
            return b""
        self._open = (position + len(data), pieces)
        return data

    def _open_at(self, position: int) -> None:
        self.close()
        response = _logs(self._server, "file", self._params, _CALL_SECONDS)
        if response is not None:
            self._open = (position, Pieces(response, skip=position))

    def close(self) -> None:
        """Close the answer that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


class StreamSource:
    """`/api/v0/logs/stream` of the dashboard, read by a thread. Each connection begins at the file's beginning.

    What is before the wanted position is skipped, so a connection that is cut costs bytes, and loses none.
    """

    def __init__(self, server: JobServer, node_id: str, name: str) -> None:
        """Take the dashboard as a server, the node and the file's name."""
        self._server = server
        self._params = {"node_id": node_id, "filename": name, "lines": "-1", "interval": "0.1"}
        self._changed = threading.Condition()
        self._pieces: Pieces | None = None
        self._thread: threading.Thread | None = None
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._begin = 0
        self._ended = True
        self._not_before = 0.0

    def read(self, position: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `position` on, of what has arrived."""
        with self._changed:
            stale = self._begin != position or (self._ended and not self._buffer)
            if stale and time.monotonic() >= self._not_before:
                self._restart(position)
            elif self._begin != position:
                return b""
            found = bytearray()
            while self._buffer and len(found) < limit:
                piece = self._buffer.popleft()
                room = limit - len(found)
                found += piece[:room]
                if piece[room:]:
                    self._buffer.appendleft(piece[room:])
            self._buffered -= len(found)
            self._begin += len(found)
            self._changed.notify_all()
            return bytes(found)

    def _restart(self, position: int) -> None:
        self._stop()
        self._buffer.clear()
        self._buffered, self._begin = 0, position
        self._not_before = time.monotonic() + _MISSING_SECONDS
        response = _logs(self._server, "stream", self._params, _STREAM_SECONDS)
        if response is None:
            return
        self._pieces, self._ended = Pieces(response, skip=position), False
        self._thread = threading.Thread(target=self._fill, args=(self._pieces,), name="ray job log stream", daemon=True)
        self._thread.start()

    def _fill(self, pieces: Pieces) -> None:
        try:
            while piece := pieces.next():
                with self._changed:
                    self._changed.wait_for(lambda: self._buffered < _BUFFER_BYTES or self._pieces is not pieces)
                    if self._pieces is not pieces:
                        return
                    self._buffer.append(piece)
                    self._buffered += len(piece)
        finally:  # however it ended: only an end that is seen is followed by another connection
            with self._changed:
                if self._pieces is pieces:
                    self._ended = True

    def _stop(self) -> None:
        pieces, self._pieces, self._ended = self._pieces, None, True
        thread, self._thread = self._thread, None
        if pieces is not None:
            pieces.close()
        if thread is not None:
            self._changed.notify_all()
            self._changed.release()  # the thread needs it to see that it is over
            try:
                thread.join(_JOIN_SECONDS)
            finally:
                self._changed.acquire()

    def close(self) -> None:
        """End the thread and its connection."""
        with self._changed:
            self._stop()


def _logs(server: JobServer, kind: str, params: dict[str, str], seconds: float) -> "requests.Response | None":
    """Return an answer of the dashboard's log API whose body follows; None if there is no such file yet."""
    import requests

    try:
        response = server.open("GET", f"{server.address}/api/v0/logs/{kind}", seconds, params=params)
    except requests.RequestException as error:
        raise SourceUnavailableError(f"the dashboard: {type(error).__name__}") from error
    if response.status_code == 200:
        return response
    with response:
        body = _gathered(Pieces(response), _PIECE_BYTES)
    if response.status_code == 500 and any(text in body for text in _MISSING):
        return None
    raise SourceUnavailableError(f"the dashboard answered {response.status_code} {excerpt(body)}")

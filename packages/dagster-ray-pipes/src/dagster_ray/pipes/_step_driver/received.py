"""Lines of the worker's file on their way from the thread that reads it to the step's own thread."""

import threading
from collections import deque

from dagster_ray.core.cluster_step.lines import Line, read
from dagster_ray.pipes._cursor import LineCursor

_WAITING_BYTES = 32 * 2**20
"""The step's thread stores each event in Dagster's database, which is slower than a worker that logs in a loop."""


class ReceivedLines:
    """A sink of the worker's file: whole lines, each once and in order. The reading waits while too many are here."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._cursor = LineCursor()
        self._changed = threading.Condition()
        self._lines: deque[tuple[Line, int]] = deque()
        self._bytes = 0
        self._closed = False
        self.broken: str | None = None
        """What is wrong with the file, as soon as a line is not the next one."""
        self._next = 0

    @property
    def position(self) -> int:
        """The next byte of the file that is wanted."""
        return self._cursor.position

    def take(self, data: bytes) -> None:
        """Take the bytes at `position`; waits while the step's thread is far behind."""
        self._cursor, lines = self._cursor.feed(data)
        for text in lines:
            self._put(text)

    def end(self) -> None:
        """Take note that nothing follows. A line without an end was cut when its writer died."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Take nothing more, so that a reading that waits goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until there is a line, or for some seconds. Interruptible."""
        with self._changed:
            if not self._lines:
                self._changed.wait(seconds)

    def next(self) -> Line | None:
        """Return the next line that is here; None if there is none now."""
        with self._changed:
            if not self._lines:
                return None
            line, size = self._lines.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return line

    def _put(self, text: bytes) -> None:
        line = read(text)
        with self._changed:
            if line is None or line.number != self._next:
                found = "is not one of them" if line is None else f"has the number {line.number}"
                self.broken = self.broken or f"the line after {self._next} others {found}"
                return
            self._next += 1
            self._changed.wait_for(lambda: self._closed or self._bytes < _WAITING_BYTES)
            if not self._closed:
                self._lines.append((line, len(text)))
                self._bytes += len(text)
                self._changed.notify_all()

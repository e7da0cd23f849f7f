"""The lines that show in the run's log that Ray is still starting: `ray.init` says nothing while it blocks."""

import logging
import threading
import time
from collections.abc import Callable

from dagster_ray.core import WaitLines


def write_lines(
    log: logging.Logger, what: str, is_over: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
) -> None:
    """Write a line from time to time, until the start is over.

    Args:
        log: Where the lines go.
        what: What is starting.
        is_over: Waits for so many seconds; returns whether the start is over.
        clock: Source of monotonic seconds.
    """
    lines, begun = WaitLines(), clock()
    lines.due(what, 0.0)  # the first line is that of the phase
    while not is_over(lines.seconds_to_next(clock() - begun)):
        waited = clock() - begun
        if lines.due(what, waited) is not None:
            log.info("%s has been starting for %d s.", what, waited)


class StartLines:
    """A thread that writes these lines, from `begin` until `end`."""

    def __init__(self) -> None:
        """Begin with nothing to write."""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, log: logging.Logger, what: str) -> None:
        """Start to write.

        Args:
            log: Where the lines go; a logger that never raises, which would end the thread.
            what: What is starting.
        """
        self._thread = threading.Thread(
            target=write_lines, args=(log, what, self._over.wait), name="dagster-ray start", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Stop. Does nothing if nothing was begun, or it was stopped already."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

"""Minutes that pass in a second: for outages that last longer than a test may."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from dagster_ray.core import Deadline

_STEPS, _EVERY_SECONDS = 40, 0.02
_SKIP_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0


class AcceleratedTime:
    """The clock of a process. Who sleeps by a `Deadline` lets its seconds pass at once, and `skip` lets others pass.

    Threads that wait for an event or an answer do so in real time, so whatever has a period goes on working.
    """

    def __init__(self) -> None:
        self._real, self._skipped, self._lock = time.monotonic, 0.0, threading.Lock()

    def monotonic(self) -> float:
        return self._real() + self._skipped

    def utc(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._skipped)

    def skip(self, seconds: float) -> None:
        with self._lock:
            self._skipped += seconds

    def sleep(self, seconds: float) -> None:
        self.skip(seconds)
        threading.Event().wait(0.001)  # others get a turn

    def pass_by(self, seconds: float) -> None:
        """Let seconds pass within one, little by little, so that everybody acts meanwhile."""
        end = self.monotonic() + seconds
        while self.monotonic() < end:
            self.skip(seconds / _STEPS)
            threading.Event().wait(_EVERY_SECONDS)

    @contextmanager
    def passing(self) -> Generator[None]:
        """Let time pass quickly in the block, whatever it does."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(_EVERY_SECONDS):
                self.skip(_SKIP_SECONDS)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def until(self, found: Callable[[], object], what: str) -> None:
        """Return when something is so, in real time."""
        end, pause = self._real() + _PATIENCE_SECONDS, threading.Event()
        while not found():
            assert self._real() < end, what
            pause.wait(0.02)


@contextmanager
def accelerated(patch: pytest.MonkeyPatch) -> Generator[AcceleratedTime]:
    """Give this process an accelerated clock, as `time.monotonic` and for each `Deadline` that is made."""
    clock = AcceleratedTime()
    patch.setattr(time, "monotonic", clock.monotonic)
    patch.setattr(Deadline.__init__, "__defaults__", (clock.monotonic, clock.sleep))
    yield clock

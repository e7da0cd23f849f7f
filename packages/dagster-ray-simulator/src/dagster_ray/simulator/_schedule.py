"""Work that falls due: keys with a time, and a thread that does each when its time has come."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Generic, TypeVar

Key = TypeVar("Key")
_log = logging.getLogger(__name__)
_LONGEST_WAIT = 60.0


class Schedule(Generic[Key]):
    """Keys and when each is due, as the work queue of a controller keeps them. Safe between threads.

    A key can wait once for now and once for later; of two later times the earlier counts.

    Args:
        now: The clock: returns an aware time.
        keeps_later: Whether a key that was done now is still done at its later time.
    """

    def __init__(self, now: Callable[[], datetime], *, keeps_later: bool = False) -> None:
        self._now = now
        self._keeps_later = keeps_later
        self._due: dict[tuple[Key, bool], datetime] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._frozen = False

    def add(self, key: Key, at: datetime | None = None) -> None:
        """Make a key due at a time; None means now."""
        with self._changed:
            due = self._now() if at is None else at
            entry = (key, at is not None)
            known = self._due.get(entry)
            if known is None or due < known:
                self._due[entry] = due
                self._changed.notify_all()

    def drop(self, key: Key) -> None:
        """Forget a key."""
        with self._changed:
            self._due.pop((key, False), None)
            self._due.pop((key, True), None)

    def pop(self) -> Key | None:
        """Take the key that has been due longest; None when none is due now, or while frozen."""
        with self._changed:
            if self._frozen or not self._due:
                return None
            entry = min(self._due, key=self._due.__getitem__)
            if self._due[entry] > self._now():
                return None
            del self._due[entry]
            if not self._keeps_later:
                self._due.pop((entry[0], True), None)
            return entry[0]

    def next_due(self) -> datetime | None:
        """When the next key is due; None when there is none, or while frozen."""
        with self._changed:
            return None if self._frozen or not self._due else min(self._due.values())

    def freeze(self, *, frozen: bool) -> None:
        """Hold everything back, or let it go on; what falls due meanwhile is done afterwards."""
        with self._changed:
            self._frozen = frozen
            self._changed.notify_all()

    def close(self) -> None:
        """Let `wait` return False from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait until a key is due; False when the schedule was closed."""
        with self._changed:
            while not self._closed:
                seconds = _LONGEST_WAIT
                if self._due and not self._frozen:
                    seconds = (min(self._due.values()) - self._now()).total_seconds()
                    if seconds <= 0:
                        return True
                self._changed.wait(min(seconds, _LONGEST_WAIT))
            return False


class ScheduleThread(Generic[Key]):
    """A thread that does what falls due.

    Args:
        schedule: The keys.
        work: Does one key. An exception is logged with its traceback and ends only this piece of work.
        name: The thread's name.
    """

    def __init__(self, schedule: Schedule[Key], work: Callable[[Key], None], name: str) -> None:
        self.schedule = schedule
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the piece of work that it is doing."""
        self.schedule.close()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def run_one(self) -> bool:
        """Do one piece of work that is due now, in the caller's thread; whether there was one."""
        key = self.schedule.pop()
        if key is None:
            return False
        self._work(key)
        return True

    def _run(self) -> None:
        while self.schedule.wait():
            key = self.schedule.pop()
            if key is None:
                continue
            try:
                self._work(key)
            except Exception:  # noqa: BLE001 - one object must not end the loop for all
                _log.exception("The simulator could not handle %s", key)

"""When a wait writes a line to the log. Pure."""

from typing import Literal, TypeAlias

Line: TypeAlias = Literal["moved", "still"]

_OFTEN_SECONDS, _OFTEN_UNTIL_SECONDS, _SELDOM_SECONDS = 30.0, 300.0, 600.0


class WaitLines:
    """Decides when a wait writes a line: when something moves, and otherwise from time to time.

    After a line, the next one comes as soon as something moves. If nothing does, it comes after 30 s during the first
    five minutes of the wait, and after 10 minutes from then on. Times are seconds since the wait began.
    """

    def __init__(self) -> None:
        """Begin: the first line is due at once."""
        self._topic: str | None = None
        self._written_at = 0.0

    def due(self, topic: str, waited_seconds: float) -> Line | None:
        """Return whether a line is due now, and count it as written.

        Args:
            topic: What the wait is about now; another one than before is a move.
            waited_seconds: For how long the wait lasts.

        Returns:
            `moved` for a line about something new, `still` for one that repeats what is waited for, None for neither.
        """
        if topic == self._topic and waited_seconds < self._due_at:
            return None
        line: Line = "still" if topic == self._topic else "moved"
        self._topic, self._written_at = topic, waited_seconds
        return line

    def seconds_to_next(self, waited_seconds: float) -> float:
        """Return how long nothing needs to be written if nothing moves, in seconds; never below zero."""
        return 0.0 if self._topic is None else max(0.0, self._due_at - waited_seconds)

    @property
    def _due_at(self) -> float:
        pause = _OFTEN_SECONDS if self._written_at < _OFTEN_UNTIL_SECONDS else _SELDOM_SECONDS
        return self._written_at + pause

"""The API server's clock, as its answers tell it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


class ServerClock:
    """The time of the last answer, and the seconds that have passed here since.

    The header `Date` has whole seconds and is written before the answer arrives, so that the time which is told here is
    never ahead of the server's. Safe for threads.

    Args:
        monotonic: Source of monotonic seconds. Tests pass their own.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet."""
        self._monotonic = monotonic
        self._heard: tuple[datetime, float] | None = None

    def heard(self, date: str | None) -> None:
        """Take in the header `Date` of an answer; one that is missing or unreadable tells nothing."""
        if date is None:
            return
        try:
            at = parsedate_to_datetime(date)
        except (TypeError, ValueError):
            return
        self._heard = (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), self._monotonic())

    def now(self) -> datetime | None:
        """Return the server's time; None before the first answer."""
        if self._heard is None:
            return None
        at, since = self._heard
        return at + timedelta(seconds=self._monotonic() - since)

"""The one clock of a resource: a budget of seconds, and the only place that sleeps."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SleepFunction = Callable[[float], None]


@dataclass(slots=True)
class Deadline:
    """A budget of seconds that several phases spend together.

    The clock is monotonic. It runs from construction; `pause` stops it while user code runs between
    two phases and `resume` lets it go on.

    Args:
        budget_seconds: Seconds that all phases have together.
        clock: Source of monotonic seconds. Tests pass their own.
        sleeper: What `sleep` calls. Tests pass their own.
    """

    budget_seconds: float
    clock: Callable[[], float] = time.monotonic
    sleeper: SleepFunction = time.sleep  # noqa: TID251 - the one place
    _spent_seconds: float = field(default=0.0, init=False)
    _running_since: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._running_since = self.clock()

    def spent_seconds(self) -> float:
        """Return how much of the budget is gone, in seconds."""
        running = 0.0 if self._running_since is None else self.clock() - self._running_since
        return self._spent_seconds + running

    def remaining_seconds(self) -> float:
        """Return how much of the budget is left, in seconds; never below zero."""
        return max(0.0, self.budget_seconds - self.spent_seconds())

    def is_over(self) -> bool:
        """Return whether the budget is spent."""
        return self.remaining_seconds() <= 0

    def pause(self) -> None:
        """Stop the clock. Does nothing if it stands already."""
        self._spent_seconds, self._running_since = self.spent_seconds(), None

    def resume(self) -> None:
        """Let the clock go on. Does nothing if it runs already."""
        if self._running_since is None:
            self._running_since = self.clock()

    def sleep(self, seconds: float) -> bool:
        """Sleep for `seconds` or until the deadline, whichever is first.

        Returns:
            Whether there is time left afterwards.
        """
        remaining = self.remaining_seconds()
        if remaining > 0:
            self.sleeper(min(seconds, remaining))
        return not self.is_over()


def jittered_delays(
    *, first_seconds: float = 0.1, cap_seconds: float = 2.0, rng: random.Random | None = None
) -> Iterator[float]:
    """Yield how long to sleep before each further attempt, without end.

    The n-th delay is uniform between half of and the whole of `min(cap_seconds, first_seconds * 2**n)`:
    steps that lost one cluster together do not all come back in the same instant.

    Args:
        first_seconds: Upper bound of the first delay, in seconds.
        cap_seconds: Upper bound of every delay, in seconds.
        rng: Source of the jitter. Tests pass a seeded one.
    """
    source = rng or random.Random()  # noqa: S311 - jitter, not a secret
    bound = first_seconds
    while True:
        yield source.uniform(bound / 2, bound)
        bound = min(cap_seconds, bound * 2)

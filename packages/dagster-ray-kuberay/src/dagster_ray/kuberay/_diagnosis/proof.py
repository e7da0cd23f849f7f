"""How often and how long a situation must be seen before it is called fatal. Pure.

Kubernetes retries: a kubelet its pulls and restarts, KubeRay's operator its creations (after 5 ms, doubled each time).
So a situation that looks final at first sight often passes. Giving up too early costs a healthy step; giving up late
costs some minutes.
"""

from dataclasses import dataclass
from typing import TypeAlias

Seconds: TypeAlias = float
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a situation does not pass: it lasts, or whoever tries has failed often enough."""

    seconds: float = 0.0
    """For how long it is seen without a break."""
    attempts: int | None = None
    """How many failed attempts are a proof, however soon they come; None where nobody counts them."""
    of_what: str = ""
    """What these attempts are, in the plural."""

    @property
    def words(self) -> str:
        """When it is called fatal, as the end of a sentence."""
        if self.seconds == 0:
            return "at once"
        lasts = f"{self.seconds:g} s" if self.seconds < _MINUTE else _minutes(self.seconds)
        counted = "" if self.attempts is None else f"after {self.attempts} {self.of_what}, or "
        return f"{counted}once it has lasted {lasts}"


AT_ONCE = Proof()
"""What nobody tries again."""


def _minutes(seconds: float) -> str:
    minutes = seconds / _MINUTE
    return "one minute" if minutes == 1 else f"{minutes:g} minutes"


class Suspicion:
    """For how long one situation that may be fatal has been seen."""

    def __init__(self) -> None:
        """Suspect nothing."""
        self._code: str | None = None
        self._since: Seconds = 0.0

    def seen(self, code: str | None, at_seconds: Seconds) -> Seconds:
        """Take in what is seen now; return for how long it has been without a break.

        Args:
            code: A situation that is fatal if it lasts; None if there is none now.
            at_seconds: The time.
        """
        if code != self._code:
            self._code, self._since = code, at_seconds
        return at_seconds - self._since


def is_proven(proof: Proof, *, seconds: Seconds, attempts: int) -> bool:
    """Return whether a situation has been seen for long enough, or has failed often enough."""
    return seconds >= proof.seconds or (proof.attempts is not None and attempts >= proof.attempts)

"""What the answers to a heartbeat mean: whether it goes on, and when it is tried again. Pure.

Only proof ends it: a heartbeat that stops by mistake costs a live step its cluster, one that goes on costs a request.
"""

import random
from dataclasses import dataclass
from enum import Enum

from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at
from dagster_ray.kuberay._status.cluster_state import Created

_FIRST_SECONDS = 1.0
_CAP_SECONDS = 30.0
_JITTER = 0.1
_NOT_FOUND_LIMIT = 2


class Answer(Enum):
    """What one renewal has shown."""

    RENEWED = "the object has the annotation as it was written"
    GOING = "the object is being deleted"
    REPLACED = "another object has its name"
    NOT_FOUND = "the API server does not know the object"
    UNKNOWN = "anything else, which says nothing of the object"


def answer_of(answer: Manifest, own: Created, key: str, text: str) -> Answer:
    """Return what the answer to a patch shows; one that does not show our object with our annotation shows nothing."""
    metadata = answer.get("metadata")
    if at(metadata, "uid") != own.uid:
        return Answer.UNKNOWN
    if at(metadata, "deletionTimestamp"):
        return Answer.GOING
    return Answer.RENEWED if at(metadata, "annotations", key) == text else Answer.UNKNOWN


def answer_of_error(error: Exception) -> Answer:
    """Return what an error of a patch shows."""
    if not proves_gone(error):
        return Answer.UNKNOWN
    return Answer.NOT_FOUND if isinstance(error, NotFoundError) else Answer.REPLACED


@dataclass(frozen=True, slots=True)
class Pulse:
    """How a heartbeat stands.

    Attributes:
        last: What the last renewal has shown.
        failures: How many renewals in a row have failed.
        not_found: How many of these did not find the object.
    """

    last: Answer = Answer.RENEWED
    failures: int = 0
    not_found: int = 0

    def after(self, answer: Answer) -> "Pulse":
        """Return how it stands after another renewal."""
        if answer is Answer.RENEWED:
            return Pulse()
        return Pulse(answer, self.failures + 1, self.not_found + (answer is Answer.NOT_FOUND))

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to renew. A single 404 may come from a server that has just been restored."""
        return self.last in {Answer.GOING, Answer.REPLACED} or self.not_found >= _NOT_FOUND_LIMIT

    def pause_seconds(self, interval_seconds: float, rng: random.Random) -> float:
        """Return how long to wait before the next renewal: never longer than the interval.

        Args:
            interval_seconds: The time between renewals that succeed.
            rng: Source of the jitter, which keeps many steps from coming in the same instant.
        """
        if not self.failures:
            return interval_seconds * rng.uniform(1 - _JITTER, 1)
        bound = min(interval_seconds, _CAP_SECONDS, _FIRST_SECONDS * 2 ** min(self.failures - 1, 10))
        return rng.uniform(bound / 2, bound)

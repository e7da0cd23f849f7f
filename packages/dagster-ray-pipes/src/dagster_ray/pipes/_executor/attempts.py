"""Which attempts of its steps the event log of a run knows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class StepEvent:
    """What an event says of an attempt of a step.

    Attributes:
        kind: starting: the executor submits a job for the step. ended: the worker has written how the attempt ended.
            unprepared: the worker has written that the attempt's resources failed, which no retry or failure follows
            by itself.
        step_key: The step.
        submission_id: The job, of a `starting`.
    """

    kind: Literal["starting", "ended", "unprepared"]
    step_key: str
    submission_id: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt of a step that was submitted.

    Attributes:
        number: How many there were before it in the run.
        submission_id: Its job.
        has_ended: Whether the log has the event that ends it.
        is_unprepared: Whether that event is of its resources: an executor makes a failure or a retry of it.
    """

    number: int
    submission_id: str
    has_ended: bool = False
    is_unprepared: bool = False


def attempts_of(events: Iterable[StepEvent]) -> Mapping[str, Attempt]:
    """Return the last attempt of each step, given the events of a run, oldest first."""
    found: dict[str, Attempt] = {}
    for event in events:
        before = found.get(event.step_key)
        if event.kind == "starting":
            found[event.step_key] = Attempt(0 if before is None else before.number + 1, event.submission_id)
        elif before is not None:
            found[event.step_key] = replace(before, has_ended=True, is_unprepared=event.kind == "unprepared")
    return found

"""Which phases run, and what the end of a step means for the cluster. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

CleanupPolicy: TypeAlias = Literal["always", "on_exception", "never"]


class Phase(StrEnum):
    """The phases of a cluster's life, in their order."""

    CREATE = "create"
    WAIT = "wait"
    CONNECT = "connect"


class StepOutcome(StrEnum):
    """How the work that used the cluster ended.

    The values are words for people: they appear in logs and in hooks.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY_REQUESTED = "retry requested"
    INTERRUPTED = "interrupted"
    SETUP_FAILED = "set-up failed"
    UNKNOWN = "unknown"
    """The event log does not tell, or could not be read."""


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One event of a run that starts, restarts or ends a step."""

    step_key: str
    type: str
    """Dagster's event type, for example `STEP_SUCCESS`."""


def phases_of_setup(*, create: bool, wait: bool, connect: bool) -> tuple[Phase, ...]:
    """Return the phases that run before the step, in order.

    A phase needs the one before it, so the first that is switched off ends the list: it and all
    later ones are left to the user's code.
    """
    phases: list[Phase] = []
    for phase, on in ((Phase.CREATE, create), (Phase.WAIT, wait), (Phase.CONNECT, connect)):
        if not on:
            break
        phases.append(phase)
    return tuple(phases)


def deletes(cleanup: CleanupPolicy, outcome: StepOutcome) -> bool:
    """Return whether a cluster that the resource made is deleted after `outcome`.

    With `on_exception` everything but a known success deletes: the step that made the cluster is
    over, and a cluster that nobody uses costs money.
    """
    match cleanup:
        case "always":
            return True
        case "never":
            return False
        case "on_exception":
            return outcome is not StepOutcome.SUCCEEDED


def outcome_of_events(events: Sequence[StepEvent], step_key: str | None) -> StepOutcome:
    """Return how the step `step_key` ended, or all steps of the run if it is None.

    Only the last event of each step counts: a step that failed, was retried and then succeeded has
    succeeded. In the in-process executor one resource serves all steps of a run, so `step_key` is
    None there and one failed step makes the outcome a failure. A step that started and has no end, or
    no step at all (another resource failed to start), is not a success.
    """
    last: dict[str, str] = {}
    for event in events:
        if step_key is None or event.step_key == step_key:
            last[event.step_key] = event.type
    ends = set(last.values())
    if "STEP_FAILURE" in ends:
        return StepOutcome.FAILED
    if "STEP_UP_FOR_RETRY" in ends:
        return StepOutcome.RETRY_REQUESTED
    return StepOutcome.SUCCEEDED if ends == {"STEP_SUCCESS"} else StepOutcome.UNKNOWN

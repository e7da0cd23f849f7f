"""How the work that used a resource ended.

Dagster does not pass the step's exception to a resource's teardown: it resumes the resource's generator
as if nothing had happened. So the outcome is read from three places: an exception that reaches us, the
exception that is on its way through the frames below (an interrupt), and the events of the run that
came after this resource's set-up began.
"""

import sys

import dagster as dg

from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of, step_key_of
from dagster_ray.core._phases import StepEvent, StepOutcome, outcome_of_events
from dagster_ray.core.failures.record import entries_after

# A step that has an event of these types after its success is not known to have succeeded.
_TYPES = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_RESTARTED,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
}


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether `error` is not a failure of the work but a request to stop it.

    SystemExit is the work's own decision, and GeneratorExit says only that nobody resumes a generator. An interrupt
    that reaches Ray's C++ code within `ray.get` comes out as a SystemError that it caused (ray/_raylet.pyx knows only
    KeyboardInterrupt and SystemExit there).
    """
    if isinstance(error, SystemError):
        error = error.__cause__ or error.__context__
    return isinstance(error, (KeyboardInterrupt, dg.DagsterExecutionInterruptedError))


def is_being_interrupted(error: BaseException | None) -> bool:
    """Return whether an interrupt has reached us as `error`, or is on its way through the frames below."""
    return is_interrupt(error) or is_interrupt(sys.exc_info()[1])


def last_event_id(context: DagsterContext) -> int | None:
    """Return the storage id of the run's last event; 0 if there is none, or no run; None if it cannot be read.

    Call it before set-up: a step's earlier attempts in other processes have events of their own in the run.
    """
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        return 0
    try:
        newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and a step must not fail for what cleanup wants
        log_of(context).warning(
            "The run's events could not be read, so how the step ends will not be known.", exc_info=True
        )
        return None
    return newest[0].storage_id if newest else 0


def _events_after(instance: dg.DagsterInstance, run_id: str, event_id: int) -> tuple[StepEvent, ...]:
    events = [entry.dagster_event for entry in entries_after(instance, run_id, event_id, _TYPES)]
    return tuple(StepEvent(event.step_key, event.event_type_value) for event in events if event and event.step_key)


def step_outcome(context: DagsterContext, error: BaseException | None, after: int | None) -> StepOutcome:
    """Return how the step ended. Call it during teardown.

    Args:
        context: The context of the resource's set-up.
        error: What was thrown into the resource's generator, if anything was.
        after: What `last_event_id` returned before set-up.
    """
    if is_being_interrupted(error):
        return StepOutcome.INTERRUPTED
    # Dagster does not resume a generator when a signal came between the step and its teardown.
    if error is not None and not isinstance(error, GeneratorExit):
        return StepOutcome.FAILED
    instance, run = context.instance, run_of(context)
    if instance is None or run is None or after is None:
        return StepOutcome.UNKNOWN
    try:
        events = _events_after(instance, run.run_id, after)
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and cleanup must happen whatever it raises
        log_of(context).warning(
            "The run's events could not be read, so how the step ended is not known.", exc_info=True
        )
        return StepOutcome.UNKNOWN
    return outcome_of_events(events, step_key_of(context))

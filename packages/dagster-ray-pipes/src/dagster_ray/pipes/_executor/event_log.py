"""The event log of a run, as far as it tells of steps that are Ray jobs."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.events import EngineEventData

from dagster_ray.pipes._executor.attempts import Attempt, StepEvent, attempts_of
from dagster_ray.pipes._reattach import entries_of_run
from dagster_ray.pipes._verdicts import PREFIX

SUBMISSION_KEY = f"{PREFIX}submission_id"
PROCESS_KEY = f"{PREFIX}process"
"""Metadata of the event that starts a step beside the executor: its process, and which launch it was."""
_STARTING = dg.DagsterEventType.STEP_WORKER_STARTING
_UNPREPARED = dg.DagsterEventType.RESOURCE_INIT_FAILURE
_ENDED = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
    dg.DagsterEventType.STEP_SKIPPED,
    # The executor makes a failure or a retry of it, when it reads it.
    _UNPREPARED,
}


def attempts_in_log(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, Attempt]:
    """Return the last attempt of each step of a run that was submitted as a Ray job."""
    return attempts_of(_events(instance, run_id))


def _events(instance: dg.DagsterInstance, run_id: str) -> Iterator[StepEvent]:
    for entry in entries_of_run(instance, run_id, {_STARTING, *_ENDED}):
        event = entry.dagster_event
        if event is None or event.step_key is None:
            continue
        if event.event_type != _STARTING:
            yield StepEvent("unprepared" if event.event_type == _UNPREPARED else "ended", event.step_key)
            continue
        data = event.event_specific_data
        metadata: Mapping[str, Any] = data.metadata if isinstance(data, EngineEventData) else {}
        named = metadata.get(SUBMISSION_KEY) or metadata.get(PROCESS_KEY)
        submission_id = getattr(named, "value", None)
        if isinstance(submission_id, str):
            yield StepEvent("starting", event.step_key, submission_id)

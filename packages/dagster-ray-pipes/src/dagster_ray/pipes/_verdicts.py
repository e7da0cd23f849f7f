"""What attempts of a step concluded about their jobs: engine events in Dagster's log, read by later attempts.

Ray says whether a job has succeeded; whether its step could use it, only the step knows. A job with a bad verdict is
never followed again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from dagster._core.events import EngineEventData

from dagster_ray.core import StepContext, run_of
from dagster_ray.pipes._reattach import CallIdentity, entries_of_run

Verdict = Literal["good", "bad"]
PREFIX = "dagster_ray/"
VERDICT_KEY, JOB_KEY, OBJECT_KEY = f"{PREFIX}verdict", f"{PREFIX}job_nonce", f"{PREFIX}rayjob_uid"
_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_UP_FOR_RETRY}
_READ = {dg.DagsterEventType.ENGINE_EVENT, *_FAILURES}


@dataclass(frozen=True, slots=True)
class Past:
    """An event of a step that says something of its jobs.

    Attributes:
        run_id: Its run.
        verdict: What was concluded; None: the step failed.
        marks: What identifies the job, and the Kubernetes object that was made for it.
    """

    run_id: str
    verdict: Verdict | None
    marks: frozenset[str] = frozenset()


def rejected_marks(events: Iterable[Past], own_run: str) -> frozenset[str]:
    """Return the marks of jobs that must not be followed, given what happened, oldest first. Pure.

    A bad verdict is final. After a good one the step went on with the job's results: if it then failed, in its body or
    by another job, the next attempt starts anew. What an earlier run has used is not used again.
    """
    rejected, used = set[str](), set[str]()
    for event in events:
        if event.verdict == "good" and event.run_id == own_run:
            used |= event.marks
        elif event.verdict is not None:
            rejected |= event.marks
        else:
            rejected |= used
    return frozenset(rejected)


def rejected_jobs(context: StepContext, identity: CallIdentity) -> frozenset[str]:
    """Return the nonces and uids of the jobs that no attempt of the step may follow, by the log of its runs."""
    return rejected_by_log(context.instance, identity.runs, identity.step_key)


def rejected_by_log(instance: dg.DagsterInstance, runs: Sequence[str], step_key: str) -> frozenset[str]:
    """Return the same for a step, given its run and then the runs that this one continues."""
    found: list[Past] = []
    for run_id in reversed(runs):
        found += _past_of(instance, run_id, step_key)
    return rejected_marks(found, runs[0])


def _past_of(instance: dg.DagsterInstance, run_id: str, step_key: str) -> list[Past]:
    found: list[Past] = []
    for entry in entries_of_run(instance, run_id, _READ):
        event = entry.dagster_event
        if event is None or entry.step_key != step_key:
            continue
        past = _past(run_id, event)
        found += [] if past is None else [past]
    return found


def _past(run_id: str, event: dg.DagsterEvent) -> Past | None:
    if event.event_type in _FAILURES:
        return Past(run_id, None)
    data = event.event_specific_data
    texts: Mapping[str, Any] = data.metadata if isinstance(data, EngineEventData) else {}
    verdict = getattr(texts.get(VERDICT_KEY), "value", None)
    if verdict not in {"good", "bad"}:
        return None
    marks = (getattr(texts.get(key), "value", None) for key in (JOB_KEY, OBJECT_KEY))
    return Past(run_id, verdict, frozenset(mark for mark in marks if isinstance(mark, str)))


def report_verdict(
    context: StepContext,
    step_key: str,
    verdict: Verdict,
    message: str,
    metadata: Mapping[str, dg.MetadataValue[Any]],
) -> None:
    """Write a verdict into the log of the run."""
    report_event(context, step_key, message, {**metadata, VERDICT_KEY: dg.MetadataValue.text(verdict)})


def report_event(
    context: StepContext, step_key: str, message: str, metadata: Mapping[str, dg.MetadataValue[Any]]
) -> None:
    """Write an event about a job into the log of the run; for a direct call, into the log.

    A log that cannot be written is a warning: the step's own error, or its results, matter more.
    """
    run = run_of(context)
    if run is None:
        context.log.info(message)
        return
    try:
        context.instance.report_engine_event(message, run, EngineEventData(metadata=metadata), step_key=step_key)
    except Exception:
        context.log.warning("%s This could not be recorded, so a retry may not know it.", message, exc_info=True)

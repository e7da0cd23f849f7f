"""What the event log of a run says of failures: whose they were, and how often a step was tried again for one.

The log is the only place that all attempts of a step can read, whichever process they run in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg
from dagster._core.events import EngineEventData

from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of
from dagster_ray.core.failures import FailureClass
from dagster_ray.core.failures.causes import Failure, Judgement, Kept, Loss, judged
from dagster_ray.core.failures.reading import facts_of_info

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

PREFIX = "dagster_ray/"
CLASS_KEY, REASON_KEY, CLUSTER_KEY = f"{PREFIX}failure_class", f"{PREFIX}failure", f"{PREFIX}cluster"
RETRY_KEY, ALLOWED_KEY = f"{PREFIX}infrastructure_retry", f"{PREFIX}retry_infrastructure"
EVIDENCE_KEY, SUMMARY_KEY = f"{PREFIX}evidence", f"{PREFIX}evidence_summary"
_FAILURES = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_UP_FOR_RETRY}
_PAGE = 1000


def entries_after(
    instance: dg.DagsterInstance, run_id: str, event_id: int, kinds: set[dg.DagsterEventType]
) -> list[dg.EventLogEntry]:
    """Return the entries of a run of some types that came after one, the oldest first.

    Read from the newest backwards, so that a late step of a long run reads little.
    """
    newest_first: list[dg.EventLogEntry] = []
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=kinds, limit=_PAGE, ascending=False)
        for record in page.records:
            if record.storage_id <= event_id:
                return newest_first[::-1]
            newest_first.append(record.event_log_entry)
        if not page.has_more:
            return newest_first[::-1]
        cursor = page.cursor


def _metadata_of(entry: dg.EventLogEntry) -> Mapping[str, Any]:
    data = None if entry.dagster_event is None else entry.dagster_event.event_specific_data
    return data.metadata if isinstance(data, EngineEventData) else {}


def retries_of(instance: dg.DagsterInstance, run_id: str, step_key: str) -> int:
    """Return how often a step of a run was tried again because of infrastructure."""
    entries = entries_after(instance, run_id, 0, {dg.DagsterEventType.ENGINE_EVENT})
    return sum(entry.step_key == step_key and RETRY_KEY in _metadata_of(entry) for entry in entries)


def failure_metadata(judgement: Judgement, cluster: str, retry: tuple[int, int] | None) -> dict[str, Any]:
    """Return the metadata of an event about a failure.

    Args:
        judgement: Whose failure it was.
        cluster: The cluster's name for logs.
        retry: Which retry because of infrastructure follows, and how many there may be; None: none of these.
    """
    metadata: dict[str, Any] = {
        CLASS_KEY: dg.MetadataValue.text(judgement.failure_class),
        REASON_KEY: dg.MetadataValue.text(judgement.why),
        CLUSTER_KEY: dg.MetadataValue.text(cluster),
    }
    if retry is not None:
        metadata |= {RETRY_KEY: dg.MetadataValue.int(retry[0]), ALLOWED_KEY: dg.MetadataValue.int(retry[1])}
    return metadata


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A step of a run that failed, and its cluster's name for logs."""

    instance: dg.DagsterInstance
    run: dg.DagsterRun
    step_key: str | None
    cluster: str


def report_failure(step: FailedStep, judgement: Judgement, retry: tuple[int, int] | None = None) -> None:
    """Write an event about a failure into the log of the run. May raise whatever the storage raises."""
    message = f"Failure class {judgement.failure_class}: {judgement.why}"
    if retry is not None:
        number, allowed = retry
        message = f"Infrastructure failed, so the step is tried again (retry {number} of {allowed}): {judgement.why}"
    data = EngineEventData(metadata=failure_metadata(judgement, step.cluster, retry))
    step.instance.report_engine_event(message, step.run, data, step_key=step.step_key)


def unreported_failures(
    entries: Sequence[dg.EventLogEntry],
) -> Iterator[tuple[str | None, "SerializableErrorInfo | None"]]:
    """Yield the steps that failed without an event of ours about it, each with its error, in their order. Pure."""
    reported: set[str | None] = set()
    for entry in entries:
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type in _FAILURES:
            if entry.step_key not in reported:
                yield entry.step_key, getattr(event.event_specific_data, "error", None)
            reported.discard(entry.step_key)
        elif CLASS_KEY in _metadata_of(entry):
            reported.add(entry.step_key)


def failures_of(entries: Sequence[dg.EventLogEntry]) -> list[Failure]:
    """Return the last failure of each step that has not succeeded since, with the class that the log says it has. Pure.

    An event of ours about a failure is before it if the step may be tried again, else after it.
    """
    last: dict[str | None, Failure] = {}
    told: dict[str | None, Judgement] = {}
    for entry in entries:
        event, key = entry.dagster_event, entry.step_key
        if event is None:
            continue
        if event.event_type in _FAILURES:
            info: SerializableErrorInfo | None = getattr(event.event_specific_data, "error", None)
            judgement = told.pop(key, None)
            known = judgement or judged(facts_of_info(info), tuple)
            last[key] = Failure(key, "" if info is None else info.to_string(), known)
        elif event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            last.pop(key, None)
            told.pop(key, None)
        elif (judgement := _judgement_of(_metadata_of(entry))) is not None:
            told[key] = judgement
    for key, judgement in told.items():
        if key in last:
            last[key] = Failure(key, last[key].error, judgement)
    return list(last.values())


def _judgement_of(metadata: Mapping[str, Any]) -> Judgement | None:
    said = [getattr(metadata.get(key), "value", None) for key in (CLASS_KEY, REASON_KEY)]
    known: FailureClass | None = next((one for one in get_args(FailureClass) if one == said[0]), None)
    return None if known is None else Judgement(known, str(said[1]))


def failures_after(instance: dg.DagsterInstance, run_id: str, event_id: int) -> list[Failure]:
    """Return the last failure of each step of a run after an event, of those that have not succeeded since.

    May raise whatever the storage raises.
    """
    kinds = {*_FAILURES, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.ENGINE_EVENT}
    return failures_of(entries_after(instance, run_id, event_id, kinds))


def report_kept(step: FailedStep, kept: Kept) -> None:
    """Write where the evidence of a failure is into the log of the run. May raise whatever the storage raises."""
    place = kept.place
    metadata: dict[str, Any] = {
        EVIDENCE_KEY: dg.UrlMetadataValue(place) if "://" in place else dg.PathMetadataValue(place),
        SUMMARY_KEY: dg.MetadataValue.md(kept.summary),
        CLUSTER_KEY: dg.MetadataValue.text(step.cluster),
    }
    message = f"Evidence of the failure was written to {place}"
    step.instance.report_engine_event(message, step.run, EngineEventData(metadata=metadata), step_key=step.step_key)


def kept_of_run(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str | None, Kept]]:
    """Return the evidence that the log of a run names, the oldest first, each with its step."""
    found: list[tuple[str | None, Kept]] = []
    for entry in entries_after(instance, run_id, 0, {dg.DagsterEventType.ENGINE_EVENT}):
        place, summary = (getattr(_metadata_of(entry).get(key), "value", None) for key in (EVIDENCE_KEY, SUMMARY_KEY))
        if place is not None:
            found.append((entry.step_key, Kept(str(place), str(summary or ""))))
    return found


def report_failures(context: DagsterContext, cluster: str, after: int, losses: Callable[[], Sequence[Loss]]) -> None:
    """Write whose failures the steps of a run met, where no event says so yet. Never raises.

    Args:
        context: The context of the resource's set-up.
        cluster: The cluster's name for logs.
        after: The run's last event before the set-up.
        losses: Asked for what became of the cluster's pods.
    """
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        return
    try:
        kinds = {*_FAILURES, dg.DagsterEventType.ENGINE_EVENT}
        for step_key, error in unreported_failures(entries_after(instance, run.run_id, after, kinds)):
            step = FailedStep(instance, run, step_key, cluster)
            report_failure(step, judged(facts_of_info(error), losses))
    except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and the cluster is to be cleaned up
        log_of(context).warning("The class of the failure could not be stored: %s", type(error).__name__)

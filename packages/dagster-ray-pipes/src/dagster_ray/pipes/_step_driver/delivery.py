"""Events of the worker become events of the step: each is stored as it was sent, once, and passed on to Dagster.

What only Dagster's own database knows is put in here: ids of materializations that the step itself has made.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.data_version import INPUT_EVENT_POINTER_TAG_PREFIX
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._record import copy, is_record  # pyright: ignore[reportUnknownVariableType]
from dagster._serdes import deserialize_value

from dagster_ray.core import Deadline
from dagster_ray.core.cluster_step.host_facts import checked_assets
from dagster_ray.core.cluster_step.lines import Line
from dagster_ray.pipes._reattach import entries_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster._core.execution.context.system import StepExecutionContext

_Type = dg.DagsterEventType
_FAILURES = {_Type.STEP_FAILURE, _Type.STEP_UP_FOR_RETRY}
_TERMINAL = {_Type.STEP_SUCCESS, *_FAILURES}
_STARTS = {_Type.STEP_START, _Type.STEP_RESTARTED}
# The step's process has set up the same resources itself, and has said so.
_DOUBLED = {_Type.RESOURCE_INIT_STARTED, _Type.RESOURCE_INIT_SUCCESS}
# What executors say first that hear of a step's events from its process. All others read the event log, as those do
# whose steps are pods.
_HEAR_EVENTS = ("Executing steps in ", "Executing steps using multiprocess executor")
_WITH_POINTERS = {_Type.ASSET_MATERIALIZATION, _Type.ASSET_OBSERVATION}

_Identity: TypeAlias = tuple[float, str, str | None, str | None, str]
RetryOf: TypeAlias = Callable[[dg.DagsterEvent], dg.RetryRequested | None]


class UnreadableEventError(Exception):
    """An event that this Dagster cannot read as what it is."""


class FailedInClusterError(Exception):
    """What hooks of a step find as its exception: the text of the one that the body has raised."""


def _identity(entry: dg.EventLogEntry) -> _Identity:
    """Return what two entries of a run have in common only if they are the same one, sent twice."""
    event = entry.dagster_event
    kind, message = (None, entry.user_message) if event is None else (event.event_type_value, event.message or "")
    return (entry.timestamp, str(entry.level), entry.step_key, kind, message)


class Delivery:
    """Stores and passes on what one worker sends."""

    def __init__(
        self,
        context: "StepExecutionContext",
        *,
        again: bool,
        retry: RetryOf | None = None,
        figures: "Callable[[], Mapping[str, dg.MetadataValue[Any]]]" = dict,
    ) -> None:
        """Begin.

        Args:
            context: Dagster's context of the step.
            again: Whether an earlier process of the step may have stored some of it.
            retry: Asked before an event is stored by which the step has failed; what it returns is raised instead.
            figures: Returns metadata that each materialization gets as well.
        """
        self._retry, self._figures = retry, figures
        self._context, self._instance, self._again = context, context.instance, again
        self.is_first = not again
        self._stored: Counter[_Identity] = Counter()
        self._executor_reads_log = True
        if again:
            self._look_back()
        self._made: set[dg.AssetKey] = set()
        self._held: list[dg.EventLogEntry] | None = None
        self._targets = self._partition_targets(checked_assets(context))
        self.end: dg.DagsterEventType | None = None
        """The event that ends the step, once it was delivered."""

    @property
    def is_over(self) -> bool:
        """Whether the event that ends the step was delivered."""
        return self.end is not None

    def _look_back(self) -> None:
        """Take note of what is stored already, and of how the executor hears of events."""
        for entry in entries_of_run(self._instance, self._context.run_id):
            if entry.step_key in {None, self._context.step.key}:
                self._stored[_identity(entry)] += 1
            if _is_of_executor_that_hears(entry):
                self._executor_reads_log = False

    def deliver(self, line: Line) -> Iterator[dg.DagsterEvent]:
        """Store an event, and yield it if it is one of Dagster's.

        From the first output with a mapping key on, all is held back until the step's end, so that an attempt that
        goes on with this worker finds none of them stored, or all but the last ones.

        Raises:
            dg.RetryRequested: It says that the step has failed, and the step is to be tried again instead.
            UnreadableEventError: It was written by a Dagster that this one does not understand.
        """
        entry = self._rewritten(_entry(line))
        if entry is None:
            return
        event = entry.dagster_event
        is_terminal = event is not None and event.event_type in _TERMINAL
        if self._held is None and event is not None and _has_mapping_key(event):
            self._held = []
        if self._held is not None:
            self._held.append(entry)
            if not is_terminal:
                return
            held, self._held = self._held, None
            for each in held:
                yield from self._store(each)
            return
        yield from self._store(entry)

    def without_end(self, line: Line) -> None:
        """Store an event of a step that is being interrupted, unless it is one that would end the step."""
        entry = self._rewritten(_entry(line))
        if entry is None or (entry.dagster_event is not None and entry.dagster_event.event_type in _TERMINAL):
            return
        for _ in self._store(entry):
            pass

    def let_go(self, deadline: Deadline) -> int:
        """Store what is held back although the step has not ended; return how many entries the time was too short for.

        Args:
            deadline: Ends it: the process may be killed soon, and its cluster is deleted after this.
        """
        held, self._held = self._held or [], None
        for stored, entry in enumerate(held):
            if deadline.is_over():
                return len(held) - stored
            for _ in self._store(entry):
                pass
        return 0

    def _store(self, entry: dg.EventLogEntry) -> Iterator[dg.DagsterEvent]:
        identity, event = _identity(entry), entry.dagster_event
        if event is not None:
            entry = entry._replace(dagster_event=self._with_own_ids(event))
            event = entry.dagster_event
        if self._stored[identity] > 0:
            self._stored[identity] -= 1
            # An executor that reads the log has forgotten the outputs of the attempt before, as at any retry.
            if self._executor_reads_log and event is not None and _has_mapping_key(event):
                self._instance.handle_new_event(entry)
        else:
            self._ask_for_retry(event)
            entry = self._with_figures(entry)
            event = entry.dagster_event
            self._instance.handle_new_event(entry)
        if event is None:
            return
        self._take_note(event)
        yield event

    def _with_figures(self, entry: dg.EventLogEntry) -> dg.EventLogEntry:
        """Return an entry with figures of the cluster in its metadata if it is about a materialization."""
        event = entry.dagster_event
        if event is None or event.event_type is not _Type.ASSET_MATERIALIZATION:
            return entry
        data = cast("Any", event.event_specific_data)
        value = data.materialization
        changed = value._replace(metadata={**self._figures(), **value.metadata})
        return entry._replace(dagster_event=event._replace(event_specific_data=data._replace(materialization=changed)))

    def _ask_for_retry(self, event: dg.DagsterEvent | None) -> None:
        if event is None or self._retry is None or event.event_type not in _FAILURES:
            return
        request = self._retry(event)
        if request is not None:
            raise request from FailedInClusterError(_said(event))

    def _rewritten(self, entry: dg.EventLogEntry) -> dg.EventLogEntry | None:
        """Return an entry as this process passes it on; None if it has said the same itself."""
        event = entry.dagster_event
        if event is None:
            return entry
        if event.event_type in _DOUBLED or (self._again and event.event_type in _STARTS):
            return None
        if event.event_type is _Type.RESOURCE_INIT_FAILURE:  # executors take this type for the end of the step
            return entry._replace(dagster_event=event._replace(event_type_value=_Type.ENGINE_EVENT.value))
        return entry

    def _take_note(self, event: dg.DagsterEvent) -> None:
        context, data = self._context, cast("Any", event.event_specific_data)
        if event.event_type is _Type.ASSET_MATERIALIZATION and event.asset_key is not None:
            self._made.add(event.asset_key)
        elif event.event_type is _Type.STEP_OUTPUT:
            capture = context.step_output_metadata_capture
            if capture is not None:
                handle = data.step_output_handle
                capture[StepOutputHandle(handle.step_key, handle.output_name, handle.mapping_key)] = data.metadata
        elif event.event_type is _Type.STEP_FAILURE:
            context.capture_step_exception(FailedInClusterError(_said(event)))
        if event.event_type in _TERMINAL:
            self.end = event.event_type

    # Ids of this step's own materializations

    def _with_own_ids(self, event: dg.DagsterEvent) -> dg.DagsterEvent:
        data = cast("Any", event.event_specific_data)
        if event.event_type in _WITH_POINTERS:
            is_made = event.event_type is _Type.ASSET_MATERIALIZATION
            field = "materialization" if is_made else "asset_observation"
            value = getattr(data, field)
            pointers = self._pointers(value.tags or {})
            if not pointers:
                return event
            changed = value._replace(tags={**value.tags, **pointers})
            return event._replace(event_specific_data=data._replace(**{field: changed}))
        if isinstance(data, AssetCheckEvaluation):
            target = self._target_of(data.asset_key)
            if target is not None:
                return event._replace(event_specific_data=_with_target(data, target))
        return event

    def _pointers(self, tags: "Mapping[str, str]") -> dict[str, str]:
        found: dict[str, str] = {}
        for key in self._made:
            tag = f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{key.to_user_string()}"
            target = self._last(key) if tag in tags else None
            if target is not None:
                found[tag] = str(target.storage_id)
        return found

    def _target_of(self, key: dg.AssetKey) -> AssetCheckEvaluationTargetMaterializationData | None:
        """Return what a check of an asset is about, where the worker cannot know it."""
        if not _by_partition(self._context):
            return self._last(key) if key in self._made else None
        return self._last_of_partition(key) if key in self._made else self._targets.get(key)

    def _partition_targets(
        self, keys: list[dg.AssetKey]
    ) -> dict[dg.AssetKey, AssetCheckEvaluationTargetMaterializationData | None]:
        return {key: self._last_of_partition(key) for key in keys} if _by_partition(self._context) else {}

    def _last(self, key: dg.AssetKey) -> AssetCheckEvaluationTargetMaterializationData | None:
        records = self._instance.get_asset_records([key])
        record = records[0].asset_entry.last_materialization_record if records else None
        return None if record is None else _target(record)

    def _last_of_partition(self, key: dg.AssetKey) -> AssetCheckEvaluationTargetMaterializationData | None:
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[self._context.partition_key])
        records = self._instance.fetch_materializations(wanted, limit=1).records
        return _target(records[0]) if records else None


def _said(event: dg.DagsterEvent) -> str:
    """Return what the error of an event says."""
    error = getattr(event.event_specific_data, "error", None)
    return "" if error is None else (error.cause or error).message.strip()


def _target(record: dg.EventLogRecord) -> AssetCheckEvaluationTargetMaterializationData:
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=record.storage_id, run_id=record.event_log_entry.run_id, timestamp=record.timestamp
    )


def _with_target(data: Any, target: AssetCheckEvaluationTargetMaterializationData) -> AssetCheckEvaluation:
    """Return an evaluation with another target; it is a plain named tuple before Dagster 1.13.

    A record is a named tuple underneath, whose `_replace` fails.
    """
    if is_record(data):
        return copy(data, target_materialization_data=target)
    return data._replace(target_materialization_data=target)


def _by_partition(context: "StepExecutionContext") -> bool:
    """Return whether checks of the step are about a partition, as they are in later releases of Dagster."""
    return context.has_partition_key and hasattr(dg.AssetCheckResult, "_get_partitioned_target_materialization_data")


def _entry(line: Line) -> dg.EventLogEntry:
    """Return the entry of a line.

    Dagster makes an engine event of one that it cannot read, be it the step's success, so types are compared.
    """
    entry = deserialize_value(line.value, dg.EventLogEntry)
    event = entry.dagster_event
    if event is not None and f'"event_type_value": "{event.event_type_value}"' not in line.value:
        raise UnreadableEventError(event.message or "")
    return entry


def _is_of_executor_that_hears(entry: dg.EventLogEntry) -> bool:
    event = entry.dagster_event
    return event is not None and event.step_key is None and (event.message or "").startswith(_HEAR_EVENTS)


def _has_mapping_key(event: dg.DagsterEvent) -> bool:
    if event.event_type is not _Type.STEP_OUTPUT:
        return False
    return cast("Any", event.event_specific_data).step_output_handle.mapping_key is not None

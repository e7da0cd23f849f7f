"""What Dagster's storages say of runs and steps, in few queries, each of which has an end."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from dagster_ray.core import Deadline, configured_instance_id, instance_id_of
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, RunFacts, StepRef, StepState

if TYPE_CHECKING:
    import dagster as dg

QUERY_SECONDS = 10.0
_BATCH = 100
_BACKFILL_TAG = "dagster/backfill"
# dagster/_core/execution/backfill.py, BulkActionStatus. COMPLETED and FAILED may have runs in progress.
_BACKFILL_IS_OVER = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
_T = TypeVar("_T")


class StorageSilentError(TimeoutError):
    """Dagster's storage did not answer a query in time."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RunReader:
    """Reads runs and steps of one Dagster instance.

    Args:
        instance: The instance. None: nothing is known, so that only locks decide.
        now: Dagster's clock, which has also dated the ends of runs.
        instance_id: An id that only this instance has. None: `DAGSTER_RAY_INSTANCE_ID`, and without it the id of the
            run storage, which copies of the database share.
        query_seconds: How long one query may take.
    """

    def __init__(
        self,
        instance: "dg.DagsterInstance | None",
        now: Callable[[], datetime] = _utc_now,
        *,
        instance_id: str | None = None,
        query_seconds: float = QUERY_SECONDS,
    ) -> None:
        """Ask for the instance's ids once."""
        self._instance, self._now, self._query_seconds = instance, now, query_seconds
        own = instance_id or configured_instance_id()
        try:
            storage_id = self._within(Deadline(query_seconds), lambda: instance_id_of(instance, {}))
        except StorageSilentError:
            storage_id = None  # so that only locks decide, or runs of an instance with an id of its own
        self._nothing = InstanceFacts(own or storage_id, has_own_id=own is not None, storage_id=storage_id)

    @property
    def nothing(self) -> InstanceFacts:
        """What is known when nothing was asked."""
        return self._nothing

    def runs(self, run_ids: Iterable[str], deadline: Deadline) -> InstanceFacts:
        """Return how runs stand; with those that do not exist.

        Raises:
            StorageSilentError: The storage did not answer before the deadline, or within the seconds of a query.
        """
        instance = self._instance
        if instance is None:
            return self._nothing
        import dagster as dg

        found: dict[str, RunFacts | None] = {}
        for some in _batches(sorted(run_ids)):
            wanted = dg.RunsFilter(run_ids=some)
            records = self._within(deadline, lambda wanted=wanted: instance.get_run_records(wanted))
            found |= dict.fromkeys(some)
            found |= {record.dagster_run.run_id: self._facts(record) for record in records}
        return replace(self._nothing, runs=found)

    def backfills(self, backfill_ids: Iterable[str], deadline: Deadline) -> InstanceFacts:
        """Return how backfills stand; with those that do not exist. One is finished when it and all its runs are over.

        Raises:
            StorageSilentError: The storage did not answer before the deadline, or within the seconds of a query.
        """
        instance = self._instance
        if instance is None:
            return self._nothing
        found = {backfill_id: self._backfill(instance, backfill_id, deadline) for backfill_id in sorted(backfill_ids)}
        return replace(self._nothing, backfills=found)

    def _backfill(self, instance: "dg.DagsterInstance", backfill_id: str, deadline: Deadline) -> RunFacts | None:
        import dagster as dg

        backfill = self._within(deadline, lambda: instance.get_backfill(backfill_id))
        if backfill is None:
            return None
        if backfill.status.value not in _BACKFILL_IS_OVER:
            return RunFacts(is_finished=False)
        over = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
        unfinished = dg.RunsFilter(
            tags={_BACKFILL_TAG: backfill_id}, statuses=[status for status in dg.DagsterRunStatus if status not in over]
        )
        if self._within(deadline, lambda: instance.get_runs_count(unfinished)):
            return RunFacts(is_finished=False)
        ended = backfill.backfill_end_timestamp
        return RunFacts(
            is_finished=True,
            succeeded=backfill.status.value == "COMPLETED_SUCCESS",
            seconds_since_end=None if ended is None else self._now().timestamp() - ended,
            was_canceled=backfill.status.value == "CANCELED",
        )

    def steps(self, facts: InstanceFacts, asks: Iterable[StepRef], deadline: Deadline) -> InstanceFacts:
        """Return the facts with how steps stand; one query for each run, as Dagster has none for several.

        Raises:
            StorageSilentError: The storage did not answer before the deadline, or within the seconds of a query.
        """
        instance = self._instance
        if instance is None:
            return facts
        by_run: dict[str, set[str]] = {}
        for ask in asks:
            by_run.setdefault(ask.run_id, set()).add(ask.step_key)
        found: dict[StepRef, StepState | None] = {}
        for run_id, keys in sorted(by_run.items()):
            wanted = sorted(keys)
            answer = self._within(
                deadline, lambda run_id=run_id, wanted=wanted: instance.get_run_step_stats(run_id, wanted)
            )
            found |= {StepRef(run_id, key): None for key in keys}
            for stats in answer:
                if stats.status is not None:
                    found[StepRef(run_id, stats.step_key)] = stats.status.value
        return replace(facts, steps={**facts.steps, **found})

    def _within(self, deadline: Deadline, query: Callable[[], _T]) -> _T:
        """Return what a query answers in time; one that is still at work then is left to its thread."""
        seconds = min(self._query_seconds, deadline.remaining_seconds())
        if seconds <= 0:
            raise StorageSilentError("no time was left to ask Dagster's storage")
        answers: queue.SimpleQueue[tuple[_T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put((query(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                answers.put((None, error))

        threading.Thread(target=ask, name="dagster-ray storage query", daemon=True).start()
        try:
            answer, error = answers.get(timeout=seconds)
        except queue.Empty:
            raise StorageSilentError(f"Dagster's storage did not answer within {seconds:.1f} s") from None
        if error is not None:
            raise error
        return answer  # pyright: ignore[reportReturnType] - without an error it is the answer, which may be None

    def _facts(self, record: "dg.RunRecord") -> RunFacts:
        import dagster as dg

        run = record.dagster_run
        if not run.is_finished:
            return RunFacts(is_finished=False)
        # A run that was canceled before it began may have no end; the record's last change is no earlier.
        ended = record.update_timestamp.timestamp() if record.end_time is None else record.end_time
        return RunFacts(
            is_finished=True,
            succeeded=run.is_success,
            seconds_since_end=self._now().timestamp() - ended,
            was_canceled=run.status is dg.DagsterRunStatus.CANCELED,
        )


def _batches(run_ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(run_ids), _BATCH):
        yield run_ids[start : start + _BATCH]

"""What Dagster's storages say of runs and steps, in few queries."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster_ray.core import instance_id_of
from dagster_ray.kuberay._collector.facts import Facts, RunFacts, StepRef, StepState

if TYPE_CHECKING:
    import dagster as dg

_BATCH = 100


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RunReader:
    """Reads runs and steps of one Dagster instance.

    Args:
        instance: The instance. None: nothing is known, so that only locks decide.
        now: Dagster's clock, which has also dated the ends of runs.
    """

    def __init__(self, instance: "dg.DagsterInstance | None", now: Callable[[], datetime] = _utc_now) -> None:
        """Ask for the instance's id once."""
        self._instance, self._now = instance, now
        self._nothing = Facts(instance_id_of(instance))

    @property
    def nothing(self) -> Facts:
        """What is known when nothing was asked."""
        return self._nothing

    def runs(self, run_ids: Iterable[str]) -> Facts:
        """Return how runs stand; with those that do not exist."""
        instance = self._instance
        if instance is None:
            return self._nothing
        import dagster as dg

        found: dict[str, RunFacts | None] = {}
        for some in _batches(sorted(run_ids)):
            found |= dict.fromkeys(some)
            records = instance.get_run_records(dg.RunsFilter(run_ids=some))
            found |= {record.dagster_run.run_id: self._facts(record) for record in records}
        return replace(self._nothing, runs=found)

    def steps(self, facts: Facts, asks: Iterable[StepRef]) -> Facts:
        """Return the facts with how steps stand; one query for each run."""
        if self._instance is None:
            return facts
        by_run: dict[str, set[str]] = {}
        for ask in asks:
            by_run.setdefault(ask.run_id, set()).add(ask.step_key)
        found: dict[StepRef, StepState | None] = {}
        for run_id, keys in sorted(by_run.items()):
            found |= {StepRef(run_id, key): None for key in keys}
            for stats in self._instance.get_run_step_stats(run_id, sorted(keys)):
                if stats.status is not None:
                    found[StepRef(run_id, stats.step_key)] = stats.status.value
        return replace(facts, steps={**facts.steps, **found})

    def _facts(self, record: "dg.RunRecord") -> RunFacts:
        run = record.dagster_run
        if not run.is_finished:
            return RunFacts(is_finished=False)
        # A run that was cancelled before it began may have no end; the record's last change is no earlier.
        ended = record.update_timestamp.timestamp() if record.end_time is None else record.end_time
        return RunFacts(is_finished=True, succeeded=run.is_success, seconds_since_end=self._now().timestamp() - ended)


def _batches(run_ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(run_ids), _BATCH):
        yield run_ids[start : start + _BATCH]

"""Reports how far Ray Data and Ray Train have come, in a thread, for as long as a step runs."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, repeat

from dagster_ray.core._deadline import Deadline
from dagster_ray.core.step_report.dashboard import ANSWER_SECONDS, DashboardThread, JsonReader
from dagster_ray.core.step_report.progress import (
    Row,
    dataset_rows,
    dataset_table,
    has_state_of,
    progress_line,
    train_rows,
    train_table,
)

_FIRST_SECONDS, _INTERVAL_SECONDS = 5.0, 60.0
"""Seconds before the first question, which grow up to the interval.

Ray's dashboard starts a driver for the first answer about Ray Data, which takes it some seconds (run with 2.60). A
question at the end of the step alone would come too early for that answer.
"""
_ACTORS = "/api/v0/actors?filter_keys=class_name&filter_predicates=%3D&filter_values={}&limit=5"


@dataclass(frozen=True, slots=True)
class _Library:
    """A library whose progress Ray's dashboard knows.

    Attributes:
        actor: The class of the actor that keeps it.
        path: Where the dashboard tells it.
        rows: What an answer says of a job.
    """

    actor: str
    path: str
    rows: Callable[[object, str], list[Row]]


_DATA = _Library("_StatsActor", "/api/data/datasets/{}", lambda answer, _: dataset_rows(answer))
_TRAIN = _Library("TrainStateActor", "/api/train/v2/runs/v1", train_rows)


@dataclass(frozen=True, slots=True)
class Job:
    """The job whose progress is reported.

    Attributes:
        reader: Reads the dashboard.
        job_id: Returns Ray's id of the driver; None while it is not known.
        may_use: Returns whether the job may use Ray Data or Ray Train; nothing is asked before. None: that cannot be
            known. Then one of them is asked about in turn, until the job has used one.
    """

    reader: JsonReader
    job_id: Callable[[], str | None]
    may_use: Callable[[], bool] | None = None


class ProgressWatch:
    """Asks the dashboard once a minute, and writes a line if something has moved, from its construction to `close`."""

    def __init__(self, job: Job, log: logging.Logger) -> None:
        """Start.

        Args:
            job: The job.
            log: Where lines go; a logger that never raises.
        """
        self._job, self._log = job, log
        self._last, self._is_ending, self._is_used = "", False, False
        self._answer_seconds = ANSWER_SECONDS
        self._turns = cycle([_DATA, _TRAIN])
        self._rows: dict[str, list[Row]] = {}
        self._thread = DashboardThread("dagster-ray progress", job.reader, self._look, self._pauses())

    def _pauses(self) -> Iterator[float]:
        """Yield seconds before each look: short ones until the job is known to have used a library."""
        seconds = _FIRST_SECONDS
        while not self._is_used:
            yield min(seconds, _INTERVAL_SECONDS)
            seconds *= 2 if self._may_use() else 1
        yield from repeat(_INTERVAL_SECONDS)

    def _may_use(self) -> bool:
        return self._job.may_use is None or self._job.may_use()

    def tables(self, deadline: Deadline) -> dict[str, str]:
        """Return a table of the datasets and one of the training runs in Markdown, by name; none that is empty.

        Args:
            deadline: Ends the wait for the answers; what was known before is told then. If it is over already, the
                dashboard is not asked, and there is no table.
        """
        self._is_ending = True
        if deadline.is_over():
            return {}
        # It may be the first answer. Where little time is left, the rest of it is for others.
        self._answer_seconds = max(ANSWER_SECONDS, deadline.remaining_seconds() - ANSWER_SECONDS)
        self._thread.ask_now(deadline)
        found = {"ray_data": dataset_table(self._of(_DATA)), "ray_train": train_table(self._of(_TRAIN))}
        return {name: table for name, table in found.items() if table}

    def close(self, deadline: Deadline) -> None:
        """End the thread; an answer that is under way is waited for until the deadline."""
        self._thread.close(deadline)

    def _of(self, library: _Library) -> list[Row]:
        return self._rows.get(library.actor, [])

    def _look(self, reader: JsonReader) -> None:
        self._read(reader)
        self._is_used = self._is_used or any(self._rows.values())
        if self._is_ending:
            return
        line = progress_line(self._of(_DATA), self._of(_TRAIN))
        if line and line != self._last:
            self._log.info("Progress: %s", line)
        self._last = line

    def _read(self, reader: JsonReader) -> None:
        """Take in what the dashboard knows now; what it does not answer stays as it was known."""
        asked = self._asked()
        job_id = self._job.job_id() if asked else None
        if job_id is None:
            return
        for library in asked:
            if not has_state_of(reader.get(_ACTORS.format(library.actor), ANSWER_SECONDS), library.actor):
                continue
            answer = reader.get(library.path.format(job_id), self._answer_seconds)
            if answer is not None:
                self._rows[library.actor] = library.rows(answer, job_id)

    def _asked(self) -> Sequence[_Library]:
        """Return what is asked about now."""
        may_use = self._job.may_use
        if may_use is not None:
            return (_DATA, _TRAIN) if may_use() else ()
        return (_DATA, _TRAIN) if self._is_used or self._is_ending else (next(self._turns),)

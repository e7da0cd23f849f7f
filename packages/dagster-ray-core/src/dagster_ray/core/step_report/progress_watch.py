"""Reports how far Ray Data and Ray Train have come, in a thread, for as long as a step runs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

from dagster_ray.core._deadline import Deadline
from dagster_ray.core.step_report.dashboard import ANSWER_SECONDS, DashboardPlace, DashboardReader, DashboardThread
from dagster_ray.core.step_report.progress import (
    Row,
    dataset_rows,
    dataset_table,
    has_state_of,
    progress_line,
    train_rows,
    train_table,
)

_INTERVAL_SECONDS = 60.0
_ACTORS = "/api/v0/actors?filter_keys=class_name&filter_predicates=%3D&filter_values={}&limit=5"
_DATA, _TRAIN = "_StatsActor", "TrainStateActor"


@dataclass(frozen=True, slots=True)
class Job:
    """The job whose progress is reported.

    Attributes:
        place: Returns where the dashboard is.
        job_id: Returns Ray's id of the driver; None while it is not known.
        may_use: Returns whether the job may use Ray Data or Ray Train; nothing is asked before.
    """

    place: DashboardPlace
    job_id: Callable[[], str | None]
    may_use: Callable[[], bool] = lambda: True


class ProgressWatch:
    """Asks the dashboard once a minute, and writes a line if something has moved, from its construction to `close`."""

    def __init__(self, job: Job, log: logging.Logger) -> None:
        """Start.

        Args:
            job: The job.
            log: Where lines go; a logger that never raises.
        """
        self._job, self._log = job, log
        self._last, self._is_ending = "", False
        self._rows: tuple[list[Row], list[Row]] = [], []
        self._thread = DashboardThread("dagster-ray progress", job.place, self._look, repeat(_INTERVAL_SECONDS))

    def tables(self, deadline: Deadline) -> dict[str, str]:
        """Return a table of the datasets and one of the training runs in Markdown, by name; none that is empty.

        Args:
            deadline: Ends the wait for the answers; there is no table then. After it, the dashboard is not asked.
        """
        self._is_ending = True
        datasets, runs = self._rows if self._thread.ask_now(deadline) else ([], [])
        found = {"ray_data": dataset_table(datasets), "ray_train": train_table(runs)}
        return {name: table for name, table in found.items() if table}

    def close(self, deadline: Deadline) -> None:
        """End the thread; an answer that is under way is waited for until the deadline."""
        self._thread.close(deadline)

    def _look(self, reader: DashboardReader) -> None:
        self._rows = [], []
        self._rows = self._read(reader)
        if self._is_ending:
            return
        line = progress_line(*self._rows)
        if line and line != self._last:
            self._log.info("Progress: %s", line)
        self._last = line

    def _read(self, reader: DashboardReader) -> tuple[list[Row], list[Row]]:
        job_id = self._job.job_id() if self._job.may_use() else None
        if job_id is None:
            return [], []

        def get(path: str) -> object:
            return reader.get(path, ANSWER_SECONDS)

        has_data, has_train = (has_state_of(get(_ACTORS.format(name)), name) for name in (_DATA, _TRAIN))
        datasets = dataset_rows(get(f"/api/data/datasets/{job_id}")) if has_data else []
        return datasets, train_rows(get("/api/train/v2/runs/v1"), job_id) if has_train else []

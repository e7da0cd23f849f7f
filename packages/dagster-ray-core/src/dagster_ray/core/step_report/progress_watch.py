"""Reports how far Ray Data and Ray Train have come, in a thread, for as long as a step runs."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from dagster_ray.core.step_report.dashboard import DashboardReader
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
_ANSWER_SECONDS = 2.0
_JOIN_SECONDS = 4.0
_ACTORS = "/api/v0/actors?filter_keys=class_name&filter_predicates=%3D&filter_values={}&limit=5"
_DATA, _TRAIN = "_StatsActor", "TrainStateActor"


@dataclass(frozen=True, slots=True)
class Job:
    """The job whose progress is reported.

    Attributes:
        place: Returns the dashboard's URL and Ray's token as they are now; None for what there is not.
        job_id: Returns Ray's id of the driver; None while it is not known.
        may_use: Returns whether the job may use Ray Data or Ray Train; nothing is asked before.
    """

    place: Callable[[], tuple[str | None, str | None]]
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
        self._job, self._log, self._reader = job, log, DashboardReader(job.place)
        self._last = ""
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="dagster-ray progress", daemon=True)
        self._thread.start()

    def tables(self) -> dict[str, str]:
        """Return a table of the datasets and one of the training runs in Markdown, by name; none that is empty."""
        datasets, runs = self._read()
        found = {"ray_data": dataset_table(datasets), "ray_train": train_table(runs)}
        return {name: table for name, table in found.items() if table}

    def close(self) -> None:
        """End the thread; an answer that is under way is waited for some seconds."""
        self._closed.set()
        self._thread.join(_JOIN_SECONDS)
        if self._lock.acquire(timeout=0):
            self._reader.close()
            self._lock.release()

    def _run(self) -> None:
        while not self._closed.wait(_INTERVAL_SECONDS):
            line = progress_line(*self._read())
            if line and line != self._last:
                self._log.info("Progress: %s", line)
            self._last = line

    def _read(self) -> tuple[list[Row], list[Row]]:
        if not self._job.may_use() or not self._lock.acquire(timeout=_ANSWER_SECONDS):
            return [], []
        try:
            job_id = self._job.job_id()
            if job_id is None:
                return [], []
            has_data, has_train = (self._has(name) for name in (_DATA, _TRAIN))
            datasets = dataset_rows(self._get(f"/api/data/datasets/{job_id}")) if has_data else []
            runs = train_rows(self._get("/api/train/v2/runs/v1"), job_id) if has_train else []
        except Exception:  # noqa: BLE001 - whatever answers: it is an extra of the step, and the next one may be read
            self._reader.close()
            return [], []
        else:
            return datasets, runs
        finally:
            self._lock.release()

    def _has(self, class_name: str) -> bool:
        return has_state_of(self._get(_ACTORS.format(class_name)), class_name)

    def _get(self, path: str) -> object:
        return self._reader.get(path, _ANSWER_SECONDS)

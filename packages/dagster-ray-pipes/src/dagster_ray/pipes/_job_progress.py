"""How far Ray Data and Ray Train have come in a submitted job: asked of its job server, reported by its step."""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from dagster_ray.core import Deadline
from dagster_ray.core.step_report.config import Progress, quiet_variables, tracking_variables
from dagster_ray.core.step_report.progress_watch import Job, ProgressWatch
from dagster_ray.pipes._follower import JobFollower
from dagster_ray.pipes._job_answers import json_object
from dagster_ray.pipes._job_server import JobServer
from dagster_ray.pipes._verdicts import PREFIX

_TABLES_SECONDS = 8.0
_CLOSE_SECONDS = 0.5


class JobServerReader:
    """Reads the dashboard as its job server is reached: with the client's headers, certificates and proxies.

    Questions for progress are extras of a job, so they do not count as a sign that the server lives, or is away.
    """

    def __init__(self, server: JobServer) -> None:
        """Take the server; nothing is asked yet."""
        self._server = server

    def get(self, path: str, timeout_seconds: float) -> object:
        """Return the JSON object at a path; None if there is none.

        Args:
            path: The path, with its query.
            timeout_seconds: Longest time for the answer.
        """
        import requests

        try:
            answer = self._server.attempt("GET", self._server.address + path, timeout_seconds)
        except requests.RequestException:
            return None
        return json_object(answer.body) if answer.status == 200 else None

    def close(self) -> None:
        """Close the connections of this thread."""
        self._server.end_thread()


def driver_variables(progress: Progress, given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a job gets; none that it has already.

    Bars and colors are the job's own, unless nothing of progress is wanted at all.

    Args:
        progress: What the client says.
        given: The job's own variables.
    """
    return quiet_variables(progress, given) if progress == "off" else tracking_variables(progress, given)


Tables = Mapping[str, dg.MetadataValue[Any]]


@contextmanager
def progress_reported(
    progress: Progress, server: JobServer, follower: JobFollower, log: logging.Logger
) -> Generator[Callable[[], Tables]]:
    """Write progress lines of a job while the block runs, if that is wanted; yield what asks for the tables at its end.

    Nobody but the job knows which libraries it has imported: Ray Data and Ray Train are asked about in turn. A job
    whose process is no driver of Ray is not asked about.

    Args:
        progress: What the client says.
        server: The job server.
        follower: Follows the job.
        log: Where lines go; a logger that never raises.
    """
    if progress != "report":
        yield dict
        return

    def job_id() -> str | None:
        return None if follower.details is None else follower.details.job_id

    watch = ProgressWatch(Job(JobServerReader(server), job_id), log)

    def tables() -> Tables:
        found = watch.tables(Deadline(_TABLES_SECONDS))
        return {PREFIX + name: dg.MetadataValue.md(table) for name, table in found.items()}

    try:
        yield tables
    finally:
        watch.close(Deadline(_CLOSE_SECONDS))

"""Why a step in the cluster has not come to its end, by what its worker told and how its job ended. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dagster_ray.pipes._driver_errors import DriverEventsMissingError, DriverSetupError, DriverStartError
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes.errors import RayJobFailedError

_NO_MODULE = re.compile(r"No module named '?(?P<name>[\w.]+)")
_NO_PYTHON = re.compile(r"python: (command )?not found")
_SAME_CODE = (
    "let the cluster run the image of the code location, or set driver_code='upload' to send the working folder; the "
    "whole traceback is in the step's compute logs"
)


@dataclass(slots=True)
class Told:
    """What a worker has said beside its events."""

    handshake: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    ended: bool = False


def judged(
    submission_id: str, details: JobDetails | None, told: Told, unread: str, last_lines: tuple[str, ...]
) -> Exception:
    """Return the error for a step whose job has ended without the event that ends the step.

    Args:
        submission_id: The job.
        details: What the job server said last.
        told: What the worker said.
        unread: Why its files could not be read to their end; empty if they were.
        last_lines: The last lines of the job's log.
    """
    if told.problem is not None:
        sentence = str(told.problem.get("sentence", ""))
        if told.problem.get("permanent"):
            return DriverStartError(submission_id, sentence, _SAME_CODE)
        return DriverSetupError(submission_id, sentence)
    if told.handshake is None and (missing := _missing(last_lines)) is not None:
        return DriverStartError(submission_id, missing, _SAME_CODE)
    status = "unknown" if details is None else details.status
    if details is not None and status != "SUCCEEDED":
        return RayJobFailedError(submission_id, status, details.message, details.exit_code, last_lines)
    reason = unread or ("its worker never wrote a line" if told.handshake is None else "")
    return DriverEventsMissingError(submission_id, status, reason, last_lines)


def _missing(last_lines: tuple[str, ...]) -> str | None:
    for line in reversed(last_lines):
        if (found := _NO_MODULE.search(line)) is not None:
            return f"the cluster's Python has no module {found['name']}"
        if _NO_PYTHON.search(line):
            return "there is no program `python` in the cluster's image"
    return None

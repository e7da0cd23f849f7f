"""What is sent to submit a Ray job.

Fields and limits are those of Ray 2.46 to 2.60 (ray/dashboard/modules/job/common.py, job_manager.py).
"""

import difflib
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Required, TypedDict

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.core.variables import plain_value, resolved
from dagster_ray.pipes._runtime_env import check_runtime_env, with_files_read

NONCE = "dagster-ray/nonce"
"""Metadata by which a job is known as the one that a lost answer was about."""
_RESERVED_METADATA = "job_submission_id"  # it would override Ray's own (ray/dashboard/modules/job/job_supervisor.py)
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")  # with "/" Ray keeps a job that nothing can stop or delete


class RayJob(TypedDict, total=False):
    """A Ray job to submit: the parameters of Ray's job API.

    Keys:
        entrypoint: The shell command that is the driver.
        submission_id: The job's id. Unset: one is made.
        runtime_env: Ray's runtime environment; local `working_dir` and `py_modules` are uploaded.
        metadata: Texts that Ray keeps with the job.
        entrypoint_num_cpus: CPUs of the driver. Unset: none, and the driver runs on the head.
        entrypoint_num_gpus: GPUs of the driver.
        entrypoint_memory: Memory of the driver, in bytes.
        entrypoint_resources: Custom resources of the driver.
        entrypoint_label_selector: Labels of the node for the driver (Ray 2.49 and later).
    """

    entrypoint: Required[str]
    submission_id: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]
    entrypoint_num_cpus: float
    entrypoint_num_gpus: float
    entrypoint_memory: int
    entrypoint_resources: Mapping[str, float]
    entrypoint_label_selector: Mapping[str, str]


_FIELDS = tuple(RayJob.__annotations__)
_NUMBERS = ("entrypoint_num_cpus", "entrypoint_num_gpus", "entrypoint_memory")
_MAPPINGS = ("runtime_env", "metadata", "entrypoint_resources", "entrypoint_label_selector")


def new_submission_id() -> str:
    """Return an id that no other job has."""
    return f"raysubmit_{uuid.uuid4().hex[:16]}"


def checked_id(submission_id: object) -> str:
    """Return a submission id that Ray takes.

    Raises:
        InvalidFieldError: It is none.
    """
    if not isinstance(submission_id, str) or not _ID.fullmatch(submission_id):
        advice = "use up to 200 letters, digits, `_`, `.` and `-`, with neither `.` nor `-` at the start"
        raise InvalidFieldError("submission_id", f"is {submission_id!r}", advice)
    return submission_id


def checked_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job's fields without those that are None.

    References to environment variables are replaced by what the variables of this process say.

    Raises:
        InvalidFieldError: A field is unknown, missing, or of the wrong kind.
        MissingVariableError, InvalidVariableError: A variable is not set, or is no number and must be one.
    """
    found = _with_values({key: value for key, value in job.items() if value is not None})
    for key in found:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, n=1)
            advice = f"write `{near[0]}`" if near else f"use one of {', '.join(_FIELDS)}"
            raise InvalidFieldError(str(key), "is not a field of a Ray job", advice)
    entrypoint = found.get("entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint.strip():
        raise InvalidFieldError("entrypoint", "is not a shell command", "write the command that starts the job")
    if "submission_id" in found:
        checked_id(found["submission_id"])
    for key in _NUMBERS:
        if key in found and (isinstance(found[key], bool) or not isinstance(found[key], (int, float))):
            raise InvalidFieldError(key, f"is {found[key]!r}", "write a number")
        if key in found and found[key] < 0:
            raise InvalidFieldError(key, f"is {found[key]!r}", "write 0 or more")
    for key in _MAPPINGS:
        if key in found and not isinstance(found[key], Mapping):
            raise InvalidFieldError(key, f"is a {type(found[key]).__name__}", "write a mapping")
    _check_metadata(found.get("metadata", {}))
    check_runtime_env(found.get("runtime_env", {}))
    return found


def _with_values(job: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key: plain_value(job[key], float, os.environ, key) for key in _NUMBERS if key in job}
    return {**resolved(job, os.environ), **numbers}


def _check_metadata(metadata: Mapping[Any, Any]) -> None:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidFieldError("metadata", f"has {key!r}: {value!r}", "write texts only, in quotes")
        if key == _RESERVED_METADATA:
            raise InvalidFieldError("metadata", f"has {key!r}, which Ray sets itself", f"rename {key!r}")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that is ready to be sent: its packages are uploaded, and its id is fixed.

    Attributes:
        submission_id: The job's id.
        nonce: What the job's metadata contains if this submission made it.
        body: The body of the POST.
    """

    submission_id: str
    nonce: str
    body: Mapping[str, Any]


def submission_of(
    job: Mapping[str, Any], uploaded: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda runtime_env: runtime_env
) -> Submission:
    """Check a job and fix its id; nothing is submitted.

    Args:
        job: The fields of a `RayJob`.
        uploaded: Uploads the local packages of a runtime environment, and returns it without them.

    Raises:
        InvalidFieldError: A field is wrong, or a local file cannot be read.
    """
    checked = checked_job(job)
    submission_id = checked.pop("submission_id", None) or new_submission_id()
    runtime_env = uploaded(with_files_read(checked.pop("runtime_env", {})))
    nonce = uuid.uuid4().hex
    return Submission(submission_id, nonce, request_of(checked, submission_id, runtime_env, nonce))


def request_of(
    job: Mapping[str, Any], submission_id: str, runtime_env: Mapping[str, Any], nonce: str
) -> dict[str, Any]:
    """Return the body of the POST that submits a checked job.

    Args:
        job: What `checked_job` returned.
        submission_id: The job's id, fixed before anything is sent, so that the job is found after a lost answer.
        runtime_env: The runtime environment, whose local packages were uploaded.
        nonce: A text by which the job is known as the one that this request made.
    """
    body: dict[str, Any] = {
        **job,
        "submission_id": submission_id,
        "metadata": {**job.get("metadata", {}), NONCE: nonce},
    }
    if "entrypoint_memory" in body:
        body["entrypoint_memory"] = int(body["entrypoint_memory"])  # a float is refused
    if runtime_env:
        body["runtime_env"] = dict(runtime_env)
    return body

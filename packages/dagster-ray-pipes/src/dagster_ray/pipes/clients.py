"""What a Pipes client for another place is made of, for authors of backends.

A client makes a place for the job, then lets a `JobRun` submit, follow and judge it there.
"""

from dagster_ray.core import StepContext
from dagster_ray.pipes._client import ClientOptions, find_attempt
from dagster_ray.pipes._job_run import (
    CONTEXT_VARIABLE,
    JobRun,
    RequireMessages,
    RunSettings,
    check_context,
    context_text,
)
from dagster_ray.pipes._reader import MessageChannel
from dagster_ray.pipes._reattach import Attempt, CallIdentity, call_identity, numbered
from dagster_ray.pipes._submission import checked_job
from dagster_ray.pipes._submitted_job import Place
from dagster_ray.pipes._verdicts import Verdict, rejected_jobs

__all__ = [
    "CONTEXT_VARIABLE",
    "Attempt",
    "CallIdentity",
    "ClientOptions",
    "JobRun",
    "MessageChannel",
    "Place",
    "RequireMessages",
    "RunSettings",
    "StepContext",
    "Verdict",
    "call_identity",
    "check_context",
    "checked_job",
    "context_text",
    "find_attempt",
    "numbered",
    "rejected_jobs",
]


def __dir__() -> list[str]:
    return sorted(__all__)

"""What a Pipes client for another place is made of, for authors of backends.

A client makes a place for the job, then lets a `JobRun` submit, follow and judge it there.
"""

from dagster_ray.pipes._client import find_attempt, settings_of, with_values_of
from dagster_ray.pipes._job_run import JobRun, Place, RunSettings, check_context
from dagster_ray.pipes._reattach import Attempt, CallIdentity, call_identity, numbered
from dagster_ray.pipes._step_context import StepContext
from dagster_ray.pipes._submission import checked_job
from dagster_ray.pipes._verdicts import Verdict, rejected_jobs

__all__ = [
    "Attempt",
    "CallIdentity",
    "JobRun",
    "Place",
    "RunSettings",
    "StepContext",
    "Verdict",
    "call_identity",
    "check_context",
    "checked_job",
    "find_attempt",
    "numbered",
    "rejected_jobs",
    "settings_of",
    "with_values_of",
]

"""What executors and run launchers for another place are made of, for authors of backends.

An executor submits the steps of a run as Ray jobs at the places that a `StepPlaces` brings up, and watches them there.
"""

from dagster_ray.pipes._executor.configuration import DriverJobsConfig
from dagster_ray.pipes._executor.executor import RUN_SCHEMA, RayExecutor, executor_at, step_jobs
from dagster_ray.pipes._executor.run_launcher import JobRunLauncher, WorkerJobs
from dagster_ray.pipes._executor.step_places import StepPlaces, StepServer
from dagster_ray.pipes._submission import Submission, submission_of
from dagster_ray.pipes._submitted_job import Place

__all__ = [
    "RUN_SCHEMA",
    "DriverJobsConfig",
    "JobRunLauncher",
    "Place",
    "RayExecutor",
    "StepPlaces",
    "StepServer",
    "Submission",
    "WorkerJobs",
    "executor_at",
    "step_jobs",
    "submission_of",
]


def __dir__() -> list[str]:
    return sorted(__all__)

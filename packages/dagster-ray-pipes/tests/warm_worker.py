"""What each worker would load again: imported once, by the process that they are forked from."""

import dagster as dg
import driver_jobs
import executor_jobs
import step_pods
import trap_jobs
from dagster import _cli
from dagster._cli import api

from dagster_ray.core import step_worker

with dg.DagsterInstance.ephemeral():  # pyright: ignore[reportUnknownMemberType]
    LOADED = (api, _cli, driver_jobs, executor_jobs, step_pods, step_worker, trap_jobs)

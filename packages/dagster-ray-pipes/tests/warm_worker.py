"""What each worker would load again: imported once, by the process that they are forked from."""

import dagster as dg
import driver_jobs

from dagster_ray.core import step_worker

with dg.DagsterInstance.ephemeral():  # pyright: ignore[reportUnknownMemberType]
    LOADED = (driver_jobs, step_worker)

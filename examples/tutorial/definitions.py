"""The tutorial: one asset, computed on whichever Ray cluster the environment chooses.

`dagster dev -f definitions.py` shows it in Dagster's UI; `python demo.py` runs it without one.
"""

import os

import dagster as dg
import ray

from dagster_ray.core import RayResource, check_ray_resources, load_backend

BACKEND_VARIABLE = "DAGSTER_RAY_BACKEND"


@ray.remote
def sum_of_squares_in_slice(start: int, end: int) -> int:
    """Return the sum of the squares of start, ..., end - 1. Runs on the cluster."""
    return sum(i**2 for i in range(start, end))


@dg.asset
def sum_of_squares(ray_cluster: RayResource) -> dg.MaterializeResult[int]:
    """The sum of the squares of 1 to 1000, each quarter computed by a task of its own."""
    num_workers = 4
    chunk_size = 1000 // num_workers
    futures = [sum_of_squares_in_slice.remote(i * chunk_size + 1, (i + 1) * chunk_size + 1) for i in range(num_workers)]
    total = sum(ray.get(futures))
    return dg.MaterializeResult(value=total, metadata={"total": total, "cluster": ray_cluster.display_name})


def backend() -> RayResource:
    """Return the backend that the environment variable names; this machine's own Ray if it is not set."""
    return load_backend(os.environ.get(BACKEND_VARIABLE, "local"))()


definitions = check_ray_resources(dg.Definitions(assets=[sum_of_squares], resources={"ray_cluster": backend()}))

"""A job whose body runs in the cluster; the worker loads this file there, too."""

# Ray and Dagster are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource
from ray_address_backend import RayAddressWithJobs


@dg.asset(code_version="1")
def numbers() -> list[int]:
    return [1, 2, 3]


def squared(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


@dg.asset(code_version="1")
def squares(context: dg.AssetExecutionContext, numbers: list[int], ray_cluster: RayResource) -> list[int]:
    import ray
    from ray.util.client import ray as client

    context.log.info("Ray Client: %s", client.is_connected())
    square: Any = ray.remote(num_cpus=0.1)(squared)
    found: list[tuple[int, int]] = ray.get([square.remote(n) for n in numbers])
    print("printed by the body")
    context.add_output_metadata(
        {
            "job": ray_cluster.job_id,
            "driver": ray.get_runtime_context().get_job_id(),
            "address": ray_cluster.address,
            "name": ray_cluster.display_name,
            "elsewhere": os.getpid() not in {pid for _, pid in found},
            "variable": os.environ.get("OF_THE_JOB", ""),
        }
    )
    return [value for value, _ in found]


def cluster_job(ray_address: str, job_server: str, folder: str) -> dg.JobDefinition:
    ray_cluster = RayAddressWithJobs(
        ray_address=ray_address,
        job_server=job_server,
        driver="cluster",
        runtime_env={"env_vars": {"OF_THE_JOB": "set"}},
        ray_init_options={"log_to_driver": False},
    )
    resources = {"ray_cluster": ray_cluster, "io_manager": dg.FilesystemIOManager(base_dir=folder)}
    job = dg.define_asset_job("squares_job", ["numbers", "squares"])
    return dg.Definitions([numbers, squares], resources=resources, jobs=[job]).resolve_job_def("squares_job")

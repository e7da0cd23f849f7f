"""The tutorial's Ray job with Pipes: one asset, run on whichever Ray the environment chooses.

`DAGSTER_RAY_BACKEND=local` (or unset) starts Ray on this machine, `kuberay` makes a cluster on Kubernetes for each job,
and `RAY_JOB_SERVER=http://host:8265` submits to a cluster that runs already.
"""

# Dagster's Pipes results are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import os
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.local import LocalRay
from dagster_ray.pipes import PipesRayJobClient, RayPipesClient


class WorkloadConfig(dg.Config):
    """What the job is asked for."""

    count: int = 100


@dg.asset
def sum_by_pipes(
    context: dg.AssetExecutionContext, config: WorkloadConfig, ray_pipes_client: RayPipesClient
) -> dg.MaterializeResult[Any]:
    """The sum of the first squares, computed by a script that knows nothing of this asset."""
    return ray_pipes_client.run(
        context=context,
        ray_job={
            "entrypoint": "python ray_workload.py",
            # What the script needs beside ray is `dagster-pipes`: in the cluster's image, or as "pip" here.
            "runtime_env": {"working_dir": str(Path(__file__).parent)},
            "entrypoint_num_cpus": 1.0,
        },
        extras={"count": config.count},
    ).get_materialize_result()


def pipes_resources() -> dict[str, Any]:
    """Return the client that the environment chooses, and what it needs."""
    if address := os.environ.get("RAY_JOB_SERVER"):
        return {"ray_pipes_client": PipesRayJobClient(address)}
    if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay":
        return {"ray_pipes_client": PipesKubeRayJobClient()}
    return {"ray_cluster": LocalRay(), "ray_pipes_client": PipesRayJobClient.on_cluster("ray_cluster")}


definitions = dg.Definitions(assets=[sum_by_pipes], resources=pipes_resources())

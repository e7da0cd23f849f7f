"""A Pipes step in a process of its own: `python pipes_step_process.py`, with DAGSTER_HOME and PIPES_OPTIONS set."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import sys
import warnings

import dagster as dg

from dagster_ray.kuberay import PipesKubeRayJobClient


@dg.asset
def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesKubeRayJobClient) -> object:
    """Submit a job."""
    more = json.loads(os.environ.get("PIPES_JOB", "{}"))
    return ray_pipes_client.run(context=context, ray_job={"entrypoint": "python work.py", **more})


def client(_: dg.InitResourceContext) -> PipesKubeRayJobClient:
    """Return a client with the options of the moment; Dagster keeps a job's definition."""
    return PipesKubeRayJobClient(**json.loads(os.environ["PIPES_OPTIONS"]))


def pipes_job() -> dg.JobDefinition:
    """Return a job that materializes the asset in one process."""
    definitions = dg.Definitions(
        assets=[computed],
        jobs=[dg.define_asset_job("pipes_job", [computed], executor_def=dg.in_process_executor)],
        resources={"ray_pipes_client": dg.ResourceDefinition(client)},
    )
    return definitions.resolve_job_def("pipes_job")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with dg.DagsterInstance.get() as instance, dg.execute_job(dg.reconstructable(pipes_job), instance) as result:
        sys.exit(not result.success)

"""Dagster jobs that run Ray jobs with Pipes, for tests that need them in another process."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.pipes import PipesRayJobClient, RayPipesClient

SLOW = """
import time
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    for number in range(30):
        pipes.log.info(f"message {number}")
        time.sleep(0.25)
    pipes.report_asset_materialization(metadata={"messages": 30})
"""


def job_of(folder: Path, code: str) -> dict[str, Any]:
    """Return a Ray job that runs some code."""
    (folder / "work.py").write_text(code, encoding="utf-8")
    return {"entrypoint": "python work.py", "runtime_env": {"working_dir": str(folder)}}


@dg.asset
def slow_asset(context: dg.AssetExecutionContext, ray_pipes_client: RayPipesClient) -> object:
    """Send thirty messages in some seconds."""
    job = {"entrypoint": f"{sys.executable} slow.py", "runtime_env": {"working_dir": os.environ["JOB_FOLDER"]}}
    return ray_pipes_client.run(context=context, ray_job=job)


def client(_: dg.InitResourceContext) -> RayPipesClient:
    """Return the client that the environment of the moment names; Dagster keeps a job's definition."""
    if options := os.environ.get("KUBERAY_OPTIONS"):
        return PipesKubeRayJobClient(**json.loads(options))
    return PipesRayJobClient(os.environ["JOB_SERVER"])


def slow_job() -> dg.JobDefinition:
    """Return a job that materializes the asset in one process."""
    definitions = dg.Definitions(
        assets=[slow_asset],
        jobs=[dg.define_asset_job("slow_job", [slow_asset], executor_def=dg.in_process_executor)],  # pyright: ignore[reportUnknownMemberType]
        resources={"ray_pipes_client": dg.ResourceDefinition(client)},
    )
    return definitions.resolve_job_def("slow_job")


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance, dg.execute_job(dg.reconstructable(slow_job), instance) as result:
        sys.exit(not result.success)

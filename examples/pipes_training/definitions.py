"""A training job with Dagster Pipes: checkpoints that retries go on from, and a check of the result.

`DAGSTER_RAY_BACKEND=local` (or unset) trains on this machine's Ray, `kuberay` makes a cluster on Kubernetes for each
job, and `RAY_JOB_SERVER=http://host:8265` submits to a cluster that runs already.
"""

# Dagster's Pipes results are typed in part only, and beside check_specs Dagster accepts no MaterializeResult[...].
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeArgument=false
# pyright: reportUnknownParameterType=false

import os
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.local import LocalRay
from dagster_ray.pipes import PipesRayJobClient, RayPipesClient

CHECKPOINTS = Path(os.environ.get("CHECKPOINTS", str(Path(tempfile.gettempdir(), "line-checkpoints"))))


class TrainingConfig(dg.Config):
    """How long the model is trained."""

    epochs: int = 100


@dg.asset(
    check_specs=[dg.AssetCheckSpec("loss_is_low", asset="line")],
    retry_policy=dg.RetryPolicy(max_retries=2),
)
def line(
    context: dg.AssetExecutionContext, config: TrainingConfig, ray_pipes_client: RayPipesClient
) -> dg.MaterializeResult:
    """A line through some points. Retries and re-executions of a run go on from its checkpoint."""
    run = context.run.root_run_id or context.run.run_id
    return ray_pipes_client.run(
        context=context,
        ray_job={
            "entrypoint": "python train.py",
            # In a cluster's image that lacks it: "pip": ["dagster-pipes"]
            "runtime_env": {"working_dir": str(Path(__file__).parent)},
        },
        extras={"epochs": config.epochs, "checkpoint": str(CHECKPOINTS / run / "line.json")},
    ).get_materialize_result()


def pipes_resources() -> dict[str, Any]:
    """Return the client that the environment chooses, and what it needs."""
    if address := os.environ.get("RAY_JOB_SERVER"):
        return {"ray_pipes_client": PipesRayJobClient(address)}
    if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay":
        return {"ray_pipes_client": PipesKubeRayJobClient()}
    return {"ray_cluster": LocalRay(), "ray_pipes_client": PipesRayJobClient.on_cluster("ray_cluster")}


definitions = dg.Definitions(assets=[line], resources=pipes_resources())

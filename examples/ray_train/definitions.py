"""Ray Train in the body of an asset: two workers train one model, and the checkpoint becomes the asset's metadata.

`DAGSTER_RAY_BACKEND=local` (or unset) trains on this machine's Ray. With `kuberay`, `driver="cluster"` runs the body
inside a cluster on Kubernetes, where Ray Train has a driver of its own.
"""

# Ray's libraries and LightGBM are typed in part only, and are missing where the code location is only loaded.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportMissingTypeStubs=false
# ruff: noqa: PLC0415 - bodies and workers import what only the cluster's image has

import os
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.local import LocalRay

MODELS = Path(os.environ.get("MODELS", str(Path(tempfile.gettempdir(), "ray-train-models"))))
WORKERS = 2


class TrainingConfig(dg.Config):
    """How long the model is trained, and on how much."""

    rounds: int = 20
    rows: int = 400


def rows_of(count: int) -> list[dict[str, float]]:
    """Return the data, in place of files that workers read: the target is three times `x`, plus one."""
    return [{"x": number / count, "y": 3 * number / count + 1} for number in range(count)]


def train_loop(config: dict[str, int]) -> None:
    """Train on this worker's share of the data; LightGBM joins the workers' trees. Runs once in each worker."""
    import lightgbm
    import ray.train
    from ray.train.lightgbm import RayTrainReportCallback, get_network_params

    shard: Any = ray.train.get_dataset_shard("train")
    share = shard.materialize().to_pandas().astype(float)  # LightGBM knows no columns of Arrow
    data = lightgbm.Dataset(share[["x"]], label=share["y"])
    lightgbm.train(
        {"objective": "l2", "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1, **get_network_params()},
        data,
        num_boost_round=config["rounds"],
        valid_sets=[data],
        valid_names=["train"],
        callbacks=[RayTrainReportCallback()],
    )


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
def model(
    context: dg.AssetExecutionContext, config: TrainingConfig, ray_cluster: RayResource
) -> dg.MaterializeResult[Any]:
    """A model of the line. Ray Train replaces workers that die; a driver that dies is the retry policy's matter."""
    import ray.data
    from ray.train import RunConfig, ScalingConfig
    from ray.train.lightgbm import LightGBMTrainer

    trainer = LightGBMTrainer(
        train_loop,
        train_loop_config={"rounds": config.rounds},
        scaling_config=ScalingConfig(num_workers=WORKERS),
        datasets={"train": ray.data.from_items(rows_of(config.rows))},
        run_config=RunConfig(name=context.run_id, storage_path=str(MODELS)),
    )
    result: Any = trainer.fit()
    metadata = {
        "loss": float(result.metrics["train-l2"]),
        "checkpoint": dg.MetadataValue.path(result.checkpoint.path),
        "cluster": ray_cluster.display_name,
    }
    return dg.MaterializeResult(metadata=metadata)


def backend() -> RayResource:
    """Return the backend that the environment chooses. Ray Train is a native driver on both."""
    if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay":
        return KubeRayInteractiveJob(driver="cluster")
    return LocalRay(num_cpus=WORKERS + 1)


definitions = dg.Definitions(assets=[model], resources={"ray_cluster": backend()})

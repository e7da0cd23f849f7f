"""The same batch inference with Ray Data: a dataset streams through actors that each hold the model.

`DAGSTER_RAY_BACKEND=local` (or unset) keeps Ray on this machine for a minute between runs. With `kuberay`, one cluster
on Kubernetes serves all runs of a backfill, and `driver="cluster"` gives Ray Data a driver inside it.
"""

# Ray Data is typed in part only, and is missing where the code location is only loaded.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
# ruff: noqa: PLC0415 - the body imports what only the cluster's image has

import os
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster, build_cleanup_sensor
from dagster_ray.kuberay.configs import ClusterSharing, RayClusterConfig
from dagster_ray.local import LocalRay

MONTHS = dg.StaticPartitionsDefinition([f"2026-{month:02}" for month in range(1, 13)])
BATCH_SIZE = 32
POSITIVE, NEGATIVE = {"good", "great"}, {"bad", "poor"}


def reviews_of(month: str) -> list[dict[str, Any]]:
    """Return a month's reviews, in place of files: `ray.data.read_parquet` of a bucket, for example."""
    adjectives = ["good", "bad", "great", "plain"]
    return [{"month": month, "text": f"a {adjectives[number % 4]} product"} for number in range(100)]


class Scorer:
    """Holds the model; Ray Data makes as many as its `concurrency` says, and passes batches to them."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the score of each text: positive words less negative ones."""
        words = [set(str(text).split()) for text in batch["text"]]
        return {**batch, "score": [len(found & POSITIVE) - len(found & NEGATIVE) for found in words]}


@dg.asset(partitions_def=MONTHS)
def scores_by_ray_data(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dg.MaterializeResult[Any]:
    """The score of every review of a month."""
    import ray.data

    reviews = ray.data.from_items(reviews_of(context.partition_key))
    scored = reviews.map_batches(Scorer, batch_size=BATCH_SIZE, concurrency=1).materialize()
    mean: Any = scored.mean("score")
    metadata = {"reviews": scored.count(), "mean": float(mean), "cluster": ray_cluster.display_name}
    return dg.MaterializeResult(metadata=metadata)  # a real one writes: scored.write_parquet("s3://...")


def backend() -> RayResource:
    """Return the backend that the environment chooses; both keep the cluster warm between runs."""
    if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay":
        sharing = ClusterSharing(enabled=True, match_backfill=True)
        return KubeRayCluster(driver="cluster", ray_cluster=RayClusterConfig(cluster_sharing=sharing))
    return LocalRay(share=True, keep_seconds=60, num_cpus=2)


definitions = dg.Definitions(
    assets=[scores_by_ray_data],
    resources={"ray_cluster": backend()},
    sensors=[build_cleanup_sensor()] if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay" else [],
)

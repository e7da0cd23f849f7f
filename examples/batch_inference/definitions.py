"""Batch inference over partitions: a backfill runs on one warm cluster, on which the model is loaded once.

`DAGSTER_RAY_BACKEND=local` (or unset) keeps Ray on this machine for a minute between runs, `kuberay` makes one cluster
on Kubernetes for all runs of a backfill.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import ray

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster, build_cleanup_sensor
from dagster_ray.kuberay.configs import ClusterSharing, RayClusterConfig
from dagster_ray.local import LocalRay

MONTHS = dg.StaticPartitionsDefinition([f"2026-{month:02}" for month in range(1, 13)])
BATCH_SIZE = 32
POSITIVE, NEGATIVE = {"good", "great"}, {"bad", "poor"}


@ray.remote(num_cpus=0)
class Model:
    """A model that is slow to load and quick to use: here, words that count.

    What is decorated is sent to the cluster by value, so its image need not have this file.
    """

    def __init__(self) -> None:
        """Load the model. The name shows which copy has answered."""
        self.name = uuid.uuid4().hex[:8]

    def score(self, texts: Sequence[str]) -> list[int]:
        """Return the score of each text: positive words less negative ones."""
        words = [set(text.split()) for text in texts]
        return [len(found & POSITIVE) - len(found & NEGATIVE) for found in words]

    def loaded(self) -> str:
        """Return the name of this copy."""
        return self.name


def reviews_of(month: str) -> list[str]:
    """Return a month's texts, in place of a file or a query."""
    adjectives = ["good", "bad", "great", "plain"]
    return [f"a {adjectives[number % 4]} product of {month}" for number in range(100)]


def batches_of(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield texts in batches."""
    for start in range(0, len(texts), BATCH_SIZE):
        yield texts[start : start + BATCH_SIZE]


def model_on_the_cluster() -> Any:
    """Return the model's actor. It outlives this run, so that the next partition need not load the model again."""
    actor: Any = Model
    return actor.options(name="model", namespace="batch_inference", lifetime="detached", get_if_exists=True).remote()


@dg.asset(partitions_def=MONTHS)
def scores(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dg.MaterializeResult[list[int]]:
    """The score of every review of a month."""
    model = model_on_the_cluster()
    futures = [model.score.remote(batch) for batch in batches_of(reviews_of(context.partition_key))]
    found = [score for batch in ray.get(futures) for score in batch]
    metadata = {
        "reviews": len(found),
        "mean": sum(found) / len(found),
        "cluster": ray_cluster.display_name,
        "model": ray.get(model.loaded.remote()),
    }
    return dg.MaterializeResult(value=found, metadata=metadata)


def backend() -> RayResource:
    """Return the backend that the environment chooses; both keep the cluster warm between runs."""
    if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay":
        sharing = ClusterSharing(enabled=True, match_backfill=True)
        return KubeRayCluster(ray_cluster=RayClusterConfig(cluster_sharing=sharing))
    return LocalRay(share=True, keep_seconds=60, num_cpus=2)


definitions = dg.Definitions(
    assets=[scores],
    resources={"ray_cluster": backend()},
    # It deletes the cluster of a backfill when its last run is over.
    sensors=[build_cleanup_sensor()] if os.environ.get("DAGSTER_RAY_BACKEND") == "kuberay" else [],
)

"""Two partitions, each a run of its own, use one cluster and one copy of the model."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1]
PATIENCE_SECONDS = 300
TWO_RUNS = """
import dagster as dg
import definitions as example

with dg.DagsterInstance.ephemeral() as instance:
    for month in ("2026-01", "2026-02"):
        resources = {"ray_cluster": example.backend()}
        result = dg.materialize([example.scores], partition_key=month, resources=resources, instance=instance)
        (event,) = result.get_asset_materialization_events()
        found = event.materialization.metadata
        print("FOUND", found["reviews"].value, found["mean"].value, found["model"].value, flush=True)
"""
ON_KUBERNETES = """
import definitions as example

cluster = example.definitions.resources["ray_cluster"]
sensors = [sensor.name for sensor in example.definitions.sensors]
print("FOUND", type(cluster).__name__, cluster.ray_cluster.cluster_sharing.match_backfill, sensors)
"""
WITH_RAY_DATA = """
import sys
import ray_data_definitions as example

cluster = example.definitions.resources["ray_cluster"]
sensors = [sensor.name for sensor in example.definitions.sensors]
scorer = example.Scorer()
scores = scorer({"text": ["a good product", "a bad product", "a plain product"]})["score"]
print("FOUND", type(cluster).__name__, cluster.driver, sensors, scores, "ray.data" in sys.modules)
"""


def found_by(script: str, **variables: str) -> list[str]:
    """Return what a script prints after FOUND, in the folder of the example."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=EXAMPLE,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("FOUND ") for line in done.stdout.splitlines() if line.startswith("FOUND ")]


def test_the_second_partition_finds_cluster_and_model_warm() -> None:
    first, second = found_by(TWO_RUNS)
    assert first == second
    reviews, mean, model = first.split()
    assert (reviews, mean) == ("100", "0.25")
    assert len(model) == 8


def test_on_kubernetes_a_backfill_has_one_cluster_that_the_sensor_deletes() -> None:
    found = found_by(ON_KUBERNETES, DAGSTER_RAY_BACKEND="kuberay")
    assert found == ["KubeRayCluster True ['cleanup_expired_rayclusters']"]


def test_the_version_with_ray_data_loads_without_it_and_has_its_driver_in_the_cluster() -> None:
    """`make libraries` runs it there."""
    found = found_by(WITH_RAY_DATA, DAGSTER_RAY_BACKEND="kuberay")
    assert found == ["KubeRayCluster cluster ['cleanup_expired_rayclusters'] [1, -1, 0] False"]

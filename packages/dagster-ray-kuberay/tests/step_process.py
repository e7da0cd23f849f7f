"""A step in a process of its own: `python step_process.py CLASS FIELDS` runs one asset on such a resource."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import sys

import dagster as dg

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob


@dg.asset
def step(ray_cluster: RayResource) -> None:
    """Say that the body runs, and wait to be stopped."""
    print("the body runs", flush=True)
    sys.stdin.read()


def main() -> None:
    """Run the asset."""
    backend, given = {"job": KubeRayInteractiveJob, "cluster": KubeRayCluster}[sys.argv[1]], json.loads(sys.argv[2])
    lifecycle = Lifecycle(connect=False, cleanup="on_exception")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with dg.DagsterInstance.ephemeral() as instance:
        cluster = backend(lifecycle=lifecycle, **given)
        dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance)


if __name__ == "__main__":
    main()

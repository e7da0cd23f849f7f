"""A step in a process of its own: `python step_process.py FIELDS` runs one asset on a resource with these fields."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import sys

import dagster as dg

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob


@dg.asset
def step(ray_cluster: RayResource) -> None:
    """Say that the body runs, and wait to be stopped."""
    print("the body runs", flush=True)
    sys.stdin.read()


def main() -> None:
    """Run the asset."""
    given = json.loads(sys.argv[1])
    lifecycle = Lifecycle(connect=False, cleanup="on_exception")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with dg.DagsterInstance.ephemeral() as instance:
        cluster = KubeRayInteractiveJob(lifecycle=lifecycle, **given)
        dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance)


if __name__ == "__main__":
    main()

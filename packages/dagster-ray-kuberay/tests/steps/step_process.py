"""A step in a process of its own: `python step_process.py CLASS FIELDS [connect]` runs one asset on such a resource."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import contextlib
import json
import os
import sys

import dagster as dg
from typing_extensions import override

from dagster_ray.core import DagsterContext, Lifecycle, RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob


class SpeakingJob(KubeRayInteractiveJob):
    """Says when the head accepts drivers; what follows is the connection."""

    @override
    def on_ready(self, context: DagsterContext) -> None:
        print("the head accepts drivers", flush=True)


@dg.asset
def step(ray_cluster: RayResource) -> None:
    """Say that the body runs, and wait to be stopped, or to ask the cluster once more."""
    print("the body runs", flush=True)
    if sys.stdin.readline():
        import ray

        with contextlib.suppress(ConnectionError):
            ray.get(ray.put(1))
        ray.get(ray.put(1))  # where the head is lost, no Ray of this machine takes its place


def main() -> None:
    """Run the asset."""
    backend, given = {"job": SpeakingJob, "cluster": KubeRayCluster}[sys.argv[1]], json.loads(sys.argv[2])
    lifecycle = Lifecycle(connect="connect" in sys.argv[3:], cleanup="on_exception")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with dg.DagsterInstance.ephemeral() as instance:
        cluster = backend(lifecycle=lifecycle, **given)
        dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance)


if __name__ == "__main__":
    main()

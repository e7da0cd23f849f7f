"""One asset, three deployments: the variable `DEPLOYMENT` chooses where its Ray runs, and nothing else changes.

- `laptop` (or unset): Ray on this machine;
- `simulator`: KubeRay, played by the simulator on this machine;
- `cluster`: KubeRay, with the body of the asset inside the cluster.
"""

# Ray's decorators are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import ray

from dagster_ray.core import RayResource, check_ray_resources
from dagster_ray.kuberay import KubeRayInteractiveJob, build_cleanup_sensor
from dagster_ray.kuberay.groups import head_group
from dagster_ray.local import LocalRay


@dg.asset
def word_count(ray_cluster: RayResource) -> dg.MaterializeResult[int]:
    """How many words there are, each text counted by a task of its own. Knows no backend."""

    def words(text: str) -> int:
        return len(text.split())

    texts = ["one asset", "on three clusters", "without a change"]
    count: Any = ray.remote(words)
    total = sum(ray.get([count.remote(text) for text in texts]))
    return dg.MaterializeResult(value=total, metadata={"words": total, "cluster": ray_cluster.display_name})


def on_a_laptop() -> dict[str, Any]:
    """Return the resources for development: two CPUs of this machine."""
    return {"ray_cluster": LocalRay(num_cpus=2)}


def on_the_simulator() -> dict[str, Any]:
    """Return the same configuration classes as in production, small, and against the simulator's API server."""
    head = head_group(cpus=1, memory="2Gi", num_cpus=2)
    spec = {"rayClusterSpec": {"headGroupSpec": head, "workerGroupSpecs": []}}
    kubeconfig = os.environ.get("SIMULATOR_KUBECONFIG", "simulator.yaml")
    return {"ray_cluster": KubeRayInteractiveJob(kubeconfig_file=kubeconfig, ray_job={"spec": spec})}


def on_a_cluster() -> dict[str, Any]:
    """Return the resources for production: a cluster for each run, and values where the cluster's pods see them."""
    ray_cluster = KubeRayInteractiveJob(driver="cluster", image=os.environ.get("RAY_IMAGE"))
    return {
        "ray_cluster": ray_cluster,
        "io_manager": dg.FilesystemIOManager(base_dir=os.environ.get("SHARED_FOLDER", "/mnt/shared")),
    }


DEPLOYMENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "laptop": on_a_laptop,
    "simulator": on_the_simulator,
    "cluster": on_a_cluster,
}


def deployment() -> str:
    """Return the deployment that the environment names.

    Raises:
        ValueError: There is none of that name; the code location does not load then.
    """
    name = os.environ.get("DEPLOYMENT", "laptop")
    if name not in DEPLOYMENTS:
        raise ValueError(f"DEPLOYMENT is {name!r}; it must be one of {', '.join(DEPLOYMENTS)}")
    return name


definitions = check_ray_resources(
    dg.Definitions(
        assets=[word_count],
        resources=DEPLOYMENTS[deployment()](),
        sensors=[build_cleanup_sensor()] if deployment() == "cluster" else [],
    )
)

"""A code location for Dagster on Kubernetes: each step is a pod, and has a Ray cluster beside it.

Outside of Kubernetes, for example with `dg dev`, steps are processes and Ray runs on the same machine.
"""

# Only the image has dagster-k8s.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os

import dagster as dg
import ray

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob, build_cleanup_sensor
from dagster_ray.local import LocalRay

IN_KUBERNETES = "KUBERNETES_SERVICE_HOST" in os.environ
if IN_KUBERNETES:
    from dagster_k8s import k8s_job_executor as executor
else:
    executor = None


@ray.remote
def square(number: int) -> int:
    """Return the square of a number. Runs on the cluster."""
    return number * number


@dg.asset
def sum_of_squares(ray_cluster: RayResource) -> dg.MaterializeResult[int]:
    """The sum of the squares of 1 to 10."""
    total = sum(ray.get([square.remote(number) for number in range(1, 11)]))
    return dg.MaterializeResult(value=total, metadata={"total": total, "cluster": ray_cluster.display_name})


definitions = dg.Definitions(
    assets=[sum_of_squares],
    executor=executor,
    resources={"ray_cluster": KubeRayInteractiveJob() if IN_KUBERNETES else LocalRay(num_cpus=2)},
    sensors=[build_cleanup_sensor()] if IN_KUBERNETES else [],
)

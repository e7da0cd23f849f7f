"""`kuberay_executor`: each step of a run is a Ray job on a RayCluster that the run has for itself."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements

from dagster_ray.kuberay._runs.run_cluster import CLUSTER_FIELDS, RunCluster, RunRayCluster
from dagster_ray.pipes.executors import RUN_SCHEMA, DriverJobsConfig, RayExecutor, executor_at, step_jobs

_HEALTH_SECONDS = 2
"""A step that waits for the cluster is submitted this soon after the cluster is up."""
_LOOK_SECONDS = 20.0
SCHEMA: dict[str, Any] = {
    "ray": DriverJobsConfig.to_config_schema().as_field(),
    "kuberay": dg.Field(
        dg.Shape(CLUSTER_FIELDS), is_required=False, description="The RayCluster: fields of `KubeRayCluster`."
    ),
    **RUN_SCHEMA,
}


@dg.executor(name="kuberay", config_schema=SCHEMA, requirements=multiple_process_executor_requirements())
def kuberay_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Run each step of a run as a Ray job on a RayCluster of the run.

    The first step that needs the cluster lets it be created, and it is deleted when the run is over. The fields of
    `KubeRayCluster` below `kuberay` describe it; those below `ray` and the tag `dagster-ray/config` are those of
    `ray_executor`.

    Every process needs the code of the code location and Dagster's instance: its storage must be reachable from the
    cluster's pods.
    """
    return executor_of(init_context)


def executor_of(
    init_context: dg.InitExecutorContext, health_seconds: int = _HEALTH_SECONDS, look_seconds: float = _LOOK_SECONDS
) -> RayExecutor:
    """Return the executor, by its configuration.

    Args:
        init_context: The configuration, and the instance.
        health_seconds: Seconds after which a step that waits for the cluster is looked at again.
        look_seconds: Seconds between two looks at a job that runs.

    Raises:
        InvalidFieldError: A field has a wrong value.
    """
    given: dict[str, Any] = dict(init_context.executor_config)
    jobs = step_jobs(DriverJobsConfig(**given["ray"]), look_seconds)
    fields: dict[str, Any] = given["kuberay"]
    RunRayCluster.of(fields)  # here, so that what is wrong with it fails the run before its first step
    return executor_at(RunCluster(lambda: RunRayCluster.of(fields)), given, jobs, health_seconds)

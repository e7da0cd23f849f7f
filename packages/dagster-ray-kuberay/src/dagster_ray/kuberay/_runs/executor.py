"""`kuberay_executor`: each step of a run is a Ray job, on a RayCluster of the run or in a RayJob of the step."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay._runs.rayjob_per_step import STEP_FIELDS, RayJobPerStep
from dagster_ray.kuberay._runs.run_cluster import CLUSTER_FIELDS, RunCluster, RunRayCluster
from dagster_ray.kuberay._runs.worker_rayjob import refuse_unsubmittable
from dagster_ray.kuberay._runs.worker_rayjobs import WorkerRayJob
from dagster_ray.pipes.executors import RUN_SCHEMA, DriverJobsConfig, RayExecutor, StepPlaces, executor_at, step_jobs

_HEALTH_SECONDS = 2
"""A step that waits for the cluster is submitted this soon after the cluster is up."""
_LOOK_SECONDS = 20.0
_PER_RUN, _PER_STEP = ("ray_cluster", "cluster_sharing", "wait_for"), "ray_job"


def _if_given(field: dg.Field) -> dg.Field:
    """Return a field that is missing in the configuration where the user has not given it."""
    return dg.Field(field.config_type, is_required=False, description=field.description)


_FIELDS = {
    name: _if_given(field) if name in (*_PER_RUN, _PER_STEP) else field
    for name, field in {**CLUSTER_FIELDS, **STEP_FIELDS}.items()
}
SCHEMA: dict[str, Any] = {
    "ray": DriverJobsConfig.to_config_schema().as_field(),
    "kuberay": dg.Field(
        dg.Shape(_FIELDS),
        is_required=False,
        description=(
            "The RayCluster of the run: fields of `KubeRayCluster`. With `ray_job`, the RayJob of each step instead: "
            "fields of `KubeRayInteractiveJob`."
        ),
    ),
    **RUN_SCHEMA,
}


@dg.executor(name="kuberay", config_schema=SCHEMA, requirements=multiple_process_executor_requirements())
def kuberay_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Run each step of a run as a Ray job on a RayCluster of the run, or in a RayJob of its own.

    The first step that needs the cluster lets it be created, and it is deleted when the run is over. The fields of
    `KubeRayCluster` below `kuberay` describe it; those below `ray` and the tag `dagster-ray/config` are those of
    `ray_executor`. With `ray_job` below `kuberay`, each attempt of a step is a RayJob, whose job KubeRay's operator
    submits, and whose cluster ends with it.

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
        look_seconds: Seconds between two looks at a job that runs on the cluster of the run.

    Raises:
        InvalidFieldError: A field has a wrong value.
    """
    given: dict[str, Any] = dict(init_context.executor_config)
    fields: Mapping[str, Any] = given.get("kuberay") or {}
    ray = DriverJobsConfig(**given["ray"])
    is_per_step = _PER_STEP in fields
    places = _per_step(ray, fields) if is_per_step else _per_run(fields)
    # The status of a RayJob comes by the watch, so that a look at it costs nothing.
    jobs = step_jobs(ray, 0.0 if is_per_step else look_seconds)
    return executor_at(places, given, jobs, health_seconds)


def _per_run(fields: Mapping[str, Any]) -> StepPlaces:
    RunRayCluster.of(fields)  # here, so that what is wrong with it fails the run before its first step
    return RunCluster(lambda: RunRayCluster.of(fields))


def _per_step(ray: DriverJobsConfig, fields: Mapping[str, Any]) -> StepPlaces:
    for name in _PER_RUN:
        if name in fields:
            reason = "is set together with `ray_job`, by which each step has a cluster of its own"
            raise InvalidFieldError(f"kuberay.{name}", reason, f"leave out `{name}`, or `ray_job`")
    refuse_unsubmittable(ray.driver().of_job)
    return RayJobPerStep(WorkerRayJob.of(fields))

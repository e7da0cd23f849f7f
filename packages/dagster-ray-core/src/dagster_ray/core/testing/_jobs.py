"""The asset and the job by which the kit runs a step. Annotations are evaluated here: Dagster reads them."""

# Dagster's own functions are annotated in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from dagster_ray.core import RayResource
from dagster_ray.core.testing._backend import BackendUnderTest
from dagster_ray.core.testing._plan import Plan, load, read_plan
from dagster_ray.core.testing._steps import take_step

RESOURCE_KEY = "ray_cluster"
_JOB = "conformance"


def ephemeral_instance() -> dg.DagsterInstance:
    """Return an instance that keeps runs and events in memory."""
    return dg.DagsterInstance.ephemeral()


def conformance_asset(plan: Plan, backend: type[BackendUnderTest]) -> dg.AssetsDefinition:
    """Return an asset whose step does what the plan says."""

    @dg.asset(name=_JOB)
    def uses_ray(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
        take_step(context, ray_cluster, plan, backend)

    return uses_ray


def conformance_job(plan_file: str) -> dg.JobDefinition:
    """Return a job of that asset for the multiprocess executor, whose processes call this by name."""
    plan = read_plan(Path(plan_file))
    backend = load(plan)
    resources: Mapping[str, object] = {RESOURCE_KEY: backend.definition(plan.make(backend))}
    job = dg.define_asset_job(_JOB, executor_def=dg.multiprocess_executor)
    definitions = dg.Definitions([conformance_asset(plan, backend)], resources=resources, jobs=[job])
    return definitions.resolve_job_def(_JOB)


def materialize(
    plan: Plan, backend: type[BackendUnderTest], resource: RayResource, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    """Carry out a plan in this process, as a run of `instance`."""
    resources = {RESOURCE_KEY: backend.definition(resource)}
    return dg.materialize(
        [conformance_asset(plan, backend)], resources=resources, instance=instance, raise_on_error=False
    )

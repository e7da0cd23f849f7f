"""A RayJob for each step of a run: where steps are submitted if each has a cluster of its own."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Any, cast

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.resources_init import get_required_resource_keys_for_step

from dagster_ray.core import RayIOManager, interrupts_deferred
from dagster_ray.kuberay._runs.run_cluster import context_of, fields_of
from dagster_ray.kuberay._runs.step_rayjobs import StepRayJobs
from dagster_ray.kuberay._runs.worker_rayjob import rayjob_name
from dagster_ray.kuberay._runs.worker_rayjobs import WORKER_FIELDS, WorkerRayJob
from dagster_ray.pipes.errors import StepNotMovableError
from dagster_ray.pipes.executors import Place

STEP_FIELDS: Mapping[str, dg.Field] = {**WORKER_FIELDS, **fields_of(WorkerRayJob, ["queue_timeout"])}
"""The fields of `KubeRayInteractiveJob` that the RayJob of a step can have."""


class RayJobPerStep:
    """The places of a run whose steps have a RayJob each, which KubeRay's operator submits."""

    def __init__(self, template: WorkerRayJob) -> None:
        """Take what RayJobs have in common; nothing is asked for before a step needs it."""
        self._template = template
        self._jobs: StepRayJobs | None = None
        self._places: dict[str, Place] = {}

    def begin(self, plan_context: PlanOrchestrationContext) -> None:
        """Take the run.

        Raises:
            StepNotMovableError: A step would keep its output in the object store of a cluster that ends with it.
        """
        refuse_object_store(plan_context)
        context = context_of(plan_context.instance, plan_context.dagster_run, plan_context.log)
        self._jobs = StepRayJobs(self._template, context)

    def place_of(self, submission_id: str) -> Place:
        """Return the RayJob of a step; it is created with the submission."""
        jobs = self._jobs
        assert jobs is not None  # noqa: S101 - set by begin
        if submission_id not in self._places:
            metadata = {"dagster_ray/rayjob": dg.MetadataValue.text(rayjob_name(submission_id))}
            client: Any = cast("Any", jobs)
            self._places[submission_id] = Place(client, metadata=metadata, has_link=False, explained=jobs.explained)
        return self._places[submission_id]

    def end(self, *, will_resume: bool) -> None:
        """Leave the RayJobs to another process that goes on with the run, or delete those that have not ended."""
        if self._jobs is not None:
            with interrupts_deferred(redeliver=True):
                self._jobs.end(is_final=not will_resume)


def refuse_object_store(plan_context: PlanOrchestrationContext) -> None:
    """Raise if a step of a run keeps its output, or looks for an input, in an object store alone.

    Raises:
        StepNotMovableError: It does.
    """
    job, plan = plan_context.job.get_definition(), plan_context.execution_plan
    for step in plan.steps:
        for key in sorted(get_required_resource_keys_for_step(job, step, plan)):
            resource = job.resource_defs[key]
            made: type = getattr(resource, "configurable_resource_cls", None) or type(resource)
            nested: Mapping[str, object] = getattr(resource, "nested_resources", {})
            if issubclass(made, RayIOManager) and "underlying" not in nested:
                reason = f"its IO manager `{key}` keeps objects in the cluster, and each step has one of its own"
                advice = "give `RayIOManager` an `underlying` IO manager, or replace `ray_job` by `ray_cluster`"
                raise StepNotMovableError(f"The step {step.key}", reason, advice)

"""`ray_executor`: each step of a run is a Ray job."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import logging
from collections.abc import Generator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent, HandledOutputData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.objects import StepFailureData, StepRetryData
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster_shared.error import SerializableErrorInfo
from typing_extensions import override

from dagster_ray.core.run_objects import are_held
from dagster_ray.pipes._driver_config import config_of_tags
from dagster_ray.pipes._executor.configuration import DriverJobsConfig, RayJobsConfig, variables_of
from dagster_ray.pipes._executor.run_launcher import RayRunLauncher
from dagster_ray.pipes._executor.step_handler import RayStepHandler, StepJobs
from dagster_ray.pipes._executor.step_places import OneServer, StepPlaces
from dagster_ray.pipes._executor.step_processes import RayOrProcess, StepProcesses
from dagster_ray.pipes._job_client import RayJobClient

_HEALTH_SECONDS = 20
RUN_SCHEMA: dict[str, Any] = {
    "retries": get_retries_config(),
    "max_concurrent": dg.Field(
        dg.Noneable(dg.Int),
        is_required=False,
        default_value=None,
        description="How many steps of a run may run at the same time. Unset: as many as there are.",
    ),
    "tag_concurrency_limits": get_tag_concurrency_limits_config(),
    "only_ray_steps": dg.Field(
        dg.Bool,
        is_required=False,
        default_value=False,
        description=(
            "Submit only steps that have the tag `dagster-ray/config` or a Ray resource. The others run as processes "
            "beside the executor."
        ),
    ),
}
"""What each executor of Ray jobs has beside `ray`."""
SCHEMA: dict[str, Any] = {"ray": RayJobsConfig.to_config_schema().as_field(), **RUN_SCHEMA}


class RayExecutor(StepDelegatingExecutor):
    """Dagster's executor for steps that run elsewhere, with what must happen before the first and after the last."""

    def __init__(
        self,
        places: StepPlaces,
        handler: RayStepHandler,
        *,
        retries: RetryMode,
        only_ray_steps: bool = False,
        **options: Any,
    ) -> None:
        """Take where steps are submitted, what submits them, and the options of Dagster's executor."""
        self._places, self._handler, self._processes = places, handler, StepProcesses()
        super().__init__(RayOrProcess(handler, self._processes) if only_ray_steps else handler, retries, **options)

    @override
    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Generator[DagsterEvent, Any]:
        """Check the tags of all steps, run them, and end what `RayIOManager` holds for the run.

        A worker that is interrupted leaves steps and objects to the next worker of the run, if there will be one.
        """
        for step in execution_plan.steps:
            config_of_tags(step.tags or {}, f"the step {step.key}")
        objects_are_held = will_resume = False
        self._places.begin(plan_context)
        try:
            for event in super().execute(plan_context, execution_plan):
                if isinstance(event.event_specific_data, HandledOutputData):
                    objects_are_held |= are_held(event.event_specific_data.metadata)
                self._explain_interrupt(event, plan_context.log)
                yield event
        except dg.DagsterExecutionInterruptedError:
            will_resume = True  # as long as the run cannot be read
            will_resume = _will_resume(plan_context.instance, plan_context.run_id)
            if not will_resume:
                self._handler.stop_steps(plan_context.instance, plan_context.run_id, plan_context.log)
            raise
        finally:
            if objects_are_held and not will_resume:
                self._handler.end_objects(plan_context.dagster_run, plan_context.log)
            self._processes.end(will_resume=will_resume)
            self._places.end(will_resume=will_resume)

    def _explain_interrupt(self, event: DagsterEvent, log: logging.Logger) -> None:
        """Log why a step was interrupted that this executor has not stopped: its own event does not know."""
        data, job = event.event_specific_data, self._handler.job_of(event.step_key or "")
        if isinstance(data, (StepFailureData, StepRetryData)) and job is not None and _is_interrupt(data.error):
            log.error(
                "The step %s was interrupted, but not by this run: somebody stopped its Ray job %s, or the job's node "
                "is shutting down.",
                event.step_key,
                job,
            )


@dg.executor(name="ray", config_schema=SCHEMA, requirements=multiple_process_executor_requirements())
def ray_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Run each step of a run as a Ray job on the job server at `ray.address`.

    Without an address, that of the instance's `RayRunLauncher` is used.

    Every process needs the code of the code location and Dagster's instance: its storage must be reachable from the
    cluster. The tag `dagster-ray/config` of an op or asset says what its driver takes.
    """
    return executor_of(init_context)


def executor_of(init_context: dg.InitExecutorContext, health_seconds: int = _HEALTH_SECONDS) -> RayExecutor:
    """Return the executor, by its configuration.

    Args:
        init_context: The configuration, and the instance.
        health_seconds: Seconds between two looks at the jobs of all steps that run.

    Raises:
        InvalidFieldError: A field has a wrong value, or there is no job server.
    """
    given: dict[str, Any] = dict(init_context.executor_config)
    config = RayJobsConfig(**given["ray"])
    places = OneServer(_client(config, init_context.instance))
    return executor_at(places, given, step_jobs(config), health_seconds)


def step_jobs(config: DriverJobsConfig, look_seconds: float = 0.0) -> StepJobs:
    """Return how the jobs of steps are submitted.

    Args:
        config: The fields below `ray`.
        look_seconds: Least seconds between two looks at a job.

    Raises:
        InvalidFieldError: A field has a wrong value.
    """
    variables = variables_of(config.env_vars)
    return StepJobs(config.driver(), variables, config.metadata or {}, config.server_timeout, look_seconds)


def executor_at(places: StepPlaces, given: Mapping[str, Any], jobs: StepJobs, health_seconds: int) -> RayExecutor:
    """Return an executor that submits steps at some places.

    Args:
        places: Where steps are submitted.
        given: The executor's configuration; `RUN_SCHEMA` has the fields that are read here.
        jobs: How the jobs of steps are submitted.
        health_seconds: Seconds after which Dagster asks how each running step is.
    """
    return RayExecutor(
        places,
        RayStepHandler(places, jobs),
        retries=RetryMode.from_config(given["retries"]) or RetryMode.ENABLED,
        only_ray_steps=given["only_ray_steps"],
        check_step_health_interval_seconds=health_seconds,
        max_concurrent=given["max_concurrent"],
        tag_concurrency_limits=given.get("tag_concurrency_limits"),
        should_verify_step=True,
    )


def _is_interrupt(error: SerializableErrorInfo | None) -> bool:
    """Return whether a process has raised an error because it got a signal to end."""
    while error is not None:
        if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
            return True
        error = error.cause
    return False


def _client(config: RayJobsConfig, instance: dg.DagsterInstance) -> RayJobClient:
    # The launcher is loaded where it is needed only: another one may be of a package that is not installed here.
    if config.address is None and isinstance(launcher := instance.run_launcher, RayRunLauncher):
        return launcher.client
    return config.client()


def _will_resume(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether another worker goes on with a run. Dagster counts attempts only (dagster-io/dagster#33923)."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished or run.status == dg.DagsterRunStatus.CANCELING:
        return False
    return instance.run_will_resume(run_id)

"""Steps that need no Ray, as processes beside the executor: which ones, and their lives."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import StepOrchestrationContext
from dagster._core.execution.resources_init import get_required_resource_keys_for_step
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from typing_extensions import override

from dagster_ray.core import Deadline, RayIOManager, is_ray_resource
from dagster_ray.pipes._driver_config import CONFIG_TAG
from dagster_ray.pipes._executor.event_log import PROCESS_KEY, attempts_in_log
from dagster_ray.pipes._executor.step_handler import TERMINATION_SECONDS, RayStepHandler, failed_step, step_of

_PROCESS = "dagster_ray.pipes._executor.ended_with_parent"
_PAUSE_SECONDS = 0.1
_TEARDOWN_SECONDS = 10.0


def needs_ray(step: StepOrchestrationContext) -> bool:
    """Return whether a step needs Ray: by the tag `dagster-ray/config`, a Ray resource or a `RayIOManager`.

    What loads its inputs counts, too, and so does what a resource is made of.

    A resource that a function makes is not known before it runs, so it counts as none.
    """
    if CONFIG_TAG in (step.step.tags or {}):
        return True
    job = step.job.get_definition()
    keys = get_required_resource_keys_for_step(job, step.step, step.execution_plan)
    return any(_is_of_ray(job.resource_defs[key]) for key in keys)


def _is_of_ray(resource: object) -> bool:
    """Return whether a definition, or a resource that another one has, needs Ray."""
    made: type = getattr(resource, "configurable_resource_cls", None) or type(resource)
    nested: Mapping[str, object] = getattr(resource, "nested_resources", {})
    return is_ray_resource(made) or issubclass(made, RayIOManager) or any(_is_of_ray(one) for one in nested.values())


class StepProcesses(StepHandler):
    """Runs each step as a process on the machine of the executor, with which it ends."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._launches = 0
        self._is_stopped = False

    @property
    @override
    def name(self) -> str:
        """The name of the handler in the run's log."""
        return "StepProcesses"

    @override
    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Start a step's process."""
        context, step = step_handler_context, step_of(step_handler_context)
        key, arguments = step.step.key, step_handler_context.execute_step_args
        command = [sys.executable, "-m", _PROCESS]
        words: list[str] = [*arguments.get_command_args(skip_serialized_namedtuple=True)[1:]]
        own = {"DAGSTER_RUN_JOB_NAME": context.dagster_run.job_name, "DAGSTER_RUN_STEP_KEY": key}
        given = {each["name"]: each["value"] for each in arguments.get_command_env()}
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is a list made here
                [*command, *words], env={**os.environ, **own, **given}, stdin=subprocess.PIPE
            )
        except OSError as error:
            yield failed_step(context, step, error)
            return
        self._running[key] = process
        self._launches += 1
        metadata = {PROCESS_KEY: dg.MetadataValue.text(f"{process.pid}-{self._launches}")}
        yield DagsterEvent.step_worker_starting(
            step, f"The step {key} needs no Ray: it runs as process {process.pid} beside the executor.", metadata
        )

    @override
    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Return whether a step's process runs, or has ended the step itself."""
        context, step = step_handler_context, step_of(step_handler_context)
        process = self._running.get(step.step.key)
        if process is None:
            return CheckStepHealthResult.unhealthy("it ran beside a worker of the run that has ended")
        code = process.poll()
        if code is None:
            return CheckStepHealthResult.healthy()
        found = attempts_in_log(context.instance, context.dagster_run.run_id).get(step.step.key)
        if found is not None and found.has_ended:
            return CheckStepHealthResult.healthy()
        return CheckStepHealthResult.unhealthy(
            f"its process {process.pid} has ended with exit code {code}, without the event that ends the step"
        )

    @override
    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Stop a step's process and wait for its end, at most 30 s.

        Dagster terminates all steps of a run, one after the other: the first call stops all of them at once. Steps
        that have written their ends may still tear down.
        """
        context, key = step_handler_context, step_of(step_handler_context).step.key
        if key in self._running and not self._is_stopped:
            self._is_stopped = True
            found = attempts_in_log(context.instance, context.dagster_run.run_id)
            over = {other for other, attempt in found.items() if attempt.has_ended} - {key}
            _stop([process for other, process in self._running.items() if other not in over])
        return iter(())

    def end(self, *, will_resume: bool) -> None:
        """End all processes. A step that has written its end may still tear down, for 10 s.

        Args:
            will_resume: Whether another worker starts again what runs: a process that is asked to end would let its
                step fail, so it is killed.
        """
        found = list(self._running.values())
        if not will_resume:
            _await(found, _TEARDOWN_SECONDS)
            _stop(found)
        for process in found:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, and kill those that run after 30 s."""
    for process in processes:
        process.terminate()
    _await(processes, TERMINATION_SECONDS)
    for process in processes:
        process.kill()


def _await(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    deadline = Deadline(seconds)
    while any(process.poll() is None for process in processes) and deadline.sleep(_PAUSE_SECONDS):
        pass


class RayOrProcess(StepHandler):
    """Runs the steps that need Ray as Ray jobs, and the others as processes."""

    def __init__(self, jobs: RayStepHandler, processes: StepProcesses) -> None:
        """Take both."""
        self._jobs, self._processes = jobs, processes
        self._needs_ray: dict[str, bool] = {}

    @property
    @override
    def name(self) -> str:
        """The name of the handler in the run's log."""
        return f"{self._jobs.name}, or {self._processes.name} without Ray"

    def _handler_of(self, context: StepHandlerContext) -> StepHandler:
        step = step_of(context)
        if step.step.key not in self._needs_ray:
            self._needs_ray[step.step.key] = needs_ray(step)
        return self._jobs if self._needs_ray[step.step.key] else self._processes

    @override
    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Launch a step where it belongs."""
        return self._handler_of(step_handler_context).launch_step(step_handler_context)

    @override
    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Look at a step where it runs."""
        return self._handler_of(step_handler_context).check_step_health(step_handler_context)

    @override
    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Stop a step where it runs."""
        return self._handler_of(step_handler_context).terminate_step(step_handler_context)

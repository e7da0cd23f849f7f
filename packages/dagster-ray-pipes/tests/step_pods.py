"""Steps as processes that run `dagster api execute_step`, as pods of dagster-k8s do, and jobs of `driver_jobs` so."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Iterator
from typing import Any

import dagster as dg
import driver_jobs
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
from forked_workers import as_process, dagster_command
from typing_extensions import override


class Processes(StepHandler):
    """Each step is a process that runs `dagster api execute_step`, as a pod does with dagster-k8s."""

    def __init__(self) -> None:
        self.processes: dict[str, Any] = {}

    @property
    @override
    def name(self) -> str:
        return "Processes"

    @override
    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        words = list(step_handler_context.execute_step_args.get_command_args())
        self.processes[_key(step_handler_context)] = as_process(dagster_command, words[words.index("api") :])
        yield from ()

    @override
    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        code = self.processes[_key(step_handler_context)].exitcode
        return CheckStepHealthResult.unhealthy(f"exit code {code}") if code else CheckStepHealthResult.healthy()

    @override
    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        self.processes[_key(step_handler_context)].terminate()
        yield from ()


def _key(context: StepHandlerContext) -> str:
    keys = context.execute_step_args.step_keys_to_execute
    assert keys is not None
    return keys[0]


@dg.executor(name="steps_elsewhere")
def steps_elsewhere(_: Any) -> StepDelegatingExecutor:
    return StepDelegatingExecutor(
        Processes(), retries=RetryMode.ENABLED, sleep_seconds=0.2, check_step_health_interval_seconds=1
    )


def job_of(name: str, url: str, driver: str, folder: str, base: str | None = None) -> dg.JobDefinition:
    """Return a job; another process calls this, too."""
    found = driver_jobs.definitions(url, driver, folder, base, executor=steps_elsewhere)
    return found.resolve_job_def(name)

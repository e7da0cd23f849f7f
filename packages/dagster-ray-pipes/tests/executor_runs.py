"""Runs of `executor_jobs`, whose steps are jobs of a job server that forks them."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._utils.interrupts import capture_interrupts
from driver_runs import until
from forked_workers import ForkedWorkers

HERE = str(Path(__file__).parent)
TERMINAL = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY")


def job_of(folder: Path, name: str, executor: str = "quick") -> ReconstructableJob:
    arguments: Any = (name, executor, str(folder))
    return dg.build_reconstructable_job("executor_jobs", "job_of", arguments, {}, HERE)


def execute(
    instance: dg.DagsterInstance, workers: ForkedWorkers, folder: Path, name: str, executor: str = "quick", **ray: Any
) -> dg.JobExecutionResult:
    job = job_of(folder, name, executor)
    more = {"only_ray_steps": True} if ray.pop("only_ray_steps", False) else {}
    config = {"execution": {"config": {"ray": {"address": workers.url, **ray}, **more}}}
    return dg.execute_job(job, instance, run_config=config, raise_on_error=False)


def ends(run: dg.JobExecutionResult) -> list[str]:
    return sorted(
        f"{event.step_key} {event.event_type_value}" for event in run.all_events if event.event_type_value in TERMINAL
    )


def interrupted(
    instance: dg.DagsterInstance,
    workers: ForkedWorkers,
    folder: Path,
    name: str,
    condition: Callable[[], bool],
    **ray: Any,
) -> dg.JobExecutionResult:
    """Execute a run whose worker gets SIGTERM as soon as a condition holds."""

    def interrupt() -> None:
        until(condition)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    with capture_interrupts():
        run = execute(instance, workers, folder, name, **ray)
    watcher.join()
    return run

"""Jobs whose steps are Ray jobs on a RayCluster of their run: those that Pipes tries with `ray_executor`."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import time
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.interrupts import capture_interrupts
from executor_jobs import JOBS, Broken, Folder, Holder, SlowlyBrokenOnce, SomeRay, number

from dagster_ray.core import RayIOManager
from dagster_ray.kuberay import kuberay_executor
from dagster_ray.kuberay._runs.executor import SCHEMA, executor_of

HERE = str(Path(__file__).parent)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def waits_again(folder: Folder) -> None:
    (Path(folder.path) / "waits").touch()
    while not (Path(folder.path) / "go").exists():
        time.sleep(0.05)  # noqa: TID251


@dg.job
def retried_waiting() -> None:
    waits_again()


@dg.job(resource_defs={"io_manager": RayIOManager()})
def object_store() -> None:
    number()


@dg.executor(name="quick_kuberay", config_schema=SCHEMA)
def quick_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Look at the steps each time that the executor reads its events."""
    return executor_of(init_context, health_seconds=0, look_seconds=0.0)


def job_of(name: str, executor: str, folder: str) -> dg.JobDefinition:
    """Return a job; other processes call this, too."""
    resources = {
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
        "folder": Folder(path=folder),
        "broken": Broken(),
        "holder": Holder(),
        "slowly_broken_once": SlowlyBrokenOnce(path=folder),
        "some_ray": SomeRay(),
    }
    executors = {"quick": quick_executor, "kuberay": kuberay_executor, "in_process": dg.in_process_executor}
    chosen = executors[executor]
    return dg.Definitions(
        jobs=[*JOBS, retried_waiting, object_store], resources=resources, executor=chosen
    ).resolve_job_def(name)


def reconstructable(name: str, folder: Path, executor: str = "quick") -> Any:
    arguments: Any = (name, executor, str(folder))
    return dg.build_reconstructable_job("run_jobs", "job_of", arguments, {}, HERE)


def work(home: str, name: str, folder: str, config: Any) -> None:
    """Be the worker of a run, which can be killed."""
    with dg.DagsterInstance.local_temp(home) as instance, capture_interrupts():
        dg.execute_job(reconstructable(name, Path(folder)), instance, run_config=config, raise_on_error=False)

"""Jobs whose steps are Ray jobs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.retries import RetryMode

from dagster_ray.core import BaseRayResource, DagsterContext, Deadline, Lifecycle, StepOutcome
from dagster_ray.core.run_objects import KEEPER_KEY
from dagster_ray.pipes import RayJobClient, ray_executor
from dagster_ray.pipes._driver_config import DriverConfig
from dagster_ray.pipes._executor.executor import SCHEMA, RayExecutor, executor_of
from dagster_ray.pipes._executor.step_handler import RayStepHandler, StepJobs
from dagster_ray.pipes._executor.step_places import OneServer


@dg.executor(name="quick_ray", config_schema=SCHEMA)
def quick_ray_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Look at the steps each time that the executor reads its events."""
    return executor_of(init_context, health_seconds=0)


@dg.executor(name="impatient_ray", config_schema=SCHEMA)
def impatient_ray_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Wait little for each answer, by a clock on which 50 seconds are one."""
    ray: Any = init_context.executor_config["ray"]
    client = RayJobClient(ray["address"], timeout=1.0)
    jobs = StepJobs(DriverConfig(), server_timeout=ray["server_timeout"])
    places = OneServer(client)
    handler = RayStepHandler(places, jobs, lambda: 50 * time.monotonic())
    return RayExecutor(places, handler, retries=RetryMode.ENABLED, check_step_health_interval_seconds=0)


def attempts(folder: str, name: str) -> int:
    file = Path(folder) / f"attempts of {name}"
    with file.open("a") as opened:
        opened.write("x")
    return len(file.read_text())


class Folder(dg.ConfigurableResource[Any]):
    path: str


@dg.op(tags={"dagster-ray/config": {"num_cpus": 2, "runtime_env": {"env_vars": {"FROM_TAG": "tag", "BOTH": "tag"}}}})
def one() -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in ("FROM_CONFIG", "FROM_LIST", "FROM_TAG", "BOTH")}


@dg.op
def other(found: dict[str, str]) -> str:
    return f"{found} {os.environ['DAGSTER_RUN_STEP_KEY']} {os.environ.get('BOTH')}"


@dg.op(out=dg.DynamicOut(int))
def several() -> Iterator[Any]:
    for n in range(3):
        yield dg.DynamicOutput(n, mapping_key=f"k{n}")


@dg.op
def number() -> int:
    return 1


@dg.op
def double(n: int) -> int:
    return n * 2


@dg.op
def total(found: list[int]) -> int:
    return sum(found)


@dg.op
def fails() -> None:
    raise ValueError("no data")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def fails_once(folder: Folder) -> int:
    if attempts(folder.path, "fails_once") == 1:
        raise ValueError("the first time")
    return 1


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def dies_once(folder: Folder) -> int:
    if attempts(folder.path, "dies_once") == 1:
        os._exit(3)
    return 2


@dg.op
def leaves() -> None:
    os._exit(0)


@dg.op
def sleeps(context: dg.OpExecutionContext, folder: Folder) -> None:
    (Path(folder.path) / f"asleep-{context.op_handle.name}").touch()
    time.sleep(60)  # noqa: TID251


@dg.op
def waits(context: dg.OpExecutionContext, folder: Folder) -> int:
    (Path(folder.path) / "waits").touch()
    while not (Path(folder.path) / "go").exists():
        time.sleep(0.05)  # noqa: TID251
    return 1


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def waits_or_retries(folder: Folder) -> None:
    (Path(folder.path) / "waits").touch()
    while not (Path(folder.path) / "go").exists():
        time.sleep(0.05)  # noqa: TID251


@dg.op
def waits_unprotected(folder: Folder) -> None:
    """Wait as a process does that has no handler of signals yet."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (Path(folder.path) / "waits").touch()
    time.sleep(60)  # noqa: TID251


@dg.op(tags={"dagster-ray/config": {"num_cpu": 2}})
def misspelled() -> None: ...


class Broken(dg.ConfigurableResource[Any]):
    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        raise ConnectionError("no database here")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def needs_database(broken: Broken) -> None: ...


class SlowlyBrokenOnce(dg.ConfigurableResource[Any]):
    path: str

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        (Path(self.path) / "prepares").touch()
        while not (Path(self.path) / "go").exists():
            time.sleep(0.05)  # noqa: TID251
        if attempts(self.path, "setup") == 1:
            raise ConnectionError("no database yet")


class Holder(dg.ConfigurableIOManager):
    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        context.add_output_metadata({KEEPER_KEY: "an actor"})

    def load_input(self, context: dg.InputContext) -> int:
        return 4


@dg.op(out=dg.Out(io_manager_key="holder"))
def held() -> int:
    return 4


@dg.op
def prepared(n: int, slowly_broken_once: SlowlyBrokenOnce) -> int:
    return n * 2


@dg.job
def environments() -> None:
    other(one())


@dg.job
def dynamic() -> None:
    total(several().map(double).collect())


@dg.job
def failing() -> None:
    fails()
    number()


@dg.job
def retries() -> None:
    total([fails_once(), dies_once()])


@dg.job
def everything() -> None:
    other(one())
    fails()
    dies_once()


@dg.job
def leaving() -> None:
    leaves()


@dg.job
def sleeping() -> None:
    sleeps.alias("one_sleeps")()
    sleeps.alias("other_sleeps")()


@dg.job
def waiting() -> None:
    double(waits())


@dg.op(tags={"dagster-ray/config": {"num_cpus": 1000, "resources": {"disk": 0.5}}})
def requests() -> None: ...


@dg.job
def requesting() -> None:
    requests()


@dg.job
def losing() -> None:
    waits_or_retries()


@dg.job
def unprotected() -> None:
    waits_unprotected()


@dg.job
def misspelling() -> None:
    number()
    misspelled()


@dg.job
def broken_resource() -> None:
    needs_database()


@dg.job
def holding() -> None:
    prepared(held())


class SomeRay(BaseRayResource):
    """A Ray resource that does nothing."""

    lifecycle: Lifecycle = Lifecycle(create=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def display_name(self) -> str:
        return "nothing"

    @property
    def address(self) -> str:
        return "ray://nowhere:10001"

    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None: ...

    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None: ...

    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None: ...


@dg.op
def with_resource(found: int, some_ray: SomeRay) -> str:
    return f"{os.environ['DAGSTER_RUN_STEP_KEY']} {found}"


@dg.job
def mixed() -> None:
    with_resource(dies_once())
    one()


@dg.job
def sleeping_beside() -> None:
    sleeps.alias("one_sleeps")()


JOBS = [environments, everything, dynamic, failing, retries, leaving, sleeping, waiting, misspelling, broken_resource]
JOBS.extend([holding, mixed, sleeping_beside, losing, unprotected, requesting])


def job_of(name: str, executor: str, folder: str) -> dg.JobDefinition:
    """Return a job; other processes call this, too."""
    executors = {"quick": quick_ray_executor, "impatient": impatient_ray_executor, "ray": ray_executor}
    resources = {
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
        "folder": Folder(path=folder),
        "broken": Broken(),
        "holder": Holder(),
        "slowly_broken_once": SlowlyBrokenOnce(path=folder),
        "some_ray": SomeRay(),
    }
    return dg.Definitions(jobs=JOBS, resources=resources, executor=executors[executor]).resolve_job_def(name)

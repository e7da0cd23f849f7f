"""Jobs whose bodies run in a cluster of KubeRay, or in the step's process, as a test asks."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._utils.interrupts import capture_interrupts
from step_pods import steps_elsewhere

from dagster_ray.core import RayResource
from dagster_ray.core.cluster_step.inside import inside
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob
from dagster_ray.kuberay.groups import head_group

HERE = str(Path(__file__).parent)
SPEC: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2), "workerGroupSpecs": []}


@dg.asset
def squares(ray_cluster: RayResource) -> list[int]:
    import ray

    @ray.remote
    def square(n: int) -> int:
        return n * n

    return ray.get([square.remote(n) for n in range(4)])


class Folder(dg.ConfigurableResource[Any]):
    """A folder in which bodies note what they do, and wait for a file."""

    path: str

    def note(self, text: str) -> int:
        """Note something; return how much is noted now."""
        notes = Path(self.path) / "notes"
        with notes.open("a") as file:
            file.write(f"{text}\n")
        return len(notes.read_text().split())

    def wait_for(self, name: str) -> None:
        while not (Path(self.path) / name).exists():
            time.sleep(0.05)  # noqa: TID251


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def slow(context: dg.AssetExecutionContext, ray_cluster: RayResource, folder: Folder) -> dg.MaterializeResult[Any]:
    folder.note("body")
    for n in range(10):
        context.log.info("line %d", n)
    folder.wait_for("go")
    for n in range(10, 20):
        context.log.info("line %d", n)
    return dg.MaterializeResult(metadata={"n": 1})


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def fails(ray_cluster: RayResource, folder: Folder) -> None:
    folder.note("body")
    raise ValueError("no")


@dg.asset
def broken(ray_cluster: RayResource, folder: Folder) -> None:
    folder.note("broken")
    raise ValueError("no")


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def fails_once(ray_cluster: RayResource, folder: Folder) -> None:
    if folder.note("body") == 1:
        raise ValueError("the first time")


@dg.asset(deps=[fails_once])
def broken_at_last(ray_cluster: RayResource) -> None:
    raise ValueError("at last")


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=5), check_specs=[dg.AssetCheckSpec("whole", asset="counted")])
def counted(context: dg.AssetExecutionContext, ray_cluster: RayResource, folder: Folder) -> Iterator[Any]:
    folder.note("body")
    for n in range(40):
        context.log.info("line %d", n)
        time.sleep(0.02)  # noqa: TID251
    context.log_event(dg.AssetObservation("elsewhere"))
    yield dg.Output(40, metadata={"n": 40})
    yield dg.AssetCheckResult(passed=True, check_name="whole")


class Lingering(dg.ConfigurableResource[Any]):
    """What takes for ever to be torn down in the cluster."""

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        while inside() is not None:
            time.sleep(0.05)  # noqa: TID251


@dg.asset
def lingers(ray_cluster: RayResource, folder: Folder, lingering: Lingering) -> None:
    folder.note("body")


class LingeringHere(dg.ConfigurableResource[Any]):
    """What takes for ever to be torn down in the step's process."""

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        while True:
            time.sleep(0.05)  # noqa: TID251


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=5))
def plain(lingering_here: LingeringHere, folder: Folder) -> None:
    """A step of Dagster alone."""
    folder.note("body")


@dg.asset(deps=[plain])
def after_plain() -> None:
    """Starts once Dagster has heard of the success of `plain`."""


@dg.asset
def other(ray_cluster: RayResource, folder: Folder) -> None:
    folder.note("other")


def resource_of(kind: str, fields: dict[str, Any]) -> Any:
    made: Any = KubeRayInteractiveJob if kind == "RayJob" else KubeRayCluster
    own = {"ray_job": {"spec": {"rayClusterSpec": SPEC}}} if kind == "RayJob" else {"ray_cluster": {"spec": SPEC}}
    return made(**{**own, **fields})


def job_of(name: str, kind: str, fields: dict[str, Any], folder: str, in_pods: bool = False) -> dg.JobDefinition:
    resources: dict[str, Any] = {
        "ray_cluster": resource_of(kind, fields),
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
        "folder": Folder(path=folder),
        "lingering": Lingering(),
        "lingering_here": LingeringHere(),
    }
    assets = [squares, slow, fails, broken, broken_at_last, fails_once, counted, lingers, plain, after_plain, other]
    job = dg.define_asset_job("job", name.split(","), executor_def=steps_elsewhere if in_pods else None)
    defs = dg.Definitions(assets=assets, jobs=[job], resources=resources)
    return defs.resolve_job_def("job")


def reconstructable(name: str, kind: str, fields: dict[str, Any], folder: Path, *, in_pods: bool = False) -> Any:
    arguments: Any = (name, kind, fields, str(folder), in_pods)
    return dg.build_reconstructable_job("driver_steps", "job_of", arguments, {}, HERE)


def host(home: str, name: str, fields: dict[str, Any], folder: str) -> None:
    """Run a job in this process, which can be terminated."""
    config: Any = {"execution": {"config": {"in_process": {}}}}
    with dg.DagsterInstance.local_temp(home) as instance, capture_interrupts():
        job = reconstructable(name, "RayJob", fields, Path(folder))
        dg.execute_job(job, instance, run_config=config, raise_on_error=False)

"""Jobs whose bodies run in a cluster of KubeRay, or in the step's process, as a test asks."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource
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

    def note(self, text: str) -> None:
        with (Path(self.path) / "notes").open("a") as file:
            file.write(f"{text}\n")

    def wait_for(self, name: str) -> None:
        while not (Path(self.path) / name).exists():
            time.sleep(0.05)  # noqa: TID251


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=3))
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
def other(ray_cluster: RayResource, folder: Folder) -> None:
    folder.note("other")


def resource_of(kind: str, fields: dict[str, Any]) -> Any:
    made: Any = KubeRayInteractiveJob if kind == "RayJob" else KubeRayCluster
    own = {"ray_job": {"spec": {"rayClusterSpec": SPEC}}} if kind == "RayJob" else {"ray_cluster": {"spec": SPEC}}
    return made(**{**own, **fields})


def job_of(name: str, kind: str, fields: dict[str, Any], folder: str) -> dg.JobDefinition:
    resources: dict[str, Any] = {
        "ray_cluster": resource_of(kind, fields),
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
        "folder": Folder(path=folder),
    }
    defs = dg.Definitions(
        assets=[squares, slow, fails, other], jobs=[dg.define_asset_job("job", name.split(","))], resources=resources
    )
    return defs.resolve_job_def("job")


def reconstructable(name: str, kind: str, fields: dict[str, Any], folder: Path) -> Any:
    arguments: Any = (name, kind, fields, str(folder))
    return dg.build_reconstructable_job("driver_steps", "job_of", arguments, {}, HERE)


def main() -> None:
    """Run `slow` in this process, which can be terminated: `python driver_steps.py DAGSTER_FOLDER FIELDS FOLDER`."""
    from dagster._utils.interrupts import capture_interrupts

    home, fields, folder = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    config: Any = {"execution": {"config": {"in_process": {}}}}
    with dg.DagsterInstance.local_temp(home) as instance, capture_interrupts():
        job = reconstructable("slow", "RayJob", fields, folder)
        dg.execute_job(job, instance, run_config=config, raise_on_error=False)


if __name__ == "__main__":
    main()

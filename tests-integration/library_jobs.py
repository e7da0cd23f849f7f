"""Bodies that use Ray's libraries. The worker in the cluster loads this file, too."""

# Ray's libraries are typed in part only, and are missing where `make libraries` has not installed them.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportMissingTypeStubs=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false

import os
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster
from dagster_ray.local import LocalRay


def driver(ray_cluster: RayResource) -> dict[str, bool]:
    """Return which kind of driver this process is."""
    import ray
    from ray.util.client import ray as client

    native = ray_cluster.job_id == ray.get_runtime_context().get_job_id()
    return {"native": native, "ray_client": client.is_connected()}


class Folder(dg.ConfigurableResource[Any]):
    """A folder that bodies and their workers have."""

    path: str


@dg.asset
def data(ray_cluster: RayResource, folder: Folder) -> dg.MaterializeResult[Any]:
    """Files of the driver's own node are written and read: Ray Client cannot."""
    import ray.data

    where = f"local://{Path(folder.path) / 'numbers'}"

    def squared(batch: dict[str, Any]) -> dict[str, Any]:
        return {"square": batch["id"] ** 2}

    ray.data.range(100, override_num_blocks=2).map_batches(squared).write_parquet(where)
    total = sum(int(row["square"]) for row in ray.data.read_parquet(where).iter_rows())
    return dg.MaterializeResult(metadata={"total": total, **driver(ray_cluster)})


@dg.asset
def trained(ray_cluster: RayResource, folder: Folder) -> dg.MaterializeResult[Any]:
    """Two workers train, meet, and report. Ray Train keeps those metrics that come with a checkpoint."""
    from ray import train
    from ray.train.collective import barrier
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    def loop() -> None:
        context = train.get_context()
        barrier()
        for step in range(3):
            metrics = {"loss": 1 / (step + 1), "workers": context.get_world_size(), "process": os.getpid()}
            with tempfile.TemporaryDirectory() as saved:
                Path(saved, "step").write_text(str(step), encoding="utf-8")
                train.report(metrics, checkpoint=train.Checkpoint.from_directory(saved))

    scaling = train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5})
    where = train.RunConfig(name="trained", storage_path=folder.path)
    result: Any = DataParallelTrainer(loop, scaling_config=scaling, run_config=where).fit()
    found = {name: result.metrics[name] for name in ("loss", "workers")}
    elsewhere = result.metrics["process"] != os.getpid()
    return dg.MaterializeResult(metadata={**found, "elsewhere": elsewhere, **driver(ray_cluster)})


@dg.asset
def tuned(ray_cluster: RayResource, folder: Folder) -> dg.MaterializeResult[Any]:
    """Three trials, of which the best one is known."""
    from ray import tune

    def trial(config: Any) -> None:
        tune.report({"loss": (config["x"] - 2) ** 2})

    tuner = tune.Tuner(
        trial,
        param_space={"x": tune.grid_search([1, 2, 3])},
        run_config=tune.RunConfig(name="tuned", storage_path=folder.path),
    )
    best: Any = tuner.fit().get_best_result("loss", "min")
    return dg.MaterializeResult(metadata={"x": best.config["x"], **driver(ray_cluster)})


def local_job(folder: str) -> dg.JobDefinition:
    """Return a job whose bodies use Ray Data and Ray Train on this machine's Ray, in the process of their step."""
    resources: dict[str, Any] = {
        "ray_cluster": LocalRay(num_cpus=4),
        "folder": Folder(path=folder),
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
    }
    assets = [data, trained]
    defs = dg.Definitions(assets, resources=resources, jobs=[dg.define_asset_job("job", assets)])
    return defs.resolve_job_def("job")


def libraries_job(fields: dict[str, Any], folder: str) -> dg.JobDefinition:
    """Return a job whose bodies run on one cluster."""
    resources: dict[str, Any] = {
        "ray_cluster": KubeRayCluster(driver="cluster", **fields),
        "folder": Folder(path=folder),
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
    }
    assets = [data, trained, tuned]
    defs = dg.Definitions(assets, resources=resources, jobs=[dg.define_asset_job("job", assets)])
    return defs.resolve_job_def("job")


def example_job(folder: str, name: str) -> dg.JobDefinition:
    """Return the job of an example's assets: a file in a folder of `examples`."""
    import importlib.util

    path = Path(__file__).parents[1] / "examples" / folder / name
    spec = importlib.util.spec_from_file_location(f"{folder}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    job = dg.define_asset_job("example_job", dg.AssetSelection.all())
    return dg.Definitions.merge(module.definitions, dg.Definitions(jobs=[job])).resolve_job_def("example_job")

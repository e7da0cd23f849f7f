"""The tutorial's asset with either driver, and two that need a retry or fail. The worker loads this file, too."""

# Dagster's and Ray's decorators are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster


def tutorial() -> Any:
    """Return the tutorial's module. Clusters do not have the file, so its functions travel by value."""
    from ray import cloudpickle

    path = Path(__file__).parents[1] / "examples/tutorial/definitions.py"
    spec = importlib.util.spec_from_file_location("tutorial_definitions", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


@dg.asset(code_version="1", retry_policy=dg.RetryPolicy(max_retries=1))
def second_attempt(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> Iterator[Any]:
    context.log.info("body: attempt %d", context.retry_number)
    if context.retry_number == 0:
        raise ValueError("the first time")
    yield dg.Output([ray_cluster.display_name], metadata={"attempts": 2})


@dg.asset_check(asset=second_attempt)
def is_whole(second_attempt: list[str], ray_cluster: RayResource) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=second_attempt == [ray_cluster.display_name], metadata={"n": len(second_attempt)})


@dg.asset(code_version="1")
def fails(second_attempt: list[str], ray_cluster: RayResource) -> None:
    raise dg.Failure("enough", metadata={"cluster": ray_cluster.display_name})


def both_drivers_job(fields: dict[str, Any], folder: str) -> dg.JobDefinition:
    """Return the job; the fields say which driver."""
    resources: dict[str, Any] = {
        "ray_cluster": KubeRayCluster(**fields),
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
    }
    assets = [tutorial().sum_of_squares, second_attempt, fails]
    job = dg.define_asset_job("job", assets)
    return dg.Definitions(assets, resources=resources, asset_checks=[is_whole], jobs=[job]).resolve_job_def("job")

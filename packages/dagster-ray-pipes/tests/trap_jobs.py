"""Steps that a plain step launcher of Dagster gets wrong in silence, all in one job, and keys that only it knows."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from driver_jobs import DAYS_OF_GROUPS, GROUPS, Folder, Loud, mourned, noted
from watched_ray import watched

from dagster_ray.core import RayResource

ONCE_MORE = dg.RetryPolicy(max_retries=1)


def note(folder: Folder, what: str) -> None:
    with (Path(folder.path) / "bodies").open("a") as opened:
        opened.write(f"{what}\n")


@dg.op(out=dg.Out(io_manager_key="of_the_instance"), retry_policy=ONCE_MORE)
def keeps(folder: Folder, ray_cluster: RayResource) -> int:
    note(folder, "keeps")
    return 1


@dg.op
def takes(n: int) -> None: ...


@dg.op(out=dg.Out(io_manager_key="of_the_instance"))
def keeps_for_nobody(ray_cluster: RayResource) -> int:
    return 1


@dg.op
def changes_the_instance(context: dg.OpExecutionContext, ray_cluster: RayResource) -> None:
    context.instance.add_dynamic_partitions("runs", [context.run_id])


class Nested(dg.ConfigurableResource[Any]):
    """A resource that has the cluster, as a library of the user's would."""

    ray: dg.ResourceDependency[RayResource]

    def name(self) -> str:
        return self.ray.address


@dg.op
def loud_op(loud: Loud, ray_cluster: RayResource) -> None: ...


@dg.op
def nested_too(nested: Nested, ray_cluster: RayResource) -> None:
    assert nested.name() == ray_cluster.address


@dg.op
def nested_only(nested: Nested) -> None:
    nested.name()


@dg.op(out={"first": dg.Out(int), "second": dg.Out(int)}, retry_policy=ONCE_MORE)
def newer_output(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> Iterator[Any]:
    """Its outputs arrive as another Dagster would write them."""
    note(folder, "newer_output")
    context.log.info("before")
    yield dg.Output(1, "first")
    context.log.info("between")
    yield dg.Output(2, "second")
    context.log.info("after")


@dg.op(retry_policy=ONCE_MORE)
def newer_success(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> int:
    """Its success arrives as another Dagster would write it."""
    note(folder, "newer_success")
    context.log.info("before")
    return 1


NEWER = {"newer_output": b"StepOutputData", "newer_success": b"StepSuccessData"}
"""What another Dagster calls by another name in the events of a step."""


@dg.job(hooks={noted, mourned})
def traps() -> None:
    takes(keeps())
    keeps_for_nobody()
    changes_the_instance()
    loud_op()
    nested_too()
    nested_only()
    takes.alias("takes_output")(newer_output()[0])
    takes.alias("takes_success")(newer_success())


@dg.asset(partitions_def=GROUPS, code_version="1")
def groups_at_once(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"keys": list(context.partition_keys)})


@dg.asset(partitions_def=DAYS_OF_GROUPS, code_version="1")
def cells_at_once(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"keys": [str(key) for key in context.partition_keys]})


@dg.asset(partitions_def=GROUPS, code_version="1")
def size(context: dg.AssetExecutionContext) -> int:
    return len(context.partition_key)


@dg.asset(code_version="1")
def sizes(context: dg.AssetExecutionContext, size: dict[str, int], ray_cluster: RayResource) -> dict[str, int]:
    context.log.info("of %s", sorted(size))
    return size


def definitions(url: str, driver: str, folder: str) -> dg.Definitions:
    ray = watched(url, driver)
    return dg.Definitions(
        assets=[groups_at_once, cells_at_once, size, sizes],
        jobs=[
            traps,
            dg.define_asset_job("groups_at_once_job", ["groups_at_once"], partitions_def=GROUPS),
            dg.define_asset_job("cells_at_once_job", ["cells_at_once"], partitions_def=DAYS_OF_GROUPS),
            dg.define_asset_job("sizes_job", ["sizes"]),
        ],
        resources={
            "io_manager": dg.FilesystemIOManager(base_dir=folder),
            "of_the_instance": dg.FilesystemIOManager(),
            "ray_cluster": ray,
            "folder": Folder(path=folder),
            "nested": Nested(ray=ray),
            "loud": Loud(path=folder),
        },
    )


def job_of(name: str, url: str, driver: str, folder: str, base: str | None = None) -> dg.JobDefinition:
    """Return a job; another process calls this, too."""
    assert base is None
    return definitions(url, driver, folder).resolve_job_def(name)

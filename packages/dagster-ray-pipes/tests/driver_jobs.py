"""Jobs whose steps run in the cluster or in their own process, as a test asks: what they tell must be the same."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from watched_ray import watched

from dagster_ray.core import RayResource

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-05")
GROUPS = dg.DynamicPartitionsDefinition(name="groups")
DAYS_OF_GROUPS = dg.MultiPartitionsDefinition({"day": DAYS, "group": GROUPS})


@dg.asset(code_version="1")
def up() -> int:
    return 3


@dg.asset(code_version="2", check_specs=[dg.AssetCheckSpec("positive", asset="down")])
def down(context: dg.AssetExecutionContext, up: int, ray_cluster: RayResource) -> Iterator[Any]:
    context.log.info("%d from %s", up, ray_cluster.display_name)
    context.log_event(dg.AssetObservation("elsewhere", metadata={"n": 1}))
    yield dg.Output(up + 1, metadata={"rows": up, "path": dg.MetadataValue.path("/a")})
    yield dg.AssetCheckResult(passed=True, check_name="positive", metadata={"m": 2.5})


@dg.multi_asset(
    outs={"m1": dg.AssetOut(code_version="1"), "m2": dg.AssetOut(code_version="1")},
    internal_asset_deps={"m1": {dg.AssetKey("down")}, "m2": {dg.AssetKey("m1")}},
)
def both(down: int, ray_cluster: RayResource) -> Iterator[Any]:
    yield dg.Output(down, "m1")
    yield dg.Output(down + 1, "m2")


@dg.multi_asset(
    specs=[dg.AssetSpec(name, skippable=True, code_version="1") for name in ("even", "odd")],
    check_specs=[dg.AssetCheckSpec(name, asset=asset) for asset in ("even", "odd") for name in ("few", "many")],
    can_subset=True,
)
def parts(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> Iterator[Any]:
    yield from (dg.MaterializeResult(asset_key=key) for key in context.op_execution_context.selected_asset_keys)
    for asset, name in sorted(context.op_execution_context.selected_asset_check_keys):
        yield dg.AssetCheckResult(passed=True, asset_key=asset, check_name=name)


@dg.asset_check(asset=up)
def up_is_small(up: int, ray_cluster: RayResource) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=up < 2, severity=dg.AssetCheckSeverity.WARN)


@dg.asset(code_version="1", deps=[dg.AssetDep("source")])
def result_of(ray_cluster: RayResource) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"a": 1}, data_version=dg.DataVersion("mine"))


@dg.asset(partitions_def=DAYS, code_version="1")
def daily_up(context: dg.AssetExecutionContext) -> str:
    return context.partition_key


@dg.asset(partitions_def=DAYS, code_version="1")
def daily(context: dg.AssetExecutionContext, daily_up: Any, ray_cluster: RayResource) -> str:
    window = context.partition_time_window
    return f"{context.partition_key} {window.start} {sorted(daily_up)}"


@dg.asset_check(asset=daily)
def daily_is_there(context: dg.AssetCheckExecutionContext, ray_cluster: RayResource) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset(partitions_def=GROUPS, code_version="1")
def group(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"keys": list(context.instance.get_dynamic_partitions("groups"))})


@dg.asset(partitions_def=DAYS_OF_GROUPS, code_version="1")
def cell(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={"key": str(context.partition_key)})


ASSETS = [up, down, both, parts, result_of, daily_up, daily, group, cell, dg.AssetSpec("source")]
CHECKS = [up_is_small, daily_is_there]


@dg.op(out=dg.DynamicOut(int))
def several(ray_cluster: RayResource) -> Iterator[Any]:
    for n in range(2):
        yield dg.DynamicOutput(n, mapping_key=f"k{n}", metadata={"n": n})


@dg.op(out={"a": dg.Out(int), "b": dg.Out(int, is_required=False)})
def two(n: int, ray_cluster: RayResource) -> Iterator[Any]:
    yield dg.Output(n, "a", metadata={"a": n})
    if n:
        yield dg.Output(n * 2, "b")


@dg.op
def total(found: list[int]) -> int:
    return sum(found)


@dg.job
def dynamic() -> None:
    total(several().map(lambda n: two(n)[0]).collect())


def attempts(folder: str) -> int:
    file = Path(folder) / "attempts"
    with file.open("a") as opened:
        opened.write("x")
    return len(file.read_text())


class Folder(dg.ConfigurableResource[Any]):
    path: str


class Loud(dg.ConfigurableResource[Any]):
    """Notes where it is set up and torn down."""

    path: str

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._note("up")

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        self._note("down")

    def _note(self, what: str) -> None:
        from dagster_ray.core.cluster_step.inside import inside

        with (Path(self.path) / "loud").open("a") as opened:
            opened.write(f"{what} {'host' if inside() is None else 'cluster'}\n")


class Fails(dg.ConfigurableResource[Any]):
    """Cannot be set up in the cluster."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        from dagster_ray.core.cluster_step.inside import inside

        if inside() is not None:
            raise ConnectionError("no database here")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
def fails_once(folder: Folder, ray_cluster: RayResource) -> None:
    if attempts(folder.path) == 1:
        raise ValueError("the first time")


@dg.op
def asks_for_a_retry(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> None:
    if context.retry_number == 0:
        raise dg.RetryRequested(max_retries=1)


@dg.success_hook(required_resource_keys={"folder"})
def noted(context: dg.HookContext) -> None:
    with (Path(context.resources.folder.path) / "hooks").open("a") as opened:
        opened.write(f"success {context.op.name}\n")


@dg.failure_hook(required_resource_keys={"folder"})
def mourned(context: dg.HookContext) -> None:
    with (Path(context.resources.folder.path) / "hooks").open("a") as opened:
        opened.write(f"failure {context.op.name} {context.op_exception}\n")


@dg.op(retry_policy=dg.RetryPolicy(max_retries=3))
def gives_up(ray_cluster: RayResource) -> None:
    raise dg.Failure("enough", metadata={"why": "because"}, allow_retries=False)


@dg.job(hooks={noted, mourned})
def retries() -> None:
    fails_once()
    asks_for_a_retry()
    gives_up()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def needs_database(fails: Fails, ray_cluster: RayResource) -> None: ...


@dg.job
def broken_resource() -> None:
    needs_database()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def dies_once(folder: Folder, ray_cluster: RayResource) -> int:
    if attempts(folder.path) == 1:
        os._exit(3)
    return 5


@dg.job
def dies() -> None:
    dies_once()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def sleeps(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> None:
    attempts(folder.path)
    context.log.info("asleep")
    (Path(folder.path) / "asleep").touch()
    time.sleep(60)  # noqa: TID251


@dg.job
def sleeper() -> None:
    sleeps()


@dg.op
def floods(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> None:
    """Log faster than a database stores, without an end."""
    attempts(folder.path)
    context.log.info("asleep")
    (Path(folder.path) / "asleep").touch()
    while True:
        context.log.debug("more")


@dg.job
def flooder() -> None:
    floods()


@dg.op
def bursts(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> None:
    """Log faster than a database stores, and end."""
    attempts(folder.path)
    context.log.info("asleep")
    (Path(folder.path) / "asleep").touch()
    for _ in range(1000):
        context.log.debug("more")


@dg.job
def burster() -> None:
    bursts()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=3))
def counts(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> int:
    attempts(folder.path)
    for n in range(40):
        context.log.info("line %d", n)
        time.sleep(0.05)  # noqa: TID251
    return 40


@dg.job
def counter() -> None:
    counts()


@dg.op(out=dg.DynamicOut(int), retry_policy=dg.RetryPolicy(max_retries=3))
def fans(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> Iterator[Any]:
    attempts(folder.path)
    yield dg.DynamicOutput(1, mapping_key="k0")
    for n in range(200):
        context.log.info("line %d", n)
    yield dg.DynamicOutput(2, mapping_key="k1")


@dg.op
def one(n: int) -> int:
    return n


@dg.job
def fan() -> None:
    total.alias("rest")(fans().map(one).collect())


@dg.op(config_schema={"lines": dg.Field(int, default_value=300)})
def talks(context: dg.OpExecutionContext, ray_cluster: RayResource) -> None:
    for n in range(context.op_config["lines"]):
        context.log.info("line %d", n)


@dg.job
def talker() -> None:
    talks()


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1, delay=0.25))
def loses_its_nodes(context: dg.OpExecutionContext, folder: Folder, ray_cluster: RayResource) -> int:
    """Loses a node, then has a bug, then loses its process, then succeeds."""
    from ray.exceptions import NodeDiedError  # only the jobs that lose a node need Ray

    number = attempts(folder.path)
    assert number == context.retry_number + 1
    if number == 1:
        raise NodeDiedError("Task failed because the node it was running on is dead or unavailable.")
    if number == 2:
        raise ValueError("the step's own error")
    if number == 3:
        raise RuntimeError("training failed") from NodeDiedError("again")
    return 5


@dg.job
def loser() -> None:
    loses_its_nodes()


JOBS = [
    loser, dynamic, fan, retries, broken_resource, dies, counter, talker,
    sleeper, flooder, burster,
]  # fmt: skip


def definitions(
    url: str,
    driver: str,
    folder: str,
    base: str | None = None,
    *,
    executor: dg.ExecutorDefinition | None = None,
    **fields: Any,
) -> dg.Definitions:
    ray = watched(url, driver, **fields)
    base_dir = folder if base is None else base
    io_manager = dg.FilesystemIOManager(base_dir=base_dir) if base_dir else dg.FilesystemIOManager()
    selected = [
        dg.define_asset_job("assets", ["up", "down", "m1", "m2", "result_of"]),
        dg.define_asset_job("numbers", ["even", "odd"]),
    ]
    selected += [dg.define_asset_job("days", ["daily_up", "daily"], partitions_def=DAYS)]
    selected += [dg.define_asset_job("groups", ["group"], partitions_def=GROUPS)]
    selected += [dg.define_asset_job("cells", ["cell"], partitions_def=DAYS_OF_GROUPS)]
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=CHECKS,
        jobs=[*selected, *JOBS],
        executor=executor,
        resources={
            "io_manager": io_manager,
            "ray_cluster": ray,
            "folder": Folder(path=folder),
            "loud": Loud(path=folder),
            "fails": Fails(),
        },
    )


def job_of(name: str, url: str, driver: str, folder: str, base: str | None = None) -> dg.JobDefinition:
    """Return a job; another process calls this, too."""
    return definitions(url, driver, folder, base).resolve_job_def(name)

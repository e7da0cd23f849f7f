"""Steps that pass objects through the object store; some of them in the test's own process."""

# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from typing import Any

import dagster as dg
import ray

from dagster_ray.core import RayIOManager
from dagster_ray.core.run_objects import NAMESPACE, keeper_name
from dagster_ray.pipes import ray_executor

LETTERS = dg.StaticPartitionsDefinition(["a", "b", "c"])


@dg.op
def make() -> bytes:
    return bytes(30 * 2**20)


@dg.op(out=dg.DynamicOut(int))
def several() -> Any:
    for n in range(2):
        yield dg.DynamicOutput(n, mapping_key=f"k{n}")


@dg.op
def measure(data: bytes, n: int) -> int:
    return len(data) + n


@dg.op
def total(found: list[int]) -> int:
    return sum(found)


@dg.graph
def passing_graph() -> None:
    data = make()
    total(several().map(lambda n: measure(data, n)).collect())


passing = passing_graph.to_job(name="passing", executor_def=ray_executor, resource_defs={"io_manager": RayIOManager()})


@dg.op
def lose(context: dg.OpExecutionContext, data: bytes) -> int:
    ray.kill(ray.get_actor(keeper_name(context.run_id), namespace=NAMESPACE))
    return len(data)


@dg.op
def read(after: int, data: bytes) -> int:
    return after + len(data)


@dg.op
def nothing() -> Any:
    """Return a value that is None: without an annotation of None, Dagster stores it like any other."""
    return None


@dg.op
def expect_none(found: Any) -> str:
    return repr(found)


@dg.asset
def number() -> int:
    return 5


@dg.asset
def next_number(number: int) -> int:
    return number + 1


@dg.asset(partitions_def=LETTERS)
def letter(context: dg.AssetExecutionContext) -> str:
    return context.partition_key.upper()


@dg.asset(partitions_def=LETTERS)
def twice(letter: str) -> str:
    return letter * 2


@dg.asset
def word(letter: dict[str, str]) -> str:
    return "".join(letter[key] for key in sorted(letter))


def passing_job() -> dg.JobDefinition:
    """Return the job; other processes call this, too."""
    return passing


def multiprocess_job() -> dg.JobDefinition:
    """Return the same job for processes of this machine."""
    return dg.Definitions(
        jobs=[passing_graph.to_job(name="by_processes", resource_defs={"io_manager": RayIOManager()})]
    ).resolve_job_def("by_processes")

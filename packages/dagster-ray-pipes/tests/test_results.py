"""What a step gets from its job: exactly what Dagster's own `PipesSubprocessClient` gives for the same script.

Both clients run each script in each shape of a step; runs with any version of Dagster.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import dagster as dg
import pytest
from ray_like_server import RayLike

from dagster_ray.pipes import PipesRayJobClient

# The preview warning is of the client of Dagster that ours is compared with.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:Function `PipesMessageReader.expected_writer_count`"
)

Run: TypeAlias = Callable[[Any], Any]
"""Runs the script with one of the clients, given the context."""

MATERIALIZES = "pipes.report_asset_materialization(metadata={'n': 1}, data_version='v')"
MATERIALIZES_A = "pipes.report_asset_materialization(asset_key='a', metadata={'n': 1})"
MATERIALIZES_B = "pipes.report_asset_materialization(asset_key='b')"
CHECKS = "pipes.report_asset_check(check_name='one', passed=True, metadata={'m': 2.5})"
CHECKS_A = "pipes.report_asset_check(asset_key='a', check_name='one', passed=True)"
CHECKS_A_TWO = "pipes.report_asset_check(asset_key='a', check_name='two', passed=False, severity='WARN')"
CHECKS_B = "pipes.report_asset_check(asset_key='b', check_name='one', passed=False)"
SAYS = "pipes.report_custom_message({'k': [1, 'two']})"


@dataclass(frozen=True)
class Shape:
    """A kind of step, and what its script reports."""

    make: Callable[[Run], Any]
    """Returns the definition, whose body returns what it is given of the run."""
    lines: tuple[str, ...] = ()
    selection: tuple[str, ...] | None = None
    """The assets that are materialized. Unset: all."""


def asset(*checks: str) -> Callable[[Run], Any]:
    specs = [dg.AssetCheckSpec(name=name, asset="a") for name in checks]

    def make(run: Run) -> Any:
        @dg.asset(check_specs=specs)
        def a(context: dg.AssetExecutionContext):
            return run(context)

        return a

    return make


def multi(*checks: tuple[str, str], can_subset: bool = False) -> Callable[[Run], Any]:
    specs = [dg.AssetSpec("a", skippable=can_subset), dg.AssetSpec("b", skippable=can_subset)]
    check_specs = [dg.AssetCheckSpec(name=name, asset=key) for key, name in checks]

    def make(run: Run) -> Any:
        @dg.multi_asset(specs=specs, check_specs=check_specs, can_subset=can_subset)
        def both(context: dg.AssetExecutionContext):
            return run(context)

        return both

    return make


def check(run: Run) -> Any:
    @dg.asset_check(asset="a", name="one")
    def checked(context: dg.AssetCheckExecutionContext):
        return run(context.op_execution_context)

    return checked


def checks_of_others(run: Run) -> Any:
    @dg.multi_asset_check(specs=[dg.AssetCheckSpec(name="one", asset=key) for key in ("a", "b")])
    def checked(context: dg.AssetCheckExecutionContext):
        return run(context.op_execution_context)

    return checked


def op(run: Run) -> Any:
    @dg.op
    def works(context: dg.OpExecutionContext) -> None:
        run(context)

    return works


SHAPES: dict[str, Shape] = {
    "an asset that reports nothing": Shape(asset()),
    "an asset": Shape(asset(), (MATERIALIZES,)),
    "an asset with a custom message": Shape(asset(), (SAYS, MATERIALIZES, SAYS)),
    "an asset with a check": Shape(asset("one"), (MATERIALIZES_A, CHECKS_A)),
    "an asset with a check, which is reported first": Shape(asset("one"), (CHECKS_A, MATERIALIZES_A)),
    "an asset with a check, and nothing of the asset": Shape(asset("one"), (CHECKS_A,)),
    "an asset with a check that names no asset": Shape(asset("one"), (CHECKS,)),
    "an asset with two checks, and nothing of the asset": Shape(asset("one", "two"), (CHECKS_A, CHECKS_A_TWO)),
    "an asset with two checks": Shape(asset("one", "two"), (CHECKS_A, MATERIALIZES_A, CHECKS_A_TWO)),
    "several assets, none reported": Shape(multi()),
    "several assets, one reported": Shape(multi(), (MATERIALIZES_B,)),
    "several assets, all reported": Shape(multi(), (MATERIALIZES_B, MATERIALIZES_A)),
    "several assets, and checks alone": Shape(multi(("a", "one"), ("b", "one")), (CHECKS_B, CHECKS_A)),
    "several assets, and the check of one": Shape(multi(("b", "one")), (MATERIALIZES_A, CHECKS_B)),
    "several assets that can be subset": Shape(multi(can_subset=True), (MATERIALIZES_A, MATERIALIZES_B)),
    "one of several assets": Shape(multi(can_subset=True), (MATERIALIZES_A,), ("a",)),
    "one of several assets, not reported": Shape(multi(can_subset=True), (), ("b",)),
    "one of several assets, with its check": Shape(multi(("a", "one"), can_subset=True), (CHECKS_A,), ("a",)),
    "an asset check": Shape(check, (CHECKS_A,)),
    "an asset check that reports nothing": Shape(check),
    "checks of other assets": Shape(checks_of_others, (CHECKS_A, CHECKS_B)),
    "an op": Shape(op),
    "an op with a custom message": Shape(op, (SAYS,)),
}


@dataclass
class Seen:
    """What one client gave."""

    gave: dict[str, Any] = field(default_factory=dict[str, Any])
    """What each method of the completed invocation returned, or the type of its error."""
    events: list[Any] = field(default_factory=list[Any])
    """What Dagster made of what the body returned."""


def plain(value: Any) -> Any:
    """Return results as values that can be compared, without the metadata that our client adds."""
    if isinstance(value, (dg.MaterializeResult, dg.AssetCheckResult)):
        found = cast("Any", value)
        metadata: dict[str, Any] = dict(found.metadata or {})
        own = {key: item for key, item in metadata.items() if not key.startswith("dagster_ray/")}
        checks = plain(getattr(found, "check_results", None))
        return type(found).__name__, {**found._asdict(), "metadata": own, "check_results": checks}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def tried(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the type of its error."""
    try:
        return plain(call())
    except Exception as error:  # noqa: BLE001 - what is compared is which error it is
        return type(error)


def methods_of(completed: Any) -> dict[str, Any]:
    """Return what each method gives; the first is asked twice."""
    return {
        "results": tried(completed.get_results),
        "results again": tried(completed.get_results),
        "reported": tried(lambda: completed.get_results(implicit_materializations=False)),
        "materialization": tried(completed.get_materialize_result),
        "check": tried(completed.get_asset_check_result),
        "messages": tried(completed.get_custom_messages),
    }


def job_of(made: Any) -> dg.JobDefinition:
    """Return a job of the step alone."""
    if isinstance(made, dg.OpDefinition):

        @dg.job
        def op_alone() -> None:
            made()

        return op_alone
    if isinstance(made, dg.AssetChecksDefinition):
        definitions = dg.Definitions(assets=[dg.AssetSpec("a"), dg.AssetSpec("b")], asset_checks=[made])
        job: Any = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(made))
    else:
        definitions = dg.Definitions(assets=[made])
        job = dg.define_asset_job("assets", selection=dg.AssetSelection.assets(made))
    return dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def(job.name)


def events_of(shape: Shape, run: Run) -> list[Any]:
    """Run a step of a shape; return the materializations and checks that Dagster recorded, or the step's error."""
    made = shape.make(run)
    with dg.DagsterInstance.ephemeral() as instance:
        result: Any = job_of(made).execute_in_process(
            instance=instance,
            raise_on_error=False,
            asset_selection=None if shape.selection is None else [dg.AssetKey(key) for key in shape.selection],
        )
        found: list[Any] = [result.success]
        for event in result.all_events:
            if event.is_step_materialization:
                materialization = event.step_materialization_data.materialization
                found.append((materialization.asset_key, sorted(own_keys(materialization.metadata))))
            elif event.event_type_value == "ASSET_CHECK_EVALUATION":
                evaluation = event.event_specific_data
                found.append((evaluation.asset_key, evaluation.check_name, evaluation.passed))
        return found


def own_keys(metadata: Any) -> list[str]:
    return [key for key in metadata if not key.startswith("dagster_ray/")]


def script_of(folder: Path, shape: Shape) -> str:
    """Write the script of a shape; return its path."""
    lines = "\n".join(f"    {line}" for line in shape.lines or ("pass",))
    text = f"from dagster_pipes import open_dagster_pipes\nwith open_dagster_pipes() as pipes:\n{lines}\n"
    (folder / "script.py").write_text(text)
    return str(folder / "script.py")


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_results_are_those_of_dagsters_own_client(ray: RayLike, tmp_path: Path, shape: Shape) -> None:
    script = script_of(tmp_path, shape)
    ours, theirs, returned = Seen(), Seen(), Seen()

    def run_ours(context: Any) -> Any:
        return PipesRayJobClient(ray.url).run(context=context, ray_job={"entrypoint": f"{sys.executable} {script}"})

    def run_theirs(context: Any) -> Any:
        client = dg.PipesSubprocessClient()
        return client.run(context=context, command=[sys.executable, script])

    def body(run: Run, seen: Seen, give: Callable[[Any], Any]) -> Run:
        def step(context: Any) -> Any:
            completed = run(context)
            seen.gave = methods_of(completed)
            return give(completed)

        return step

    theirs.events = events_of(shape, body(run_theirs, theirs, lambda completed: completed.get_results()))
    ours.events = events_of(shape, body(run_ours, ours, lambda completed: completed.get_results()))
    returned.events = events_of(shape, body(run_ours, returned, lambda completed: completed))
    assert theirs.gave, "the body has run, and so has the script"
    assert ours.gave == theirs.gave
    assert ours.events == theirs.events
    assert returned.events == theirs.events, "an asset may return what `run` returns, as it is"

"""Steps on the simulator whose clusters are measured: where figures go, what they cost, and that they never fail."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Generator
from typing import Any

import dagster as dg
import pytest
from fault_world import fields, simulated
from pydantic import ValidationError

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob, Price
from dagster_ray.simulator import Fault, Simulator

pytestmark = pytest.mark.many_processes
HOURS = {"cpu_hours", "gpu_hours", "memory_gib_hours"}
SECONDS = {"queue_seconds", "startup_seconds", "run_seconds"}


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def figures_of(metadata: Any) -> dict[str, Any]:
    return {key.removeprefix("dagster_ray/"): value.value for key, value in metadata.items()}


def measured(
    cluster: KubeRayInteractiveJob | KubeRayCluster, *, fails: bool = False, is_op: bool = False
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Run a step; return the metadata of what it makes, those of the event about its figures, and the log."""

    def body(context: dg.OpExecutionContext, ray_cluster: RayResource) -> int:
        assert isinstance(ray_cluster, KubeRayInteractiveJob | KubeRayCluster)
        context.add_output_metadata({"rows": 7})
        if fails:
            raise ValueError("told to fail")
        return 1

    resources = {"ray_cluster": cluster}
    with dg.DagsterInstance.ephemeral() as instance:
        if is_op:
            job = dg.GraphDefinition("job", node_defs=[dg.op(name="step")(body)]).to_job(resource_defs=resources)
            run_id = job.execute_in_process(instance=instance).run_id
        else:
            step = dg.asset(name="step")(body)
            run_id = dg.materialize([step], resources=resources, instance=instance, raise_on_error=False).run_id
        entries = instance.all_logs(run_id)
    made, event = dict[str, Any](), dict[str, Any]()
    for entry in entries:
        found = entry.dagster_event
        if found is None:
            continue
        if found.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            made = figures_of(found.step_materialization_data.materialization.metadata)
        elif (found.message or "").startswith("Figures of "):
            event = figures_of(found.engine_event_data.metadata)
    return made, event, "\n".join(str(entry) for entry in entries)


def interactive(simulator: Simulator, **more: Any) -> KubeRayInteractiveJob:
    return KubeRayInteractiveJob(**fields(simulator, hours=True, **more))


def own_cluster(simulator: Simulator, **more: Any) -> KubeRayCluster:
    given = fields(simulator, hours=True, **more)
    spec = given.pop("ray_job")["spec"]["rayClusterSpec"]
    return KubeRayCluster(ray_cluster={"spec": spec}, **given)


def test_figures_are_metadata_of_the_asset_and_of_one_event(simulator: Simulator) -> None:
    made, event, log = measured(interactive(simulator, prices=[Price(cpu_hour=3600, memory_gib_hour=0)]))
    assert HOURS | SECONDS | {"cost", "rows"} <= made.keys()
    assert made["rows"] == 7
    assert HOURS | SECONDS | {"cost"} <= event.keys()
    assert "estimated" not in event
    assert "shared" not in event
    # A head of 1 CPU and 2 GiB, for 3600 a CPU-hour, which is 1 a second.
    assert made["memory_gib_hours"] == pytest.approx(2 * made["cpu_hours"], rel=1e-3)
    assert made["cost"] == pytest.approx(3600 * made["cpu_hours"], abs=0.01)
    assert event["cpu_hours"] >= made["cpu_hours"]
    assert log.count("Figures of RayJob") == 1


def test_an_op_has_them_in_the_event(simulator: Simulator) -> None:
    made, event, _ = measured(interactive(simulator), is_op=True)
    assert not made
    assert event.keys() >= HOURS


def test_a_step_that_fails_has_cost_something(simulator: Simulator) -> None:
    made, event, log = measured(own_cluster(simulator), fails=True)
    assert not made
    assert event.keys() >= HOURS | SECONDS
    assert "told to fail" in log


def test_pods_that_may_not_be_listed_fail_no_step(simulator: Simulator) -> None:
    simulator.faults.add(Fault(resource="pods", status=403))
    made, event, _ = measured(own_cluster(simulator))
    assert made["rows"] == 7
    assert not made.keys() & HOURS
    assert "hours_unknown" in event


def test_a_watch_that_is_refused_leaves_an_estimate(simulator: Simulator) -> None:
    simulator.faults.add(Fault(resource="pods", verb="watch", status=403, delay_seconds=0.5))
    made, event, _ = measured(own_cluster(simulator))
    assert made["estimated"] is True
    assert event.keys() >= HOURS


def test_a_cluster_that_never_comes_up_is_estimated(simulator: Simulator) -> None:
    simulator.faults.add(Fault(resource="rayclusters", verb="watch", delay_seconds=60))
    _, event, _ = measured(own_cluster(simulator, timeout=2))
    assert event["estimated"] is True
    assert event.keys() >= HOURS


def test_a_shared_cluster_counts_while_the_step_holds_it(simulator: Simulator) -> None:
    _, event, _ = measured(own_cluster(simulator, cluster_sharing={"enabled": True}))
    assert event["shared"] is True
    assert event.keys() >= HOURS


def test_steps_of_one_process_have_figures_that_are_marked_from_the_second_on(simulator: Simulator) -> None:
    @dg.asset
    def first(ray_cluster: RayResource) -> None: ...

    @dg.asset(deps=[first])
    def second(ray_cluster: RayResource) -> None: ...

    made = dict[str, dict[str, Any]]()
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([first, second], resources={"ray_cluster": interactive(simulator)}, instance=instance)
        for name in ("first", "second"):
            (materialization,) = result.asset_materializations_for_node(name)
            made[name] = figures_of(materialization.metadata)
    assert "shared" not in made["first"]
    assert made["second"]["shared"] is True
    assert made["second"]["cpu_hours"] >= made["first"]["cpu_hours"]


def requests_of(simulator: Simulator, **more: Any) -> list[str]:
    before = len(simulator.requests)
    measured(KubeRayInteractiveJob(**fields(simulator, **more)))
    return [f"{one.method} {one.path}" for one in simulator.requests[before:]]


def test_a_step_that_is_not_measured_asks_nothing_more(simulator: Simulator) -> None:
    assert not [one for one in requests_of(simulator) if "/pods" in one and "portforward" not in one]


def test_a_measured_step_lists_and_watches_its_pods_once(simulator: Simulator) -> None:
    asked = requests_of(simulator, hours=True)
    pods = [one for one in asked if "/pods?" in one or one.endswith("/pods")]
    assert len(pods) == 2
    assert not [one for one in asked if "/nodes" in one]


def test_prices_by_node_read_each_node_once(simulator: Simulator) -> None:
    asked = requests_of(simulator, hours=True, prices=[Price(node_labels={"a": "b"}, cpu_hour=1)])
    assert len([one for one in asked if "/nodes" in one]) == 1


@pytest.mark.parametrize(
    "wrong",
    [pytest.param({"cpu_hour": -1}, id="a negative price"), pytest.param({"cpu_hours": 1}, id="a misspelled field")],
)
def test_a_wrong_price_is_refused_at_load(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="cpu_hour"):
        KubeRayInteractiveJob(prices=[Price(**wrong)])

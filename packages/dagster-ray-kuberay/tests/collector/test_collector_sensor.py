"""The sensor and the job, as Dagster evaluates them."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from collector_world import World, lock, raycluster, shared
from fault_world import eventually, simulated

from dagster_ray.kuberay import build_cleanup_sensor, cleanup_expired_rayclusters, delete_rayclusters
from dagster_ray.kuberay.errors import InvalidSpecError, InvalidVariableError, KubeconfigError, MissingVariableError
from dagster_ray.simulator import Simulator


@pytest.fixture
def world() -> Generator[World]:
    with Simulator(operator=False, fake_heads=True) as simulator, dg.DagsterInstance.ephemeral() as instance:
        found = World(simulator, instance)
        now = datetime.now(UTC)
        found.create(
            raycluster("old", shared(), lock(-5, now=now)),
            raycluster("used", shared(), lock(300, now=now)),
            raycluster("foreign", {}),
        )
        yield found


def evaluate(sensor: dg.SensorDefinition, world: World, cursor: str | None = None) -> dg.SensorResult:
    result = sensor(dg.build_sensor_context(instance=world.instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def test_the_ready_sensor_needs_nothing_but_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    definitions = dg.Definitions(sensors=[cleanup_expired_rayclusters])
    dg.Definitions.validate_loadable(definitions)
    assert (cleanup_expired_rayclusters.targets, cleanup_expired_rayclusters.minimum_interval_seconds) == ([], 60)
    assert cleanup_expired_rayclusters.default_status is dg.DefaultSensorStatus.STOPPED
    monkeypatch.setenv("DAGSTER_RAY_CLEANUP_KUBECONFIG_FILE", str(world.simulator.kubeconfig))
    first = evaluate(cleanup_expired_rayclusters, world)
    assert first.skip_reason is not None
    text = first.skip_reason.skip_message
    assert text is not None
    assert text.startswith("Looked at 2: deleted 1, kept 1, gone 0.\nDeleted: RayCluster default/old (its last lock")
    assert world.left() == ["foreign", "used"]
    second = evaluate(cleanup_expired_rayclusters, world, first.cursor)
    assert second.skip_reason is not None
    assert second.skip_reason.skip_message == (
        "Looked at 1: deleted 0, kept 1, gone 0.\nKept 1, a step holds a lock: RayCluster default/used."
    )


def test_a_sensor_of_ones_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_RAY_CLEANUP_GRACE_SECONDS", "0")
    sensor = build_cleanup_sensor(
        name="mine",
        namespaces=["default"],
        kubeconfig_file=str(world.simulator.kubeconfig),
        grace_seconds=60,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    assert (sensor.name, sensor.minimum_interval_seconds) == ("mine", 300)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    evaluate(sensor, world)
    assert "old" in world.left()


@pytest.mark.parametrize(
    ("namespaces", "variable"),
    [
        pytest.param(dg.EnvVar("TEAMS"), "a, default", id="a variable that has several"),
        pytest.param(["a", dg.EnvVar("TEAMS")], "default", id="a variable among others"),
    ],
)
def test_a_tick_reads_the_variables_of_arguments(
    world: World, monkeypatch: pytest.MonkeyPatch, namespaces: Any, variable: str
) -> None:
    sensor = build_cleanup_sensor(
        namespaces=namespaces,
        kubeconfig_file=dg.EnvVar("CLUSTER"),
        kube_context=dg.EnvVar("CONTEXT"),
        grace_seconds=dg.EnvVar.int("GRACE"),
        unlocked_seconds=dg.EnvVar("UNLOCKED"),
        instance_id=dg.EnvVar("INSTANCE"),
    )
    with pytest.raises(MissingVariableError, match=r"`namespaces` refers to .* TEAMS"):
        evaluate(sensor, world)
    found = {"TEAMS": variable, "CLUSTER": str(world.simulator.kubeconfig), "CONTEXT": "simulator", "INSTANCE": "mine"}
    for name, value in {**found, "GRACE": "60", "UNLOCKED": "1.5"}.items():
        monkeypatch.setenv(name, value)
    evaluate(sensor, world)
    assert "old" in world.left()
    monkeypatch.setenv("GRACE", "0")
    evaluate(sensor, world)
    assert "old" not in world.left()
    monkeypatch.setenv("UNLOCKED", "soon")
    with pytest.raises(InvalidVariableError, match=r"`unlocked_seconds` refers to .* UNLOCKED"):
        evaluate(sensor, world)
    monkeypatch.setenv("UNLOCKED", "-1")
    with pytest.raises(InvalidSpecError, match="`unlocked_seconds` is -1"):
        evaluate(sensor, world)


def test_the_interval_is_read_when_the_code_location_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingVariableError, match="minimum_interval_seconds"):
        build_cleanup_sensor(minimum_interval_seconds=dg.EnvVar("EVERY"))
    monkeypatch.setenv("EVERY", "90")
    for variable in (dg.EnvVar("EVERY"), dg.EnvVar.int("EVERY")):
        assert build_cleanup_sensor(minimum_interval_seconds=variable).minimum_interval_seconds == 90


def test_a_sensor_whose_numbers_cannot_be_meant() -> None:
    with pytest.raises(InvalidSpecError, match="run_grace_seconds"):
        build_cleanup_sensor(run_grace_seconds=-1)


def test_a_tick_without_a_cluster_fails_by_name(world: World) -> None:
    with pytest.raises(KubeconfigError):
        evaluate(build_cleanup_sensor(kubeconfig_file="/nowhere"), world)


def test_a_cluster_goes_with_its_pods_and_its_name_stays_taken_until_then() -> None:
    with simulated() as simulator, dg.DagsterInstance.ephemeral() as instance:
        world, now = World(simulator, instance), datetime.now(UTC)
        world.create(
            raycluster("old", shared(), lock(300, now=now)), raycluster("used", shared(), lock(300, now=now, name="b"))
        )
        eventually(lambda: len(_running(simulator)) == 2)
        ended = {"metadata": {"annotations": lock(-5, now=now)}}
        simulator.store.patch("rayclusters", "default", "old", ended, "")
        terminating: list[Any] = []
        simulator.store.subscribe(lambda kind, plural, obj: terminating.append((kind, plural, obj["metadata"]["name"])))
        eventually(lambda: (world.collect() and world.report.deleted) or "old" not in world.left())
        eventually(lambda: world.left() == ["used"])
        gone = [(plural, name) for kind, plural, name in terminating if kind == "DELETED"]
        pods = [place for place, (plural, _) in enumerate(gone) if plural == "pods"]
        assert max(pods) < gone.index(("rayclusters", "old"))
        assert len(_running(simulator)) == 1


def _running(simulator: Simulator) -> list[str]:
    pods = simulator.store.list("pods")
    return [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") == "Running"]


# The job


def by_hand(world: World, **config: Any) -> dict[str, Any]:
    given = {"kubeconfig_file": str(world.simulator.kubeconfig), **config}
    result = delete_rayclusters.execute_in_process(
        run_config={"ops": {"delete_rayclusters_op": {"config": given}}}, instance=world.instance
    )
    return result.output_for_node("delete_rayclusters_op")


def deleted(output: dict[str, Any]) -> list[str]:
    return [one["object"].removeprefix("RayCluster default/") for one in output["deleted"]]


def test_by_hand_a_dry_run_is_the_default(world: World) -> None:
    output = by_hand(world)
    assert (output["dry_run"], deleted(output)) == (True, ["old"])
    assert output["kept"] == [{"because": "a step holds a lock", "count": 1, "objects": ["RayCluster default/used"]}]
    assert world.left() == ["foreign", "old", "used"]


def test_by_hand_in_earnest(world: World) -> None:
    assert deleted(by_hand(world, dry_run=False)) == ["old"]
    assert world.left() == ["foreign", "used"]


def test_by_hand_locks_can_be_disregarded_and_what_others_have_made_cannot(world: World) -> None:
    assert deleted(by_hand(world, dry_run=False, even_if_locked=True)) == ["old", "used"]
    assert world.left() == ["foreign"]


def test_by_hand_a_cluster_that_a_rayjob_runs_on_counts_as_used(world: World) -> None:
    world.create_job_on("old")
    assert deleted(by_hand(world, dry_run=False)) == []
    assert deleted(by_hand(world, dry_run=False, even_if_locked=True, names=["old"])) == ["old"]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"names": ["used", "foreign"]}, id="by name"),
        pytest.param({"label_selector": "team=a"}, id="by label"),
        pytest.param({"namespaces": ["elsewhere"]}, id="by namespace"),
    ],
)
def test_by_hand_some_of_them(world: World, config: dict[str, Any]) -> None:
    assert deleted(by_hand(world, dry_run=False, **config)) == []
    assert world.left() == ["foreign", "old", "used"]


def test_by_hand_a_failure_is_a_failed_run(world: World) -> None:
    world.simulator.faults.deny("delete", "rayclusters")
    with pytest.raises(dg.Failure, match="cannot delete resource"):
        by_hand(world, dry_run=False)

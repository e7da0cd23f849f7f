"""What the run's log shows while a start takes its time: nothing is hidden at DEBUG, and no line comes in floods."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import re
import threading
from collections.abc import Generator
from typing import Any

import dagster as dg
import pytest
from driver_without_ray import when
from faulty_steps import HEAD_ALONE, FaultyWorld, faulty_world

from dagster_ray.core import Lifecycle, RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob

pytestmark = pytest.mark.many_processes
INFO = 20
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Generator[FaultyWorld]:
    with faulty_world(monkeypatch) as found:
        yield found


def lines_of_a_start(world: FaultyWorld, **spec: object) -> list[str]:
    """Run one step; return what its run shows at INFO about the cluster."""

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        world.join()

    fields: dict[str, Any] = {
        "kubeconfig_file": str(world.simulator.kubeconfig),
        "ray_job": {"spec": {"rayClusterSpec": HEAD_ALONE, **spec}},
        "lifecycle": Lifecycle(connect=False, cleanup="on_exception"),
    }
    cluster = KubeRayInteractiveJob(**fields)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance)
        entries = instance.all_logs(result.run_id)
    return [
        entry.user_message for entry in entries if int(entry.level) >= INFO and entry.user_message.startswith("RayJob")
    ]


def test_a_start_shows_its_beginning_its_moves_and_from_time_to_time_what_is_waited_for(world: FaultyWorld) -> None:
    over = threading.Event()
    world.simulator.operator.freeze()

    def be_late() -> None:
        for _ in range(3):
            world.clock.pass_by(120)
        world.simulator.operator.thaw()

    watching = when(lambda: world.asked("GET", "watch=true"), be_late, over)
    lines = lines_of_a_start(world)
    over.set()
    watching.join()
    assert lines[0] == "RayJob: create"
    assert re.fullmatch(r"RayJob default/\S+ was created\.", lines[1])
    assert lines[2].endswith("KubeRay's operator has not taken it up yet")
    still = [line for line in lines if re.search(r"still waiting after \d+ s: KubeRay's operator has not", line)]
    assert 1 <= len(still) <= 12, lines
    assert [line for line in lines if re.search(r"the head accepts drivers after \d+\.\d s\.$", line)]


def test_a_queue_shows_itself_from_time_to_time(world: FaultyWorld) -> None:
    over = threading.Event()

    def job() -> dict[str, str]:
        (found,) = world.made("rayjobs")
        return found["metadata"]

    def admit() -> None:
        world.clock.pass_by(60)
        for patch in ({"metadata": {"annotations": {"looked": "at"}}}, {"spec": {"suspend": False}}):
            world.simulator.store.patch("rayjobs", "default", job()["name"], patch, MERGE_PATCH)
            threading.Event().wait(0.5)

    watching = when(lambda: world.asked("GET", "watch=true"), admit, over)
    lines = lines_of_a_start(world, suspend=True)
    over.set()
    watching.join()
    assert [line for line in lines if re.search(r"still waiting after \d+ s: it is suspended", line)], lines

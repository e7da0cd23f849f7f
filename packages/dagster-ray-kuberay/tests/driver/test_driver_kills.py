"""`driver="cluster"` on KubeRay: the step's process is killed at random moments, and nothing is lost or doubled.

`make test` tries two moments, `make weekly` the others of 20; `DAGSTER_RAY_KILLS` is another number of them.

A process that dies after its step's success, while resources are torn down, fails the run: Dagster's multiprocess
executor writes a second end of the step, and cannot take it. That is so for steps without Ray as well, and no order of
events could avoid it: the teardown of resources comes last. `test_a_plain_step...` shows it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import contextlib
import os
import random
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from driver_steps import reconstructable
from driver_world import DriverWorld, driver_world

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.many_processes,
]
SEEDS = [
    pytest.param(seed, marks=[pytest.mark.weekly] if seed > 1 else [])
    for seed in range(int(os.environ.get("DAGSTER_RAY_KILLS", "20")))
]
ENTRIES = 75
"""About as many has the event log of a run that nobody disturbs."""
ONCE = ("HANDLED_OUTPUT", "ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "STEP_SUCCESS")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Generator[DriverWorld]:
    with driver_world(tmp_path_factory.mktemp("kills")) as found:
        yield found


@pytest.fixture
def world(shared: DriverWorld, tmp_path: Path) -> Generator[DriverWorld]:
    """Yield the one simulator with a Dagster instance of its own."""
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        yield replace(shared, folder=tmp_path, instance=instance)


def died_after_success(world: DriverWorld, step: str) -> bool:
    """Return whether Dagster knew that a step has succeeded when it found the step's process dead.

    It then says two things that it never says together otherwise: the step is to be tried again by the executor, and
    is not in flight.
    """
    events = [entry.dagster_event for entry in world.logs if entry.dagster_event is not None]
    kinds = [event.event_type_value for event in events if event.step_key == step]
    is_second_end = "STEP_SUCCESS" in kinds and "STEP_UP_FOR_RETRY" in kinds[kinds.index("STEP_SUCCESS") :]
    refusal = f"CheckError: Invariant failed. Description: Attempted to mark step {step} as complete that was not known"
    return is_second_end and refusal in world.errors


@pytest.mark.weekly
def test_a_plain_step_whose_process_dies_after_its_success_fails_the_run(world: DriverWorld) -> None:
    """Dagster's own. Once this test fails, Dagster has mended it, and `died_after_success` can go."""
    with world.meanwhile(lambda: len(world.kinds("STEP_SUCCESS")) == 2, lambda: world.kill_step("plain")):
        run = world.execute(reconstructable("plain,after_plain", "RayJob", {}, world.folder))
    assert not run.success
    assert died_after_success(world, "plain")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_step_that_is_killed_at_any_moment_ends_as_if_nothing_had_happened(world: DriverWorld, seed: int) -> None:
    rng, before = random.Random(seed), len(world.bodies)
    entries, kind = rng.randint(1, ENTRIES), ("RayJob", "RayCluster")[seed % 2]

    def is_due() -> bool:
        return bool(world.kinds("STEP_WORKER_STARTED")) and (
            len(world.logs) >= entries or bool(world.kinds("STEP_SUCCESS"))
        )

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            world.kill_step()

    fields = world.fields(lifecycle={"cleanup": "always", "connect": False})
    with world.meanwhile(is_due, kill):
        run = world.execute(reconstructable("counted", kind, fields, world.folder))
    assert run.success is not died_after_success(world, "counted")
    assert (len(world.bodies) - before, world.notes) == (1, ["body"])
    assert world.lines == [f"line {n}" for n in range(40)]
    assert Counter(world.kinds(*ONCE)) == Counter(ONCE)
    assert len(world.kinds("STEP_OUTPUT")) == 2, "the asset and its check"
    assert len(world.kinds("ASSET_CHECK_EVALUATION")) == 1
    assert world.kinds("STEP_START", "STEP_RESTARTED")
    assert len(world.kinds("STEP_START")) <= 1

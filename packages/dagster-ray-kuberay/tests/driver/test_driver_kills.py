"""`driver="cluster"` on KubeRay: the step's process is killed at random moments, and nothing is lost or doubled.

`make test` tries two moments, `make weekly` some more, and with `DAGSTER_RAY_KILLS=20` so many in all.
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
    for seed in range(int(os.environ.get("DAGSTER_RAY_KILLS", "6")))
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
    assert run.success
    assert (len(world.bodies) - before, world.notes) == (1, ["body"])
    assert world.lines == [f"line {n}" for n in range(40)]
    assert Counter(world.kinds(*ONCE)) == Counter(ONCE)
    assert len(world.kinds("STEP_OUTPUT")) == 2, "the asset and its check"
    assert len(world.kinds("ASSET_CHECK_EVALUATION")) == 1
    assert world.kinds("STEP_START", "STEP_RESTARTED")
    assert len(world.kinds("STEP_START")) <= 1

"""A restored database under every interleaving that a seed makes: no cluster of a step that lives is deleted."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from collector_world import labels, raycluster
from sharing_model import LOG, Actor, World
from typing_extensions import override

from dagster_ray.core import Deadline
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import Cursor, targets_of
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Rules, RunFacts
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import ALIVE_SECONDS
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.heartbeat import Alive, renew
from dagster_ray.kuberay._steps.pulse import Answer

pytestmark = pytest.mark.many_processes  # make test runs them

STORAGE_ID = "one-for-both"


class Runs:
    """What production knows of its runs: when each has ended."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ended_at: dict[str, datetime | None] = {}

    def facts(self, ended_at: datetime | None) -> RunFacts:
        if ended_at is None or ended_at > self.world.now:
            return RunFacts(is_finished=False)
        return RunFacts(is_finished=True, seconds_since_end=(self.world.now - ended_at).total_seconds())

    def of_production(self, run_id: str) -> RunFacts | None:
        return self.facts(self.ended_at[run_id])


class Copy(Runs):
    """What a copy knows: nothing of new runs, and that its own monitoring has ended the others at some time."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.failed_at: dict[str, datetime | None] = {}

    def of_copy(self, run_id: str) -> RunFacts | None:
        if run_id not in self.failed_at:
            seconds = self.world.rng.choice([0, 300, 3000])
            was_under_way = self.world.rng.random() < 0.5
            self.failed_at[run_id] = self.world.now + timedelta(seconds=seconds) if was_under_way else None
        failed_at = self.failed_at[run_id]
        return None if failed_at is None else self.facts(failed_at)


class Reader(RunReader):
    """Reads what one of both knows."""

    def __init__(self, know: Callable[[str], RunFacts | None]) -> None:
        super().__init__(None)
        self._know = know

    @property
    @override
    def nothing(self) -> InstanceFacts:
        return InstanceFacts(STORAGE_ID)

    @override
    def runs(self, run_ids: Iterable[str], deadline: Deadline) -> InstanceFacts:
        return replace(self.nothing, runs={run_id: self._know(run_id) for run_id in run_ids})


def step(actor: Actor, runs: Runs) -> None:
    """Make a cluster, show life while it is used, and delete it or be killed."""
    world, api, deadline = actor.world, actor.api, actor.deadline()
    runs.ended_at[actor.name] = None
    try:
        body = raycluster(actor.name, labels(run=actor.name, instance=STORAGE_ID, policy="always"))
        body["metadata"]["labels"]["dagster/sharing-generation"] = actor.name
        own = created(RAYCLUSTERS, "default", api.create(RAYCLUSTERS, "default", body, deadline))
        sign = Alive()
        for _ in range(world.rng.randint(0, 30)):
            actor.sleep(ALIVE_SECONDS * world.rng.uniform(0.9, 1))
            answer, sign = renew(api, own, sign, deadline)
            if answer is not Answer.RENEWED:
                world.violations.append(f"{actor.name} lost its cluster while it was alive: {answer.value}")
                return
        if world.rng.random() < 0.5:
            api.delete(RAYCLUSTERS, "default", own.name, deadline, uid=own.uid)
    finally:
        runs.ended_at[actor.name] = world.now


def tick(actor: Actor, reader: Reader) -> None:
    work = Work(functools.partial(plan, rules=Rules()), page=2)
    collector = Collector(actor.api, reader, work, actor.deadline(), LOG)
    collector.run(targets_of([], "default", [RAYCLUSTERS]), Cursor())
    assert collector.report.failures == []


def collect(actor: Actor, reader: Reader) -> None:
    for _ in range(100):
        tick(actor, reader)
        actor.sleep(actor.world.rng.choice([60, 300]))


@pytest.mark.parametrize(
    "crash", [pytest.param(0.0, id="no process dies"), pytest.param(0.01, id="processes die at any call")]
)
@pytest.mark.parametrize(
    "seeds",
    [pytest.param(range(10), id="a few"), pytest.param(range(10, 40), id="many", marks=pytest.mark.weekly)],
)
def test_no_cluster_of_a_step_that_lives_is_deleted_and_nothing_is_left(crash: float, seeds: range) -> None:
    """Steps, the collectors of production and of its copy; each clock is wrong by up to an hour."""
    deleted = 0
    for seed in seeds:
        world = World(seed)
        copy = Copy(world)
        for number in range(4):
            world.actor(f"step{number}", functools.partial(step, runs=copy))
        world.actor("production", functools.partial(collect, reader=Reader(copy.of_production)))
        world.actor("copy", functools.partial(collect, reader=Reader(copy.of_copy)))
        world.run(crash=crash)
        assert world.violations == [], f"seed {seed}"
        world.now += timedelta(hours=2)
        world.actor("last tick", functools.partial(tick, reader=Reader(copy.of_production)))
        world.run()
        assert world.clusters() == [], f"seed {seed}"
        deleted += world.deleted
    assert deleted > 2.5 * len(seeds)

"""The sharing protocol under every interleaving that a seed makes: nothing that is held is deleted, nothing is left."""

import functools
from datetime import timedelta

import pytest
from sharing_model import LOG, TTL_SECONDS, Actor, World, wish

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import Cursor, targets_of
from dagster_ray.kuberay._collector.facts import Rules
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._sharing.choice import leaving
from dagster_ray.kuberay._sharing.heartbeat import renew
from dagster_ray.kuberay._sharing.locks import locks_of
from dagster_ray.kuberay._sharing.pulse import Answer
from dagster_ray.kuberay._sharing.steps import Held, acquire, leave

pytestmark = pytest.mark.many_processes  # make test runs them

READY = {
    "state": "ready",
    "head": {"podName": "h", "podIP": "10.0.0.7", "serviceName": "s"},
    "endpoints": {"client": "10001"},
    "conditions": [{"type": "HeadPodReady", "status": "True", "reason": "HeadPodRunningAndReady", "message": ""}],
}
BROKEN = {
    "conditions": [
        {
            "type": "HeadPodReady",
            "status": "False",
            "reason": "CrashLoopBackOff",
            "message": "back-off",
            "lastTransitionTime": "2020-01-01T00:00:00Z",
        }
    ]
}
OUTCOMES = (StepOutcome.SUCCEEDED, StepOutcome.FAILED, StepOutcome.SETUP_FAILED)


def holds(world: World, held: Held) -> bool:
    """Return whether a lock stands on a cluster that lives."""
    return any(
        cluster["metadata"]["uid"] == held.own.uid and held.lock.id in {lock.id for lock in locks_of(cluster)}
        for cluster in world.clusters()
    )


def step(actor: Actor) -> None:
    """Take a cluster, use it for some time, and leave it."""
    world, api, deadline = actor.world, actor.api, actor.deadline()
    actor.sleep(world.rng.choice([0, 0, 60, 90, 120]))
    held = acquire(api, wish(actor.name), deadline, LOG)
    if not holds(world, held):
        world.violations.append(f"{actor.name} holds no lock on {held.own.target}")
    lock, heard = held.lock, world.now
    for _ in range(world.rng.randint(0, 6)):
        actor.sleep(TTL_SECONDS / 3)
        answer, lock = renew(api, held.own, lock, deadline)
        if answer is not Answer.RENEWED:
            if world.now - heard < timedelta(seconds=TTL_SECONDS):
                world.violations.append(f"{actor.name} lost {held.own.target} although it gave signs in time")
            return
        heard = world.now
    outcome = world.rng.choice(OUTCOMES)
    used = outcome is not StepOutcome.SETUP_FAILED
    release = world.rng.random() < 0.5
    what = leaving(outcome, used=used, made=held.made, run_scope=False, release_on_success=release)
    leave(api, Held(held.own, lock, held.made), what, deadline, LOG)


def collect(actor: Actor) -> None:
    """Run a tick of the sensor; what has no lock goes whatever its age."""
    rules = Rules(unlocked_seconds=0)
    work = Work(functools.partial(plan, rules=rules), page=2)
    collector = Collector(actor.api, RunReader(None), work, actor.deadline(), LOG)
    collector.run(targets_of([], "default", [RAYCLUSTERS]), Cursor())
    assert collector.report.failures == []


def collector(actor: Actor) -> None:
    for _ in range(20):
        collect(actor)
        actor.sleep(actor.world.rng.choice([1, 10, 20]))


def operator(actor: Actor) -> None:
    """Make clusters ready, now and then break one, and take away the pods of those that go."""
    world = actor.world
    for _ in range(60):
        actor.sleep(5)
        for cluster in world.store.list("rayclusters"):
            name = cluster["metadata"]["name"]
            if "deletionTimestamp" in cluster["metadata"]:
                world.store.remove("pods", "default", f"{name}-head")
            elif "status" not in cluster:
                world.add_head_pod(cluster)
                world.set_status(name, READY)
            elif world.rng.random() < 0.05:
                world.set_status(name, BROKEN)


def finished(world: World) -> None:
    """Check what must hold when all actors are over: one tick after the last lock's end nothing is left."""
    assert world.violations == []
    world.now += timedelta(seconds=TTL_SECONDS + 1)
    world.actor("last tick", collect)
    world.run()
    assert world.violations == []
    assert world.clusters() == []


def unlocked(world: World, *, with_pod: bool) -> str:
    """Make a cluster whose only lock has ended; return its name."""
    world.actor("maker", lambda actor: void(acquire(actor.api, wish("maker"), actor.deadline(), LOG)))
    world.run()
    (cluster,) = world.clusters()
    if with_pod:
        world.add_head_pod(cluster)
    world.now += timedelta(seconds=TTL_SECONDS + 1)
    return str(cluster["metadata"]["name"])


def void(_: object) -> None: ...


def test_a_cluster_that_goes_between_look_and_lock_is_followed_by_the_next() -> None:
    world = World(0)
    first = unlocked(world, with_pod=True)
    held: list[Held] = []
    late = world.actor("late", lambda actor: held.append(acquire(actor.api, wish("late"), actor.deadline(), LOG)))
    world.let(late, 2)  # it has listed, and is about to lock
    world.finish(world.actor("collector", collect))  # the pod still holds the name
    world.run()
    assert held[0].own.name == first.removesuffix("-1") + "-2"
    assert holds(world, held[0])
    assert world.violations == []


def test_a_cluster_that_is_gone_before_the_lock_is_made_anew() -> None:
    world = World(0)
    first = unlocked(world, with_pod=False)
    held: list[Held] = []
    late = world.actor("late", lambda actor: held.append(acquire(actor.api, wish("late"), actor.deadline(), LOG)))
    world.let(late, 2)
    world.finish(world.actor("collector", collect))
    world.run()
    assert (held[0].own.name, held[0].made) == (first, True)
    assert holds(world, held[0])


def test_a_lock_that_comes_before_the_delete_keeps_the_cluster() -> None:
    world = World(0)
    unlocked(world, with_pod=False)
    held: list[Held] = []
    tick = world.actor("collector", collect)
    world.let(tick, 2)  # it has listed, and is about to delete
    world.actor("late", lambda actor: held.append(acquire(actor.api, wish("late"), actor.deadline(), LOG)))
    while not held:
        world.let(world.actors[-1])
    world.run()
    assert not held[0].made
    assert holds(world, held[0])
    assert world.deleted == 0


@pytest.mark.parametrize("users", [1, 2])
def test_a_maker_whose_set_up_fails_takes_its_cluster_along_unless_somebody_holds_it(users: int) -> None:
    world = World(0)
    held: list[Held] = []
    for number in range(users):
        world.actor(
            f"step{number}", lambda actor: held.append(acquire(actor.api, wish(actor.name), actor.deadline(), LOG))
        )
        world.run()
    what = leaving(StepOutcome.SETUP_FAILED, used=False, made=True, run_scope=False, release_on_success=False)
    world.actor("end", lambda actor: leave(actor.api, held[0], what, actor.deadline(), LOG))
    world.run()
    assert len(world.clusters()) == users - 1
    assert world.violations == []


@pytest.mark.parametrize("lose", [0.0, 0.3], ids=["a good network", "three answers of ten get lost"])
@pytest.mark.parametrize("crowd", [2, 5, 12])
def test_a_crowd_makes_one_cluster_and_all_hold_it(crowd: int, lose: float) -> None:
    for seed in range(40):
        world = World(seed)
        held: list[Held] = []

        def take(actor: Actor, held: list[Held] = held) -> None:
            held.append(acquire(actor.api, wish(actor.name), actor.deadline(), LOG))

        for number in range(crowd):
            world.actor(f"step{number}", take)
        world.run(lose=lose)
        (cluster,) = world.clusters()
        assert len(locks_of(cluster)) == crowd, f"seed {seed}"
        assert [one.made for one in held].count(True) == 1, f"seed {seed}"
        finished(world)


@pytest.mark.parametrize(
    ("crash", "lose"),
    [
        pytest.param(0.0, 0.0, id="no process dies"),
        pytest.param(0.04, 0.0, id="processes die at any call"),
        pytest.param(0.04, 0.2, id="processes die and answers get lost"),
    ],
)
def test_nothing_held_is_deleted_and_nothing_is_left(crash: float, lose: float) -> None:
    """Steps, two collectors and an operator that breaks clusters; each clock is wrong by up to an hour."""
    made = deleted = 0
    for seed in range(150):
        world = World(seed)
        for number in range(6):
            world.actor(f"step{number}", step)
        for number in range(2):
            world.actor(f"collector{number}", collector)
        world.actor("operator", operator)
        world.run(crash=crash, lose=lose)
        finished(world)
        made, deleted = made + world.created, deleted + world.deleted
    assert made > 150, "clusters were made anew"
    assert deleted >= made - 150, "and deleted"

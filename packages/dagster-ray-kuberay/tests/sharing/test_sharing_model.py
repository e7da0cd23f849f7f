"""The sharing protocol under every interleaving that a seed makes: nothing that is held is deleted, nothing is left."""

import functools
import logging
from datetime import datetime, timedelta

import pytest
from sharing_model import LOG, TTL_SECONDS, Actor, World, acquire, leave, request

from dagster_ray.core import Deadline, StepOutcome
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import Cursor, targets_of
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.run_facts import Rules
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._sharing.choice import Leave, leaving
from dagster_ray.kuberay._sharing.locks import Lock, ends_at, locks_of
from dagster_ray.kuberay._sharing.shared_cluster import Held
from dagster_ray.kuberay._status.errors import WriteDeniedError
from dagster_ray.kuberay._steps.heartbeat import renew
from dagster_ray.kuberay._steps.pulse import Answer, Pulse

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
# Which interleavings are tried.
SEEDS = pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(30), id="a few"),
        pytest.param(range(30, 150), id="many", marks=pytest.mark.weekly),
    ],
)
OUTCOMES = (StepOutcome.SUCCEEDED, StepOutcome.FAILED, StepOutcome.SETUP_FAILED)


def holds(world: World, held: Held) -> bool:
    """Return whether a lock stands on a cluster that lives."""
    return any(
        cluster["metadata"]["uid"] == held.own.uid and held.lock.id in {lock.id for lock in locks_of(cluster)}
        for cluster in world.clusters()
    )


def taken(actor: Actor) -> Held | None:
    """Take a cluster as a resource does; None if the step fails for what the API server says."""
    world, api, wanted = actor.world, actor.api, request(actor.name)
    made = world.made_by[actor.name]
    try:
        held = acquire(api, wanted, actor.deadline(), world.log)
    except WriteDeniedError:
        if world.made_by[actor.name] != made:
            world.violations.append(f"{actor.name} made a cluster although only its lock was denied")
        return None
    if not holds(world, held):
        world.violations.append(f"{actor.name} holds no lock on {held.own.target}")
    return held


def live(actor: Actor, held: Held, seconds: float) -> Lock | None:
    """Let a heartbeat renew the lock for some time; None if the cluster is lost."""
    world, lock, heard, pulse = actor.world, held.lock, actor.world.now, Pulse()
    over = world.now + timedelta(seconds=seconds)
    while world.now < over:
        actor.sleep(pulse.pause_seconds(TTL_SECONDS / 3, world.rng))
        try:
            answer, lock = renew(actor.api, held.own, lock, Deadline(10, actor.monotonic, actor.sleep))
        except DagsterRayError as error:
            answer = Answer.UNKNOWN
            world.log.warning("%s", error)
        pulse = pulse.after(answer)
        if answer is Answer.RENEWED:
            heard = world.now
        if pulse.is_over:
            if world.now - heard < timedelta(seconds=TTL_SECONDS):
                world.violations.append(f"{actor.name} lost {held.own.target} although it gave signs in time")
            return None
    return lock


def step(actor: Actor) -> None:
    """Take a cluster, use it for some time, and leave it."""
    world, api, deadline = actor.world, actor.api, actor.deadline()
    actor.sleep(world.rng.choice([0, 0, 60, 90, 120]))
    held = taken(actor)
    lock = None if held is None else live(actor, held, TTL_SECONDS / 3 * world.rng.randint(0, 6))
    if held is None or lock is None:
        return
    outcome = world.rng.choice(OUTCOMES)
    used = outcome is not StepOutcome.SETUP_FAILED
    release = world.rng.random() < 0.5
    what = leaving(outcome, used=used, made=held.made, has_scope=False, release_on_success=release)
    try:
        leave(api, Held(held.own, lock, held.made), what, deadline, world.log)
    except DagsterRayError as error:  # the lock ends by itself
        world.log.warning("%s", error)


def collect(actor: Actor) -> None:
    """Run a tick of the sensor; what has no lock goes whatever its age."""
    rules = Rules(unlocked_seconds=0)
    work = Work(functools.partial(plan, rules=rules), page=2)
    collector = Collector(actor.api, RunReader(None), work, actor.deadline(), actor.world.log)
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
    world.actor("maker", lambda actor: void(acquire(actor.api, request("maker"), actor.deadline(), LOG)))
    world.run()
    (cluster,) = world.clusters()
    if with_pod:
        world.add_head_pod(cluster)
    world.now += timedelta(seconds=TTL_SECONDS + 1)
    return str(cluster["metadata"]["name"])


def void(_: object) -> None: ...


def test_a_lock_that_is_renewed_after_its_end_is_not_removed_by_a_step_that_saw_it_ended() -> None:
    world = World(0)
    held: list[Held] = []
    slow = world.actor("slow", lambda actor: held.append(acquire(actor.api, request("slow"), actor.deadline(), LOG)))
    world.finish(slow)
    world.now += timedelta(seconds=TTL_SECONDS + 61)
    late = world.actor("late", lambda actor: void(acquire(actor.api, request("late"), actor.deadline(), LOG)))
    world.let(late, 2)  # it has listed, and is about to lock and to remove what has ended
    again = world.actor("again", lambda actor: void(actor.api.list(RAYCLUSTERS, "default", actor.deadline())))
    world.finish(again)
    renewed = world.actor("slow again", lambda actor: renew_once(actor, held[0]))
    world.finish(renewed)
    world.run()
    assert {lock.id for lock in locks_of(world.clusters()[0])} == {"slow", "late"}


def renew_once(actor: Actor, held: Held) -> None:
    api = actor.api
    api.list(RAYCLUSTERS, "default", actor.deadline())  # whose answer tells the time
    renew(api, held.own, held.lock, actor.deadline())


@pytest.mark.parametrize("crowd", [1, 3, 8])
def test_steps_that_end_together_leave_the_cluster_until_the_latest_end_of_all(crowd: int) -> None:
    for seed in range(30):
        world = World(seed)
        ends: list[datetime] = []

        def come_and_go(actor: Actor, ends: list[datetime] = ends) -> None:
            ttl_seconds = 60 + 10 * len(ends)
            held = acquire(actor.api, request(actor.name, ttl_seconds=ttl_seconds), actor.deadline(), LOG)
            ends.append(held.lock.ends_at)
            leave(actor.api, held, Leave.KEEP_LOCK, actor.deadline(), LOG)

        for number in range(crowd):
            world.actor(f"step{number}", come_and_go)
        world.run()
        (cluster,) = world.clusters()
        left = locks_of(cluster)
        assert ends_at(left) == max(ends).replace(microsecond=0), f"seed {seed}"
        assert "ended" in {lock.id for lock in left}
        assert len(left) <= max(1, crowd - 1), "those that did not come through leave their own"


def test_a_denied_lock_makes_no_cluster() -> None:
    world = World(0)
    unlocked(world, with_pod=False)
    world.denied = 1.0
    denied = world.actor("denied", lambda actor: void(acquire(actor.api, request("denied"), actor.deadline(), LOG)))
    world.finish(denied)
    assert isinstance(denied.error, WriteDeniedError)
    assert 'admission webhook "x" denied the request' in str(denied.error)
    assert world.created == 1


def test_a_cluster_that_goes_between_look_and_lock_is_followed_by_the_next() -> None:
    world = World(0)
    first = unlocked(world, with_pod=True)
    held: list[Held] = []
    late = world.actor("late", lambda actor: held.append(acquire(actor.api, request("late"), actor.deadline(), LOG)))
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
    late = world.actor("late", lambda actor: held.append(acquire(actor.api, request("late"), actor.deadline(), LOG)))
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
    world.actor("late", lambda actor: held.append(acquire(actor.api, request("late"), actor.deadline(), LOG)))
    while not held:
        world.let(world.actors[-1])
    world.run()
    assert not held[0].made
    assert holds(world, held[0])
    assert world.deleted == 0


@pytest.mark.parametrize("users", [1, 2])
def test_a_maker_whose_set_up_fails_takes_its_cluster_along_unless_somebody_holds_it(
    users: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(0)
    held: list[Held] = []
    for number in range(users):
        world.actor(
            f"step{number}", lambda actor: held.append(acquire(actor.api, request(actor.name), actor.deadline(), LOG))
        )
        world.run()
    what = leaving(StepOutcome.SETUP_FAILED, used=False, made=True, has_scope=False, release_on_success=False)
    world.actor("end", lambda actor: leave(actor.api, held[0], what, actor.deadline(), LOG))
    with caplog.at_level(logging.INFO):
        world.run()
    assert len(world.clusters()) == users - 1
    assert any(" is being deleted: this step has made it" in line for line in caplog.messages) is (users == 1)
    assert world.violations == []


@pytest.mark.parametrize(
    "lose", [pytest.param(0.0, id="a good network"), pytest.param(0.3, id="three answers of ten get lost")]
)
@pytest.mark.parametrize("crowd", [2, 5, 12])
@SEEDS
def test_a_crowd_makes_one_cluster_and_all_hold_it(crowd: int, lose: float, seeds: range) -> None:
    for seed in seeds[::3]:
        world = World(seed)
        held: list[Held] = []

        def take(actor: Actor, held: list[Held] = held) -> None:
            held.append(acquire(actor.api, request(actor.name), actor.deadline(), LOG))

        for number in range(crowd):
            world.actor(f"step{number}", take)
        world.run(lose=lose)
        (cluster,) = world.clusters()
        assert len(locks_of(cluster)) == crowd, f"seed {seed}"
        assert [one.made for one in held].count(True) == 1, f"seed {seed}"
        finished(world)


@pytest.mark.parametrize(
    ("crash", "lose", "denied", "outages"),
    [
        pytest.param(0.0, 0.0, 0.0, 0, id="no process dies"),
        pytest.param(0.04, 0.0, 0.0, 0, id="processes die at any call"),
        pytest.param(0.04, 0.2, 0.0, 0, id="processes die and answers get lost"),
        pytest.param(0.0, 0.1, 0.2, 0, id="a webhook denies two patches of ten"),
        pytest.param(0.0, 0.1, 0.0, 4, id="API server and Dagster's storage are away together"),
        pytest.param(0.02, 0.1, 0.1, 3, id="all of it"),
    ],
)
@SEEDS
def test_nothing_held_is_deleted_and_nothing_is_left(
    crash: float, lose: float, denied: float, outages: int, seeds: range
) -> None:
    """Steps, two collectors and an operator that breaks clusters; each clock is wrong by up to an hour."""
    made = deleted = 0
    for seed in seeds:
        world = World(seed)
        world.denied = denied
        for _ in range(outages):
            begin = world.now + timedelta(seconds=world.rng.randint(0, 300))
            world.outages.append((begin, begin + timedelta(seconds=world.rng.choice([2, 15, 50]))))
        for number in range(6):
            world.actor(f"step{number}", step)
        for number in range(2):
            world.actor(f"collector{number}", collector)
        world.actor("operator", operator)
        world.run(crash=crash, lose=lose)
        world.denied = 0.0
        finished(world)
        made, deleted = made + world.created, deleted + world.deleted
    assert made > len(seeds), "clusters were made anew"
    assert deleted >= made - len(seeds), "and deleted"

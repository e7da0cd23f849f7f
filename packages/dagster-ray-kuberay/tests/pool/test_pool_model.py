"""Claims under every interleaving that a seed makes: one step a cluster, nobody starves, nothing dead is used again."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from pool_model import SELECTION, claim_of, pool_of, pooled
from sharing_model import NOON, Actor, Crash, World
from test_sharing_model import READY

from dagster_ray.core import Deadline, StepOutcome
from dagster_ray.kuberay._kubernetes.errors import ConflictError, KubernetesError, UnavailableError
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._pool.care import Care, care
from dagster_ray.kuberay._pool.cron import ticks
from dagster_ray.kuberay._pool.members import ENDED_ANNOTATION, Sizes, copy_of, member_of
from dagster_ray.kuberay._pool.pooled_cluster import Held
from dagster_ray.kuberay._pool.requests import CLAIM_SECONDS, RENEWAL_SECONDS
from dagster_ray.kuberay._pool.schedule import Entry, Schedule
from dagster_ray.kuberay._sharing.locks import locks_of
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.heartbeat import annotation_patch, renew
from dagster_ray.kuberay._steps.pulse import Answer
from dagster_ray.kuberay.errors import PoolBusyError

pytestmark = pytest.mark.many_processes  # make test runs them

SIZES = Sizes(size=10, max_size=10)


@dataclass
class Seen:
    """What steps have got, and when."""

    world: World
    sizes: Sizes = SIZES
    sent: Counter[str] = field(default_factory=Counter[str])
    uses: list[tuple[str, str, datetime]] = field(default_factory=list[tuple[str, str, datetime]])
    users: dict[str, str] = field(default_factory=dict[str, str])
    dead: set[str] = field(default_factory=set[str])
    """Uids of clusters whose step has died with a claim."""

    def step(self, seconds: tuple[int, ...] = (1, 5, 20)) -> "Step":
        return Step(self, seconds)


@dataclass(frozen=True)
class Step:
    """A step that claims a cluster, uses it for some time, and gives it back."""

    seen: Seen
    seconds: tuple[int, ...]

    def __call__(self, actor: Actor) -> None:
        seen, world = self.seen, self.seen.world
        cluster = pooled(actor, seen.sent)
        cluster.claim(pool_of(actor.name, seen.sizes))
        assert cluster.held is not None
        cluster.reach_head()
        uid = cluster.held.own.uid
        if len([one for one in world.clusters() if claim_of(one, actor.name)]) > 1:
            world.violations.append(f"{actor.name} has claimed two clusters")
        if uid in seen.users:
            world.violations.append(f"{actor.name} and {seen.users[uid]} have one cluster")
        if uid in seen.dead:
            world.violations.append(f"{actor.name} has the cluster of a step that died")
        seen.users[uid] = actor.name
        seen.uses.append((actor.name, uid, world.now))
        try:
            actor.sleep(world.rng.choice(self.seconds))
        except BaseException:
            seen.dead.add(uid)
            raise
        finally:
            del seen.users[uid]
        try:
            cluster.leave(StepOutcome.SUCCEEDED, actor.deadline())
        except BaseException:
            seen.dead |= {uid} if any(claim_of(one, actor.name) for one in world.clusters()) else set()
            raise


def fill(world: World, sizes: Sizes = SIZES) -> None:
    """Make all members of a pool, ready and free."""
    request = pool_of("maker", sizes)
    for slot in range(1, sizes.max_size + 1):
        made = request.one(slot, request.claim(world.now)).manifest
        name = SELECTION.name("dagster", slot)
        world.store.create("rayclusters", copy_of(made, name, slot, world.now))
        world.set_status(name, READY)


def operate(actor: Actor) -> None:
    """Make clusters ready and take away the pods of those that go, as long as anybody else is there."""
    world = actor.world
    while any(not one.is_over for one in world.actors if one.name not in {"operator", "sensor"}):
        actor.sleep(5)
        for cluster in world.store.list("rayclusters"):
            name = cluster["metadata"]["name"]
            if "deletionTimestamp" in cluster["metadata"]:
                world.store.remove("pods", "default", f"{name}-head")
            elif "status" not in cluster:
                world.add_head_pod(cluster)
                world.set_status(name, READY)


@pytest.mark.parametrize("warm", [pytest.param(True, id="ten warm clusters"), pytest.param(False, id="an empty pool")])
def test_fifty_steps_use_ten_clusters_one_at_a_time(warm: bool) -> None:
    for seed in range(2):
        world = World(seed)
        seen = Seen(world)
        if warm:
            fill(world)

        def come(actor: Actor, seen: Seen = seen) -> None:
            actor.sleep(seen.world.rng.uniform(0, 60))
            seen.step((60, 100))(actor)

        for number in range(50):
            world.actor(f"step{number}", come)
        world.run()
        assert world.violations == []
        assert len(seen.uses) == 50
        assert len(world.store.list("rayclusters")) <= 10


def tend(actor: Actor) -> None:
    """Do what a sensor does, by the same decisions."""
    while any(not one.is_over for one in actor.world.actors if one.name not in {"operator", "sensor"}):
        actor.sleep(60)
        tick(actor)


def tick(actor: Actor) -> Care:
    """Look after the pool once; what it lacks is made only where its size is told by a schedule."""
    api = actor.api
    found = api.list(RAYCLUSTERS, "default", actor.deadline()).items
    now = api.server_time()
    plan = care([member_of(one, now) for one in found], now, ticks)
    for one in plan.notes:
        own = created(RAYCLUSTERS, "default", next(it for it in found if it["metadata"]["uid"] == one.uid))
        patch = annotation_patch(own, {ENDED_ANNOTATION: time_text(now)}, one.version)
        with suppress(KubernetesError):
            api.patch(RAYCLUSTERS, "default", one.name, patch, Deadline(10, actor.monotonic, actor.sleep))
    for one, _ in plan.ends:
        with suppress(ConflictError):
            api.delete(RAYCLUSTERS, "default", one.name, actor.deadline(), uid=one.uid, resource_version=one.version)
    model = plan.model
    if model is not None and model.sizes is not None and isinstance(model.sizes.size, Schedule):
        cluster = next(one for one in found if one["metadata"]["uid"] == model.uid)
        for slot in plan.slots:
            made = copy_of(cluster, SELECTION.name("dagster", slot), slot, plan.used_at)
            with suppress(ConflictError):
                api.create(RAYCLUSTERS, "default", made, actor.deadline(), strict=False)
    return plan


@pytest.mark.parametrize(
    ("crash", "lose", "sensor"),
    [
        pytest.param(0.05, 0.0, True, id="processes die, and a sensor looks"),
        pytest.param(0.05, 0.0, False, id="processes die, and no sensor looks"),
        pytest.param(0.05, 0.2, True, id="processes die and answers get lost"),
        pytest.param(0.0, 0.3, False, id="three answers of ten get lost"),
    ],
)
def test_a_cluster_whose_step_died_is_never_used_again(crash: float, lose: float, sensor: bool) -> None:
    deaths = 0
    for seed in range(10):
        world = World(seed)
        world.owners_delete = True
        sizes = Sizes(size=2, max_size=3, recycle_after_uses=4)
        seen = Seen(world, sizes)
        for number in range(10):
            world.actor(f"step{number}", seen.step())
        world.actor("operator", operate)
        if sensor:
            world.actor("sensor", tend)
        while world.step(crash=crash, lose=lose):
            if len(world.store.list("rayclusters")) > sizes.max_size:
                world.violations.append("more clusters than max_size")
        errors = [actor.error for actor in world.actors if actor.error is not None]
        assert all(isinstance(error, PoolBusyError) for error in errors), errors
        assert world.violations == [], f"seed {seed}"
        deaths += len(seen.dead)
        if not crash:
            assert len(seen.uses) == 10
    assert (deaths > 0) == (crash > 0)


def test_a_claim_that_ended_is_spent_by_the_next_step_if_no_sensor_runs() -> None:
    world = World(0)
    sizes = Sizes(size=1, max_size=1)
    seen = Seen(world, sizes)
    first = world.actor("first", seen.step())
    while not seen.uses:
        world.let(first)
    first.crashes = True
    world.let(first)
    (old,) = world.clusters()
    assert [lock.id for lock in locks_of(old)] == ["first"]
    world.actor("second", seen.step())
    world.actor("operator", operate)
    world.run()
    assert world.violations == []
    assert [name for name, _, _ in seen.uses] == ["first", "second"]
    assert seen.uses[0][1] != seen.uses[1][1]
    assert seen.uses[1][2] - NOON >= timedelta(seconds=CLAIM_SECONDS)


def hold(seen: Seen, actor: Actor) -> None:
    """Have a cluster for some time, and renew the claim on it as a heartbeat does."""
    cluster = pooled(actor, seen.sent)
    cluster.claim(pool_of(actor.name, seen.sizes))
    assert cluster.held is not None
    own, claim = cluster.held.own, cluster.held.claim
    seen.uses.append((actor.name, own.uid, seen.world.now))
    actor.sleep(RENEWAL_SECONDS)
    while seen.world.now < NOON + timedelta(seconds=1100):
        try:
            answer, claim = renew(cluster.api, own, claim, Deadline(10, actor.monotonic, actor.sleep))
        except UnavailableError:
            actor.sleep(30)
            continue
        if answer is not Answer.RENEWED:
            seen.world.violations.append(f"a live step has lost its cluster: {answer.value}")
            return
        actor.sleep(RENEWAL_SECONDS)
    cluster.held = Held(own, claim)
    cluster.reach_head()
    cluster.leave(StepOutcome.SUCCEEDED, actor.deadline())


@pytest.mark.parametrize("sensor", [pytest.param(True, id="a sensor looks"), pytest.param(False, id="a step waits")])
def test_an_outage_in_which_claims_end_costs_no_live_step_its_cluster(sensor: bool) -> None:
    for seed in range(2):
        world = World(seed)
        seen = Seen(world, Sizes(size=1, max_size=1))
        first = world.actor("first", lambda actor, seen=seen: hold(seen, actor))
        while not seen.uses:
            world.let(first)
        world.outages = [(NOON + timedelta(seconds=190), NOON + timedelta(seconds=840))]
        world.actor("second", seen.step())
        if sensor:
            world.actor("sensor", tend)
        world.run()
        assert world.violations == [], f"seed {seed}"
        assert [name for name, _, _ in seen.uses] == ["first", "second"]
        assert len({uid for _, uid, _ in seen.uses}) == 1


def begun_again(work: Callable[[Actor], None]) -> Callable[[Actor], None]:
    """Return work that somebody begins again when its process dies, as Dagster does a tick of a sensor."""

    def run(actor: Actor) -> None:
        try:
            work(actor)
        except Crash:
            run(actor)

    return run


@dataclass
class Keeper:
    """A sensor that looks after a pool with a schedule for an hour and a half, also when no step is left."""

    begins: datetime
    """When the last size of the schedule begins."""
    had_any: bool = False
    """Whether there was a cluster when it looked for the first time after that."""

    def __call__(self, actor: Actor) -> None:
        world, has_begun = actor.world, False
        while world.now < NOON + timedelta(minutes=90):
            actor.sleep(60)
            if not has_begun and world.now >= self.begins:
                has_begun, self.had_any = True, bool(world.clusters())
            tick(actor)


@pytest.mark.parametrize(
    ("crash", "lose"),
    [
        pytest.param(0.0, 0.0, id="all goes well"),
        pytest.param(0.0, 0.2, id="answers get lost"),
        pytest.param(0.1, 0.0, id="processes die"),
    ],
)
def test_a_pool_comes_to_the_size_of_its_schedule_and_no_step_loses_its_cluster(crash: float, lose: float) -> None:
    """What a sensor must not delete, the model's API server notes itself."""
    ends: Counter[str] = Counter()
    deaths = 0
    for seed in range(6):
        world = World(seed)
        world.owners_delete = True
        first, second, last = (world.rng.choice([0, 1, 2, 3]) for _ in range(3))
        entries = Entry("0 12 * * *", first), Entry("20 12 * * *", second), Entry("40 12 * * *", last)
        sizes = Sizes(size=Schedule(entries), max_size=3, idle_seconds=120, recycle_after_uses=3)
        seen, keeper = Seen(world, sizes), Keeper(NOON + timedelta(minutes=40))

        def come(actor: Actor, seen: Seen = seen) -> None:
            actor.sleep(seen.world.rng.uniform(0, 3000))
            seen.step((20, 200))(actor)

        for number in range(6):
            world.actor(f"step{number}", come)
        world.actor("keeper", begun_again(keeper))
        world.actor("operator", begun_again(operate))
        while world.step(crash=crash, lose=lose):
            if len(world.store.list("rayclusters")) > sizes.max_size:
                world.violations.append("more clusters than max_size")
        assert [actor.error for actor in world.actors if actor.error is not None] == []
        assert world.violations == [], f"seed {seed}"
        count = len(world.clusters())
        assert count in {0, last}, f"seed {seed}"
        if keeper.had_any and not crash:
            assert count == last, f"seed {seed}"
        deaths += len(seen.dead)
        ends["came to its size" if count == last > 0 else "ended"] += 1
    assert len(ends) == 2, ends
    assert (deaths > 0) == (crash > 0)

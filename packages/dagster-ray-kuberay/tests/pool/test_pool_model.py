"""Claims under every interleaving that a seed makes: one step has a cluster at a time, and nobody starves."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from pool_model import SELECTION, claim_of, pool_of, pooled
from sharing_model import Actor, World
from test_sharing_model import READY

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._pool.members import Sizes, copy_of

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
    for slot in range(1, sizes.size + 1):
        made = request.one(slot, request.claim(world.now)).manifest
        name = SELECTION.name("dagster", slot)
        world.store.create("rayclusters", copy_of(made, name, slot, world.now))
        world.set_status(name, READY)


def test_fifty_steps_use_ten_warm_clusters_one_at_a_time() -> None:
    for seed in range(2):
        world = World(seed)
        seen = Seen(world)
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

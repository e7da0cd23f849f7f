"""Which head the watch over a job's cluster waits for, when several jobs run there one after the other."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

from collections.abc import Callable

import dagster as dg
import pytest
from fault_world import eventually, resource, simulated

from dagster_ray.core import RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._jobs import watch as watching
from dagster_ray.kuberay._jobs.watch import ClusterWatch
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.pipes.errors import JobLostError
from dagster_ray.simulator import Simulator

pytestmark = pytest.mark.many_processes


def replace_head(simulator: Simulator) -> None:
    (pod,) = simulator.store.list("pods")
    name = pod["metadata"]["name"]
    simulator.store.delete("pods", "default", name)

    def has_another() -> bool:
        (cluster,) = simulator.store.list("rayclusters")
        return at(cluster, "status", "head", "podName") not in {None, "", name}

    eventually(has_another)


def do_nothing(_: ClusterWatch) -> None:
    """Go on with the job that was submitted."""


def submit(watch: ClusterWatch) -> None:
    watch.submitted("second")


def begin(watch: ClusterWatch) -> None:
    watch.begin("of the second step")


@pytest.mark.parametrize(
    ("after", "is_lost"),
    [
        pytest.param(do_nothing, True, id="the job that runs is lost"),
        pytest.param(submit, False, id="a later job is on the new head"),
        pytest.param(begin, False, id="a later job is not submitted yet"),
    ],
)
def test_a_head_that_was_replaced_while_no_job_ran_is_no_loss_of_the_next_one(
    monkeypatch: pytest.MonkeyPatch, after: Callable[[ClusterWatch], None], *, is_lost: bool
) -> None:
    monkeypatch.setattr(watching, "_SILENT_SECONDS", -1.0)
    said: list[str | None] = []

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        assert isinstance(ray_cluster, KubeRayInteractiveJob)
        with ClusterWatch(ray_cluster._created, "of the first step") as watch:
            watch.submitted("first")
            replace_head(simulator)
            after(watch)
            failures = iter(range(9))
            watch.listen(lambda: (0, next(failures)))
            try:
                watch.check()
            finally:
                said.append(watch.lost_head)

    with simulated() as simulator, dg.DagsterInstance.ephemeral() as instance:
        resources = {"ray_cluster": resource(simulator)}
        dg.materialize([step], resources=resources, instance=instance, raise_on_error=False)
    assert [found is not None for found in said] == [is_lost]


def test_a_cluster_that_was_deleted_before_its_watch_began_is_lost() -> None:
    """The first list does not show it, and no event comes."""
    said: list[str] = []

    def is_lost(watch: ClusterWatch) -> bool:
        try:
            watch.check()
        except JobLostError as error:
            said.append(error.reason)
        return bool(said)

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        assert isinstance(ray_cluster, KubeRayInteractiveJob)
        created = ray_cluster._created
        simulator.store.delete("rayjobs", "default", created.made.name)
        eventually(lambda: not simulator.store.list("rayjobs"))
        with ClusterWatch(created, "of the step") as watch:
            eventually(lambda: is_lost(watch))

    with simulated() as simulator, dg.DagsterInstance.ephemeral() as instance:
        resources = {"ray_cluster": resource(simulator)}
        dg.materialize([step], resources=resources, instance=instance, raise_on_error=False)
    assert said == ["the RayJob was deleted by somebody else"]

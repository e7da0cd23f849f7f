"""The first POST makes the object and its answer is lost; what comes later is a refusal. Nothing is left behind."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from fault_world import eventually, left, resource, run_step, simulated
from pipes_world import pipes_world, run_job

from dagster_ray.core import Lifecycle
from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, RayClusterConfig
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault, Simulator

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

SPEC: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}
SHARED = ClusterSharing(enabled=True, ttl_seconds=3600)
REFUSALS = {
    400: "kubernetes-invalid",
    401: "kubernetes-unauthorized",
    403: "kubernetes-forbidden",
    422: "kubernetes-invalid",
}


def cluster(simulator: Simulator, name: str | None = None, **more: Any) -> KubeRayCluster:
    """Return a resource whose cluster is a head alone."""
    config: dict[str, Any] = {"spec": SPEC, "metadata": {} if name is None else {"name": name}}
    given: dict[str, Any] = {
        "kubeconfig_file": str(simulator.kubeconfig),
        "lifecycle": Lifecycle(connect=False),
        "timeout": 20.0,
        "ray_cluster": RayClusterConfig(**config),
        **more,
    }
    return KubeRayCluster(**given)


RESOURCES: dict[str, Callable[[Simulator], Any]] = {
    "a RayJob": resource,
    "a RayCluster": cluster,
    "a shared RayCluster": lambda simulator: cluster(simulator, cluster_sharing=SHARED),
}


def lose_the_first_answer_and_refuse_the_rest(simulator: Simulator, status: int) -> Fault:
    """Return the fault of the first POST."""
    lost = simulator.faults.add(method="POST", path=r"/ray(jobs|clusters)(\?|$)", lose_answer=True, times=1)
    simulator.faults.add(method="POST", path=r"/ray(jobs|clusters)(\?|$)", status=status)
    return lost


@contextmanager
def in_background(act: Callable[[], None]) -> Generator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("kind", RESOURCES)
def test_a_step_whose_creation_is_refused_after_a_lost_answer_deletes_what_the_lost_one_made(
    simulator: Simulator, kind: str, status: int
) -> None:
    lost = lose_the_first_answer_and_refuse_the_rest(simulator, status)
    outcome = run_step(RESOURCES[kind](simulator))
    assert not outcome.success
    assert f"[dagster-ray: {REFUSALS[status]}]" in outcome.log
    assert lost.hits == 1
    eventually(lambda: left(simulator) == [])


def test_a_pipes_job_whose_rayjob_is_refused_after_a_lost_answer_leaves_none() -> None:
    with pipes_world() as world:
        lost = lose_the_first_answer_and_refuse_the_rest(world.simulator, 403)
        ran = run_job(world.client(), {"entrypoint": "python work.py"})
        assert not ran.success
        assert "[dagster-ray: kubernetes-forbidden]" in ran.log
        assert lost.hits == 1
        eventually(lambda: world.rayjobs() == [])


def test_a_refusal_without_a_lost_answer_is_not_followed_by_a_search(simulator: Simulator) -> None:
    simulator.faults.add(method="POST", path="/rayjobs", status=403)
    assert not run_step(resource(simulator)).success
    assert [request.method for request in simulator.requests if "/rayjobs" in request.path] == ["POST"]


def test_a_cluster_of_somebody_else_is_kept_although_the_answer_about_its_name_was_lost(simulator: Simulator) -> None:
    simulator.store.create("rayclusters", {"metadata": {"name": "theirs", "namespace": "default"}, "spec": SPEC})
    lost = simulator.faults.add(method="POST", path="/rayclusters", lose_answer=True, times=1)
    outcome = run_step(cluster(simulator, "theirs"), fails=True)
    assert lost.hits == 1
    assert "dagster-ray has not made it and will not delete it" in outcome.log
    (kept,) = simulator.store.list("rayclusters")
    assert "deletionTimestamp" not in kept["metadata"]


def test_the_second_rayjob_of_a_step_is_deleted_when_its_head_cannot_start() -> None:
    """KubeRay 1.5 refuses the deletion strategy of the first, so that a second one is made in the portable form."""
    strategy = {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteSelf"}}
    with simulated("1.5.2") as simulator:
        outcome = run_step(resource(simulator, image="rayproject/ray:missing", spec={"deletionStrategy": strategy}))
        assert "the portable form is used" in outcome.log
        assert "[dagster-ray: cannot-start]" in outcome.log
        eventually(lambda: left(simulator) == [])


def test_a_rayjob_that_somebody_else_has_deleted_is_not_said_to_be_deleted_by_the_step() -> None:
    with simulated(operator=False) as simulator:

        def delete() -> None:
            eventually(lambda: simulator.store.list("rayjobs"))
            simulator.store.delete("rayjobs", "default", simulator.store.list("rayjobs")[0]["metadata"]["name"])

        with in_background(delete):
            outcome = run_step(resource(simulator))
        assert "[dagster-ray: cluster-gone]" in outcome.log
        assert "was already gone." in outcome.log
        assert "was deleted." not in outcome.log


def test_a_rayjob_that_is_going_already_is_not_said_to_be_deleted_by_the_step(simulator: Simulator) -> None:
    """A finalizer holds it, so that the API server answers 200 to each deletion."""

    def delete() -> None:
        eventually(lambda: simulator.store.list("rayjobs"))
        name = simulator.store.list("rayjobs")[0]["metadata"]["name"]
        held: dict[str, Any] = {"metadata": {"finalizers": ["example.com/slow"]}}
        simulator.store.patch("rayjobs", "default", name, held, "application/merge-patch+json")
        simulator.store.delete("rayjobs", "default", name)

    simulator.operator.stop()
    with in_background(delete):
        outcome = run_step(resource(simulator))
    assert "[dagster-ray: cluster-gone]" in outcome.log
    assert "is being deleted." in outcome.log
    assert "was deleted." not in outcome.log

"""What `PipesKubeRayJobClient` makes of a head, or a RayJob, that goes before or after it has taken the job."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from fault_world import FAST, eventually, simulated
from pipes_world import PipesWorld, Ran, pipes_world, run_job
from typing_extensions import override

from dagster_ray.core import Lifecycle
from dagster_ray.simulator import FakeRayNode, KubeletOptions, NodeOrder

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

JOB = {"entrypoint": "python work.py"}
ADVICE_ABOUT_ADDRESSES = "check that the address"


class Untaken(dict[str, dict[str, Any]]):
    """The jobs of a head that breaks the connection when it is to take one."""

    def __init__(self, asked: threading.Event) -> None:
        super().__init__()
        self._asked = asked

    @override
    def __setitem__(self, key: str, value: dict[str, Any]) -> None:
        self._asked.set()
        raise ConnectionResetError


@contextmanager
def world_whose_first_head_takes_no_job() -> Generator[tuple[PipesWorld, threading.Event]]:
    """Yield a world, and what is set when the first head was asked to take a job."""
    heads: list[FakeRayNode] = []
    asked = threading.Event()

    def node(order: NodeOrder) -> FakeRayNode:
        heads.append(FakeRayNode(order))
        if len(heads) == 1:
            heads[0].jobs = Untaken(asked)
        return heads[-1]

    with simulated(kubelet_options=KubeletOptions(times=FAST, nodes=node)) as simulator:
        yield PipesWorld(simulator, heads), asked


def run_while(world: PipesWorld, begun: Callable[[], object], act: Callable[[], object], **options: Any) -> Ran:
    """Run a job; act once something is so."""

    def wait_and_act() -> None:
        eventually(begun)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    ran = run_job(world.client(access="port_forward", **options), JOB)
    thread.join()
    return ran


def kill_head(world: PipesWorld) -> str:
    """Kill the head's pod; return its name."""
    (pod,) = world.simulator.store.list("pods")
    name = str(pod["metadata"]["name"])
    world.simulator.kubelet.kill_pod("default", name)
    return name


def test_a_job_goes_to_the_head_that_replaces_the_one_which_it_was_submitted_to() -> None:
    killed: list[str] = []
    with world_whose_first_head_takes_no_job() as (world, asked), world.ending("SUCCEEDED"):
        ran = run_while(world, asked.is_set, lambda: killed.append(kill_head(world)), timeout=120.0)
        assert ran.success, ran.log
        assert [len(head.jobs) for head in world.heads] == [0, 1]
    assert f"the head pod {killed[0]} is gone" in ran.log
    assert "The job goes to the next head." in ran.log
    assert ADVICE_ABOUT_ADDRESSES not in ran.log


def test_a_head_that_nobody_replaces_is_named_with_the_reason_of_its_end() -> None:
    """The operator does nothing, so that the RayCluster goes on showing the pod that is gone."""
    killed: list[str] = []

    def kill(world: PipesWorld) -> None:
        world.simulator.operator.freeze()
        killed.append(kill_head(world))
        world.simulator.store.delete("pods", "default", killed[0])

    with world_whose_first_head_takes_no_job() as (world, asked):
        ran = run_while(world, asked.is_set, lambda: kill(world), timeout=8.0)
        world.simulator.operator.thaw()
        assert not ran.success
        assert "[dagster-ray: not-ready]" in ran.log
        assert f"the head pod {killed[0]} is gone (" in ran.log
        assert f"pod {killed[0]} (by port-forward) does not answer" in ran.log
        assert ADVICE_ABOUT_ADDRESSES not in ran.log
        assert "could not be stopped" not in ran.log
        eventually(lambda: world.rayjobs() == [])


def test_a_rayjob_that_is_deleted_while_its_job_is_submitted_ends_the_step() -> None:
    def delete(world: PipesWorld) -> None:
        world.simulator.store.delete("rayjobs", "default", world.rayjobs()[0]["metadata"]["name"])

    with world_whose_first_head_takes_no_job() as (world, asked):
        ran = run_while(world, asked.is_set, lambda: delete(world), timeout=600.0)
    assert not ran.success
    assert "[dagster-ray: ray-job-lost]" in ran.log
    assert "the RayJob was deleted by somebody else" in ran.log
    assert "find out who deleted it" in ran.log
    assert "could not be stopped" not in ran.log
    assert "default was deleted." not in ran.log


def test_a_dashboard_that_takes_no_job_is_named_by_its_pod() -> None:
    with world_whose_first_head_takes_no_job() as (world, _):
        ran = run_job(
            world.client(access="port_forward", timeout=20.0, server_timeout=3.0, termination_timeout=1.0), JOB
        )
        pod = world.heads[0]
    assert not ran.success
    assert "[dagster-ray: job-server-unavailable]" in ran.log
    assert "POST /api/jobs/ at the dashboard at port 8265 of pod " in ran.log
    assert "kubectl describe pod " in ran.log
    assert ADVICE_ABOUT_ADDRESSES not in ran.log
    assert pod.jobs == {}


@pytest.mark.parametrize(
    "is_replaced", [pytest.param(True, id="and is replaced"), pytest.param(False, id="and nobody replaces it")]
)
def test_a_job_whose_head_goes_is_lost_long_before_the_patience_with_a_dashboard_ends(
    monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._jobs.watch._LOOK_SECONDS", 0.5)
    with pipes_world() as world:

        def kill() -> None:
            if not is_replaced:
                world.simulator.operator.freeze()
            world.simulator.store.delete("pods", "default", kill_head(world))

        ran = run_while(world, lambda: world.jobs and world.rayjobs()[0]["spec"].get("jobId"), kill)
        world.simulator.operator.thaw()
    assert not ran.success
    assert "[dagster-ray: ray-job-lost]" in ran.log
    assert ADVICE_ABOUT_ADDRESSES not in ran.log


def test_two_heads_that_go_and_then_success_give_one_materialization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_ray.kuberay._jobs.watch._LOOK_SECONDS", 0.5)
    killed: list[str] = []
    with pipes_world() as world:

        def act() -> None:
            for number in (1, 2):
                eventually(lambda n=number: len(world.jobs) == n and world.rayjobs()[0]["spec"].get("jobId"))
                killed.append(kill_head(world))
            eventually(lambda: len(world.jobs) == 3)
            world.jobs[-1].update(status="SUCCEEDED")

        lifecycle = Lifecycle(cleanup="on_exception", retry_infrastructure=2)
        ran = run_while(world, lambda: world.jobs, act, lifecycle=lifecycle)
    assert ran.success, ran.log
    assert len(killed) == 2
    assert ran.log.count("Infrastructure failed, so the step is tried again (retry ") == 2
    assert "(retry 2 of 2)" in ran.log


def test_a_job_that_fails_is_not_retried_for_infrastructure() -> None:
    with pipes_world() as world, world.ending("FAILED", message="the job's own error"):
        ran = run_job(world.client(lifecycle=Lifecycle(retry_infrastructure=3)), JOB)
        assert not ran.success
        assert "Failure class user: RayJobFailedError" in ran.log
        assert len(world.jobs) == 1

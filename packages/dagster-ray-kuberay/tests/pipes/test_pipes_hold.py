"""A Pipes job that failed holds its cluster for some time, which the operator ends by itself."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
from collector_world import World
from fault_world import eventually, with_late_worker
from pipes_world import PipesWorld, Ran, pipes_world, run_job

from dagster_ray.core import Lifecycle
from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.kuberay._kubernetes.fields import time_of
from dagster_ray.kuberay.errors import InvalidSpecError
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault

# Dagster's own Pipes code warns about itself with the context of an asset.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.many_processes,
]

JOB = {"entrypoint": "python work.py"}
HELD = "because of hold_on_failure"
NOT_HELD = "is not held"


@pytest.fixture
def world() -> Generator[PipesWorld]:
    with pipes_world() as found:
        yield found


def failing(world: PipesWorld, job: dict[str, Any] = JOB, *, retries: int = 0, **more: Any) -> Ran:
    """Run a job that fails, with a client that holds its cluster."""
    with world.ending("FAILED", message="it broke"):
        ran = run_job(world.client(**{"hold_on_failure": 900, **more}), job, retries=retries)
    assert not ran.success
    return ran


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_a_cluster_is_held_for_a_day_at_most(seconds: float) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        PipesKubeRayJobClient(hold_on_failure=seconds)
    assert caught.value.field == "hold_on_failure"


@pytest.mark.parametrize("cleanup", ["on_exception", pytest.param("always", marks=pytest.mark.weekly)])
def test_a_job_that_failed_holds_its_cluster_and_says_until_when(world: PipesWorld, cleanup: Any) -> None:
    ran = failing(world, lifecycle=Lifecycle(cleanup=cleanup))
    (rayjob,) = world.rayjobs()
    until, name = rayjob["metadata"]["annotations"]["dagster/held-until"], rayjob["metadata"]["name"]
    assert time_of(until)
    assert rayjob["metadata"]["labels"]["dagster/outcome"] == "failed"
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == 900
    assert f"RayJob default/{name} is held until {until} {HELD}" in ran.log
    assert f"kubectl delete rayjob -n default {name}" in ran.log
    eventually(lambda: world.rayjobs()[0]["status"].get("jobDeploymentStatus") == "Failed")
    assert len(world.simulator.store.list("rayclusters")) == 1


@pytest.mark.weekly
def test_a_job_without_the_report_that_is_required_holds_its_cluster(world: PipesWorld) -> None:
    with world.ending("SUCCEEDED"):
        ran = run_job(world.client(hold_on_failure=900, require_messages="always"), JOB)
    assert "[dagster-ray: pipes-messages-missing]" in ran.log
    assert ran.log.count(HELD) == len(world.rayjobs()) == 1


def test_the_operator_deletes_the_cluster_when_the_time_has_run_out(world: PipesWorld) -> None:
    ran = failing(world, hold_on_failure=2)
    assert HELD in ran.log
    eventually(lambda: not world.simulator.store.list("rayclusters"))


def test_the_sensor_leaves_the_cluster_alone_until_then(world: PipesWorld) -> None:
    """The run is over, and neither of its graces applies."""
    with dg.DagsterInstance.ephemeral() as instance, world.ending("FAILED"):
        run_job(world.client(hold_on_failure=900), JOB, instance=instance)
        sensor = World(world.simulator, instance)
        (rayjob,) = world.rayjobs()
        until, name = rayjob["metadata"]["annotations"]["dagster/held-until"], rayjob["metadata"]["name"]
        sensor.collect()
        assert sensor.report.kept == {f"is held until {until}, since its step failed": 1}
        sensor.wait_for_silence()
        sensor.collect()
    assert sensor.report.deleted == [(f"RayJob default/{name}", "the time that it was held has run out")]


@pytest.mark.weekly
def test_a_later_run_makes_a_cluster_of_its_own(world: PipesWorld) -> None:
    failing(world)
    with world.ending("SUCCEEDED"):
        assert run_job(world.client(), JOB).success
    assert len(world.heads) == 2


def test_only_the_last_attempt_of_a_retry_policy_holds_its_cluster(world: PipesWorld) -> None:
    ran = failing(world, retries=1)
    (rayjob,) = world.rayjobs()
    assert "dagster/held-until" in rayjob["metadata"]["annotations"]
    assert len(world.heads) == 2
    assert HELD in ran.log.partition("STEP_UP_FOR_RETRY")[2]
    assert HELD not in ran.log.partition("STEP_UP_FOR_RETRY")[0]


def test_an_attempt_that_infrastructure_has_cost_holds_nothing(world: PipesWorld) -> None:
    """A worker is evicted, and the supervisor of the job dies with it; the next attempt succeeds."""

    def evict() -> None:
        (cluster,) = world.simulator.store.list("rayclusters")
        about = {"kind": "Pod", "namespace": "default", "name": f"{cluster['metadata']['name']}-worker-1"}
        event = {"reason": "TaintManagerEviction", "message": "Marking for deletion Pod", "type": "Normal"}
        event |= {"metadata": {"name": "evicted.1", "namespace": "default"}, "involvedObject": about}
        world.simulator.store.create("events", event)

    client = world.client(hold_on_failure=900, lifecycle=Lifecycle(cleanup="on_exception", retry_infrastructure=1))
    with once_submitted(world, evict), world.ending("FAILED", "SUCCEEDED", message="The job supervisor actor died"):
        ran = run_job(client, JOB)
    assert "so the step is tried again (retry 1 of 1)" in ran.log
    assert ran.success, ran.log
    assert "hold_on_failure" not in ran.log
    assert NOT_HELD not in ran.log
    assert len(world.rayjobs()) == 1


@contextmanager
def once_submitted(world: PipesWorld, act: Callable[[], object]) -> Generator[None]:
    """Act before the first job is ended."""
    thread = threading.Thread(target=lambda: (eventually(lambda: world.jobs), act()))
    thread.start()
    yield
    thread.join()


# What is not held

RULES = {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteNone"}}
SELECTS = {"cluster_selector": {"ray.io/cluster": "mine"}}
WITHOUT_END: dict[str, tuple[dict[str, Any], str, int]] = {
    "rules in a manifest": (
        {"entrypoint": None, "spec": {"entrypoint": "python work.py", "deletionStrategy": RULES}},
        "its `deletionStrategy` says",
        1,
    ),
    "no end in a manifest": (
        {"entrypoint": None, "spec": {"entrypoint": "python work.py", "shutdownAfterJobFinishes": False}},
        "without `shutdownAfterJobFinishes`",
        0,
    ),
    "a cluster that exists": (SELECTS, "it runs on a cluster that exists without it", 0),
}


@pytest.mark.parametrize(("call", "words", "left"), WITHOUT_END.values(), ids=WITHOUT_END)
def test_what_the_operator_would_not_end_then_is_not_held(
    world: PipesWorld, call: dict[str, Any], words: str, left: int
) -> None:
    if call is SELECTS:
        spec = {"headGroupSpec": head_group(cpus=1, memory="2Gi")}
        mine = {"metadata": {"name": "mine", "namespace": "default"}, "spec": spec}
        world.simulator.store.create("rayclusters", mine)
    ran = failing(world, {key: value for key, value in {**JOB, **call}.items() if value is not None})
    assert f"is not held although hold_on_failure is set: {words}" in ran.log
    assert "[dagster-ray: ray-job-failed]" in ran.log
    assert HELD not in ran.log
    assert len(world.rayjobs()) == left


def test_a_rayjob_whose_operator_does_not_know_the_job_is_deleted(world: PipesWorld) -> None:
    world.simulator.faults.add(Fault(method="PATCH", path="/rayjobs", status=400))
    ran = failing(world)
    assert "is not held although hold_on_failure is set: its operator does not know its job" in ran.log
    assert world.rayjobs() == []


@pytest.mark.weekly
def test_a_rayjob_that_cannot_be_changed_any_more_is_deleted(world: PipesWorld) -> None:
    deny = Fault(method="PATCH", path="/rayjobs", status=400)

    def fail() -> None:
        eventually(lambda: world.jobs and world.rayjobs()[0]["spec"].get("jobId"))
        world.simulator.faults.add(deny)
        for job in world.jobs:
            job["status"] = "FAILED"

    thread = threading.Thread(target=fail)
    thread.start()
    ran = run_job(world.client(hold_on_failure=900), JOB)
    thread.join()
    assert "is not held although hold_on_failure is set" in ran.log
    assert world.rayjobs() == []


def head_killed(world: PipesWorld) -> None:
    (pod,) = world.simulator.store.list("pods")
    world.simulator.kubelet.kill_pod("default", pod["metadata"]["name"])


def job_server_silent(world: PipesWorld) -> None:
    world.heads[0].is_silent = True


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        pytest.param(head_killed, "ray-job-lost", id="a lost head"),
        pytest.param(job_server_silent, "job-server-unavailable", marks=pytest.mark.weekly, id="a silent job server"),
    ],
)
def test_a_job_whose_end_was_not_seen_holds_nothing(
    world: PipesWorld, happens: Callable[[PipesWorld], None], code: str
) -> None:
    def act() -> None:
        eventually(lambda: world.jobs and world.rayjobs()[0]["spec"].get("jobId"))
        happens(world)

    thread = threading.Thread(target=act)
    thread.start()
    ran = run_job(world.client(hold_on_failure=900, server_timeout=2.0, access="port_forward"), JOB)
    thread.join()
    assert f"[dagster-ray: {code}]" in ran.log, ran.log
    assert HELD not in ran.log
    assert world.rayjobs() == []


@pytest.mark.parametrize(
    ("status", "cleanup"),
    [
        pytest.param("FAILED", "never", id="the policy keeps it anyway"),
        pytest.param("SUCCEEDED", "on_exception", marks=pytest.mark.weekly, id="the job succeeded"),
    ],
)
def test_other_ends_hold_nothing(world: PipesWorld, status: str, cleanup: Any) -> None:
    with world.ending(status):
        ran = run_job(world.client(hold_on_failure=900, lifecycle=Lifecycle(cleanup=cleanup)), JOB)
    assert HELD not in ran.log
    (rayjob,) = world.rayjobs()
    assert "dagster/held-until" not in rayjob["metadata"]["annotations"]


@pytest.mark.weekly
def test_a_cluster_that_does_not_start_is_not_held(world: PipesWorld) -> None:
    head = head_group(cpus=1, memory="2Gi", image="crashing:1")
    call: dict[str, Any] = {**JOB, "template": {"spec": {"rayClusterSpec": {"headGroupSpec": head}}}}
    ran = run_job(world.client(hold_on_failure=900), call)
    assert "[dagster-ray: cannot-start]" in ran.log
    assert HELD not in ran.log
    eventually(lambda: world.rayjobs() == [])


@pytest.mark.parametrize(
    ("version", "limits"),
    [
        pytest.param("1.7.0", [90], id="the operator's limit ends it"),
        pytest.param("1.4.2", [], id="nobody would end it before KubeRay 1.6"),
    ],
)
def test_a_cluster_with_a_missing_pod_is_held_where_the_operators_limit_comes_back(
    version: str, limits: list[int]
) -> None:
    with pipes_world(version) as world:
        options = world.options(hold_on_failure=900)
        spec = options["template"]["spec"]
        spec["rayClusterSpec"] = with_late_worker(spec["rayClusterSpec"])
        with world.ending("FAILED"):
            ran = run_job(PipesKubeRayJobClient(**options), JOB)
        assert (HELD in ran.log) == bool(limits)
        assert ("is not held: a pod is missing" in ran.log) == (not limits)
        assert [rayjob["spec"].get("preRunningDeadlineSeconds") for rayjob in world.rayjobs()] == limits

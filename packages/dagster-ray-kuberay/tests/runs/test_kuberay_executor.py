"""`kuberay_executor` on the simulator: the steps of a run are jobs on its one cluster, and nothing is left over.

Workers run as processes of this machine.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import run_jobs
from dagster._core.execution.api import execute_run_iterator
from dagster._utils.interrupts import capture_interrupts
from driver_steps import SPEC
from driver_world import DriverWorld, driver_world
from executor_runs import ends
from fault_world import eventually
from forked_workers import FORKS
from run_jobs import reconstructable

from dagster_ray.kuberay._collector.candidate import candidate_of
from dagster_ray.kuberay._collector.plan import judge
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Keep, Remove, Rules, RunFacts
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._sharing.locks import Lock

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning"),
    pytest.mark.many_processes,
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[DriverWorld]:
    monkeypatch.setenv("DAGSTER_STEP_DELEGATING_EXECUTOR_SLEEP_SECONDS", "0.05")
    with driver_world(tmp_path) as found:
        yield found


def config_of(world: DriverWorld, ray: Any = None, **kuberay: Any) -> dict[str, Any]:
    cluster = {"kubeconfig_file": str(world.simulator.kubeconfig), "timeout": 60.0, "ray_cluster": {"spec": SPEC}}
    return {"execution": {"config": {"ray": ray or {}, "kuberay": {**cluster, **kuberay}}}}


def execute(world: DriverWorld, name: str, ray: Any = None, **kuberay: Any) -> dg.JobExecutionResult:
    return world.execute(reconstructable(name, world.folder), config_of(world, ray, **kuberay))


def test_the_steps_of_a_run_are_jobs_on_its_one_cluster_which_ends_with_it(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_LIST", "here")
    ray = {
        "runtime_env": {"env_vars": {"FROM_CONFIG": "config"}},
        "env_vars": ["FROM_LIST", "BOTH=list"],
        "num_cpus": 1,
    }
    run = execute(world, "environments", ray)
    assert run.success, world.log_text
    with run:
        assert "'FROM_CONFIG': 'config', 'FROM_LIST': 'here', 'FROM_TAG': 'tag'" in run.output_for_node("other")
    assert [body["entrypoint_num_cpus"] for body in world.bodies] == [2, 1]
    assert (len(world.heads), world.objects("rayclusters"), world.objects("rayjobs")) == (1, [], [])


def test_events_of_a_step_name_its_job_and_its_cluster(world: DriverWorld) -> None:
    execute(world, "environments")
    events = [entry.dagster_event for entry in world.logs if entry.dagster_event is not None]
    told = [
        (event.step_key, event.event_type_value, event.engine_event_data.metadata)
        for event in events
        if event.event_type_value in {"STEP_WORKER_STARTING", "ENGINE_EVENT"}
        and "dagster_ray/submission_id" in event.engine_event_data.metadata
    ]
    jobs = [body["submission_id"] for body in world.bodies]
    # The first step is launched before there is a cluster, so another event names it.
    assert [(step, kind, "dagster_ray/raycluster" in metadata) for step, kind, metadata in told] == [
        ("one", "STEP_WORKER_STARTING", False),
        ("one", "ENGINE_EVENT", True),
        ("other", "STEP_WORKER_STARTING", True),
    ]
    assert [metadata["dagster_ray/submission_id"].value for *_, metadata in told] == [jobs[0], *jobs]


def test_steps_fail_and_are_retried_one_by_one_and_the_cluster_ends_also_after_a_failure(world: DriverWorld) -> None:
    run = execute(world, "everything")
    assert ends(run) == [
        "dies_once STEP_SUCCESS",
        "dies_once STEP_UP_FOR_RETRY",
        "fails STEP_FAILURE",
        "one STEP_SUCCESS",
        "other STEP_SUCCESS",
    ]
    assert "ended as FAILED with exit code 3" in world.log_text
    assert (len(world.heads), world.objects("rayclusters")) == (1, [])


def test_a_run_that_is_terminated_stops_its_jobs_and_deletes_its_cluster(world: DriverWorld) -> None:
    stopped: list[str] = []

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def asleep() -> bool:
        return len(list(world.folder.glob("asleep-*"))) == 2

    with world.meanwhile(asleep, interrupt), capture_interrupts():
        execute(world, "sleeping")
    (head,) = world.heads
    workers = head.workers
    assert workers is not None
    stopped.extend(workers.look(name)["status"] for name in workers.jobs)
    assert stopped == ["STOPPED", "STOPPED"]
    assert world.objects("rayclusters") == []


def test_a_run_that_is_terminated_before_its_cluster_is_up_leaves_nothing(world: DriverWorld) -> None:
    world.gates.opened.clear()
    with world.meanwhile(lambda: world.heads, lambda: os.kill(os.getpid(), signal.SIGTERM)), capture_interrupts():
        execute(world, "leaving")
    assert (world.bodies, world.objects("rayclusters")) == ([], [])


def test_a_cluster_that_is_deleted_fails_its_steps_and_their_retries_get_another(world: DriverWorld) -> None:
    def delete() -> None:
        (cluster,) = world.objects("rayclusters")
        world.simulator.store.delete("rayclusters", "default", cluster["metadata"]["name"])
        eventually(lambda: len(world.heads) == 2)
        (world.folder / "go").touch()

    with world.meanwhile((world.folder / "waits").exists, delete):
        run = execute(world, "retried_waiting")
    assert run.success, world.log_text
    assert ends(run) == ["waits_again STEP_SUCCESS", "waits_again STEP_UP_FOR_RETRY"]
    assert "ray-job-lost" in world.log_text
    assert ([len(head.bodies) for head in world.heads], world.objects("rayclusters")) == ([1, 1], [])


def test_a_cluster_that_does_not_come_up_fails_the_steps_that_wait_for_it_and_is_deleted(world: DriverWorld) -> None:
    run = execute(world, "failing", image="rayproject/ray:missing", timeout=10.0)
    assert ends(run) == ["fails STEP_FAILURE", "number STEP_FAILURE"]
    assert "rayproject/ray:missing" in world.log_text
    assert world.objects("rayclusters") == []


def killed_worker(world: DriverWorld) -> dg.DagsterRun:
    """Start a run in a process of its own, and kill that while a step runs."""
    home, config = str(world.folder / "home"), config_of(world)
    process = FORKS.Process(target=run_jobs.work, args=(home, "waiting", str(world.folder), config))
    process.start()
    eventually((world.folder / "waits").exists)
    process.kill()
    process.join()
    return world.instance.get_runs()[0]


def test_a_resumed_run_finds_its_cluster_and_the_steps_that_run_there(world: DriverWorld) -> None:
    run = killed_worker(world)
    (cluster,) = world.objects("rayclusters")
    with world.meanwhile(lambda: "Checking on status" in world.log_text, (world.folder / "go").touch):
        list(
            execute_run_iterator(
                reconstructable("waiting", world.folder), run, world.instance, resume_from_failure=True
            )
        )
    assert world.instance.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS
    assert [body["metadata"]["job_name"] for body in world.bodies] == ["waits", "double"]
    assert (len(world.heads), world.objects("rayclusters")) == (1, [])
    assert cluster["metadata"]["labels"]["dagster/run-id"] == run.run_id


def test_the_cluster_of_a_run_whose_worker_was_killed_goes_with_the_run(world: DriverWorld) -> None:
    run = killed_worker(world)
    (cluster,) = world.objects("rayclusters")
    candidate = candidate_of(RAYCLUSTERS, cluster)
    (lock,) = candidate.locks
    assert isinstance(lock, Lock)

    def verdict(*, is_finished: bool, later: timedelta) -> type:
        seconds = 30.0 if is_finished else None
        facts = InstanceFacts(candidate.instance_id, {run.run_id: RunFacts(is_finished, seconds_since_end=seconds)})
        return type(judge(candidate, facts, lock.ends_at + later, Rules()))

    second = timedelta(seconds=1)
    assert verdict(is_finished=True, later=-second) is Keep
    assert verdict(is_finished=False, later=second) is Keep
    assert verdict(is_finished=True, later=second) is Remove


def test_a_step_costs_the_job_server_a_post_and_the_kubernetes_api_a_get(world: DriverWorld) -> None:
    """Each step but the first reads the RayCluster, whose head may be a new one; a look at a job is due after 20 s."""
    asked: list[list[str]] = []
    posts: list[int] = []
    for name in ("leaving", "dynamic"):
        before = len(world.simulator.requests)
        world.execute(reconstructable(name, world.folder, "kuberay"), config_of(world))
        # These heads close each connection, so that each request to the job server is a port-forward of its own.
        sent = [one for one in world.simulator.requests[before:] if "portforward" not in one.path]
        asked.append(sorted(one.method for one in sent if "ray.io" in one.path and "watch" not in one.path))
        posts.append(sum(method == "POST" for method, _ in world.heads[-1].calls))
    assert posts == [1, 5]
    assert asked[1] == sorted([*asked[0], *["GET"] * 4])
    assert len(asked[0]) == 6, asked[0]


@pytest.mark.parametrize(
    ("kuberay", "words"),
    [
        pytest.param({"cluster_sharing": {"enabled": False}}, "kuberay.cluster_sharing.enabled", id="no sharing"),
        pytest.param({"head_host": "{nobody}"}, "head_host", id="a wrong host"),
        pytest.param({"ray_cluster": {"spec": {"headGroupSpec": 1}}}, "headGroupSpec", id="a wrong spec"),
    ],
)
def test_a_wrong_field_fails_the_run_before_anything_is_asked_for(
    world: DriverWorld, kuberay: dict[str, Any], words: str
) -> None:
    before = len(world.simulator.requests)
    with pytest.raises((dg.DagsterInvalidConfigError, ValueError), match=words):
        execute(world, "leaving", **kuberay)
    assert len(world.simulator.requests) == before

"""`kuberay_executor` with `ray_job` on the simulator: each attempt of a step is a RayJob, and nothing is left over.

Workers run as processes of this machine.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
from collections.abc import Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
import run_jobs
from dagster._config import process_config
from dagster._core.execution.api import execute_run_iterator
from dagster._utils.interrupts import capture_interrupts
from driver_steps import SPEC
from driver_world import DriverWorld, driver_world
from executor_runs import ends
from fault_world import eventually
from forked_workers import FORKS
from run_jobs import reconstructable

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay import kuberay_executor
from dagster_ray.kuberay._runs.executor import executor_of
from dagster_ray.pipes.errors import StepNotMovableError

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
    spec = {"rayClusterSpec": SPEC, "ttlSecondsAfterFinished": 0}
    given = {"kubeconfig_file": str(world.simulator.kubeconfig), "timeout": 60.0, "ray_job": {"spec": spec}}
    return {"execution": {"config": {"ray": ray or {}, "kuberay": {**given, **kuberay}}}}


def execute(world: DriverWorld, name: str, ray: Any = None, **kuberay: Any) -> dg.JobExecutionResult:
    return world.execute(reconstructable(name, world.folder), config_of(world, ray, **kuberay))


def live(world: DriverWorld) -> list[Mapping[str, Any]]:
    """Return the RayJobs whose jobs have not ended."""
    over = {"SUCCEEDED", "FAILED"}
    return [job for job in world.objects("rayjobs") if job.get("status", {}).get("jobStatus") not in over]


def test_each_attempt_of_a_step_is_a_rayjob_that_takes_what_tag_and_configuration_say(
    world: DriverWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_LIST", "here")
    ray = {"runtime_env": {"env_vars": {"FROM_CONFIG": "config"}}, "env_vars": ["FROM_LIST"], "num_cpus": 1}
    run = execute(world, "everything", ray)
    assert ends(run) == [
        "dies_once STEP_SUCCESS",
        "dies_once STEP_UP_FOR_RETRY",
        "fails STEP_FAILURE",
        "one STEP_SUCCESS",
        "other STEP_SUCCESS",
    ], world.log_text
    with run:
        assert "'FROM_CONFIG': 'config', 'FROM_LIST': 'here', 'FROM_TAG': 'tag'" in run.output_for_node("other")
    assert [len(head.bodies) for head in world.heads] == [1, 1, 1, 1, 1]
    taken = {body["metadata"]["job_name"]: body["entrypoint_num_cpus"] for body in world.bodies}
    assert taken == {"one": 2, "other": 1, "fails": 1, "dies_once": 1}
    assert "dies_once failed health check" in world.log_text
    assert "ended as FAILED" in world.log_text
    events = [entry.dagster_event for entry in world.logs if entry.dagster_event is not None]
    starts = [event for event in events if event.event_type_value == "STEP_WORKER_STARTING"]
    names = [str(event.engine_event_data.metadata["dagster_ray/rayjob"].value) for event in starts]
    assert sorted(names) == sorted(job["metadata"]["name"] for job in world.objects("rayjobs"))
    assert live(world) == []
    eventually(lambda: not world.objects("rayclusters"))


def test_a_run_that_is_terminated_stops_its_jobs_and_deletes_their_rayjobs(world: DriverWorld) -> None:
    def asleep() -> bool:
        return len(list(world.folder.glob("asleep-*"))) == 2

    with world.meanwhile(asleep, lambda: os.kill(os.getpid(), signal.SIGTERM)), capture_interrupts():
        execute(world, "sleeping")
    stopped = [head.workers.look(name)["status"] for head in world.heads if head.workers for name in head.workers.jobs]
    assert stopped == ["STOPPED", "STOPPED"]
    assert world.objects("rayjobs") == []
    eventually(lambda: not world.objects("rayclusters"))


@pytest.mark.weekly
def test_a_run_that_is_terminated_before_a_cluster_is_up_leaves_nothing(world: DriverWorld) -> None:
    world.gates.opened.clear()
    with world.meanwhile(lambda: world.heads, lambda: os.kill(os.getpid(), signal.SIGTERM)), capture_interrupts():
        execute(world, "leaving")
    assert (world.bodies, world.objects("rayjobs")) == ([], [])
    eventually(lambda: not world.objects("rayclusters"))


@pytest.mark.weekly
def test_a_rayjob_that_somebody_deletes_fails_its_step_and_the_retry_gets_another(world: DriverWorld) -> None:
    def delete() -> None:
        (rayjob,) = world.objects("rayjobs")
        world.simulator.store.delete("rayjobs", "default", rayjob["metadata"]["name"])
        eventually(lambda: len(world.heads) == 2)
        (world.folder / "go").touch()

    with world.meanwhile((world.folder / "waits").exists, delete):
        run = execute(world, "retried_waiting")
    assert ends(run) == ["waits_again STEP_SUCCESS", "waits_again STEP_UP_FOR_RETRY"], world.log_text
    assert "deleted by somebody else" in world.log_text
    eventually(lambda: not world.objects("rayclusters"))


@pytest.mark.weekly
def test_a_cluster_that_cannot_start_fails_its_step_with_the_reason_and_is_deleted(world: DriverWorld) -> None:
    run = execute(world, "leaving", image="rayproject/ray:missing", timeout=20.0)
    assert ends(run) == ["leaves STEP_FAILURE"]
    assert "rayproject/ray:missing" in world.errors
    assert world.objects("rayjobs") == []


@pytest.mark.weekly
def test_a_resumed_run_goes_on_with_the_rayjobs_that_are_there(world: DriverWorld) -> None:
    arguments = (str(world.folder / "home"), "waiting", str(world.folder), config_of(world))
    process = FORKS.Process(target=run_jobs.work, args=arguments)
    process.start()
    eventually((world.folder / "waits").exists)
    process.kill()
    process.join()
    run, job = world.instance.get_runs()[0], reconstructable("waiting", world.folder)
    with world.meanwhile(lambda: "Checking on status" in world.log_text, (world.folder / "go").touch):
        list(execute_run_iterator(job, run, world.instance, resume_from_failure=True))
    assert world.instance.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS
    assert [body["metadata"]["job_name"] for body in world.bodies] == ["waits", "double"]
    assert live(world) == []


@pytest.mark.weekly
def test_a_step_costs_the_kubernetes_api_a_post(world: DriverWorld) -> None:
    """Beside it there are a list and a watch for the run, and a list at its end."""
    asked: list[list[str]] = []
    for name in ("leaving", "dynamic"):
        before = len(world.simulator.requests)
        world.execute(reconstructable(name, world.folder, "kuberay"), config_of(world))
        sent = [one for one in world.simulator.requests[before:] if "ray.io" in one.path and "watch" not in one.path]
        asked.append(sorted(one.method for one in sent))
    assert asked == [["GET", "GET", "POST"], ["GET", "GET", *["POST"] * 5]]


@pytest.mark.parametrize(
    ("ray", "kuberay", "words"),
    [
        pytest.param({}, {"ray_cluster": {"spec": SPEC}}, r"kuberay\.ray_cluster", id="both"),
        pytest.param({}, {"cluster_sharing": {"enabled": True}}, r"kuberay\.cluster_sharing", id="sharing"),
        pytest.param({}, {"wait_for": "workers"}, r"kuberay\.wait_for", id="what is waited for"),
        pytest.param({"memory": 10}, {}, r"ray\.memory", id="memory"),
        pytest.param({"runtime_env": {"working_dir": "./src"}}, {}, "working_dir", id="local code"),
        pytest.param({}, {"head_host": "{nobody}"}, "head_host", id="a wrong host"),
    ],
)
def test_a_wrong_field_is_refused_when_the_executor_is_built(
    ray: dict[str, Any], kuberay: dict[str, Any], words: str
) -> None:
    given = {"ray": ray, "kuberay": {"ray_job": {}, **kuberay}}
    context: Any = SimpleNamespace(executor_config=given, instance=None)
    with pytest.raises((InvalidFieldError, ValueError), match=words):
        executor_of(context)


def test_fields_that_are_not_given_have_no_value_of_their_own() -> None:
    processed = process_config(kuberay_executor.config_schema.config_type, {"ray": {}, "kuberay": {"ray_job": {}}})
    assert processed.success, processed.errors
    executor_of(cast("Any", SimpleNamespace(executor_config=processed.value, instance=None)))


def test_a_step_whose_output_would_end_with_its_cluster_is_refused(tmp_path: Path) -> None:
    config = {"execution": {"config": {"kuberay": {"kubeconfig_file": "nowhere", "ray_job": {}}}}}
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        pytest.raises(StepNotMovableError, match="`io_manager` keeps objects in the cluster"),
    ):
        dg.execute_job(reconstructable("object_store", tmp_path), instance, run_config=config, raise_on_error=True)

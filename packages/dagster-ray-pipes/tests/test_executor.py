"""Runs whose steps are jobs of a job server that forks each of them. With a real Ray head: tests-integration."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._core.execution.api import execute_run_iterator
from driver_runs import messages, until
from executor_runs import ends, execute, interrupted, job_of
from forked_workers import ForkedWorkers
from scripted_job_server import Server

from dagster_ray.pipes import RayJobClient
from dagster_ray.pipes._driver_config import DriverConfig
from dagster_ray.pipes._executor import step_handler
from dagster_ray.pipes._executor.attempts import Attempt
from dagster_ray.pipes._executor.step_handler import RayStepHandler, StepJobs
from dagster_ray.pipes._executor.step_places import OneServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")


def test_steps_run_as_jobs_with_what_configuration_and_tag_say(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_LIST", "here")
    run = execute(
        instance,
        workers,
        tmp_path,
        "environments",
        runtime_env={"env_vars": {"FROM_CONFIG": "config", "BOTH": "config"}},
        env_vars=["FROM_LIST", "BOTH=list"],
        num_cpus=1,
        memory=10,
        resources={"disk": 0.5},
        metadata={"team": "ml"},
    )
    assert run.success, messages(run)
    with run:
        assert run.output_for_node("other") == (
            "{'FROM_CONFIG': 'config', 'FROM_LIST': 'here', 'FROM_TAG': 'tag', 'BOTH': 'tag'} other config"
        )
    one, other = workers.bodies
    assert (one["entrypoint_num_cpus"], other["entrypoint_num_cpus"]) == (2, 1)
    assert (one["entrypoint_memory"], one["entrypoint_resources"]) == (10, {"disk": 0.5})
    assert one["metadata"] == {
        "job_name": "one",
        "dagster/run-id": run.run_id,
        "dagster/job": "environments",
        "dagster/step-key": "one",
        "team": "ml",
        **{key: one["metadata"][key] for key in ("dagster-ray/step", "dagster-ray/call", "dagster-ray/nonce")},
    }


def test_each_step_costs_one_post_and_its_event_names_the_job(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "dynamic")
    assert run.success, messages(run)
    assert len(workers.bodies) == workers.asked("POST", "/api/jobs/") == 5
    (event,) = (
        event
        for event in run.all_events
        if event.event_type_value == "STEP_WORKER_STARTING" and event.step_key == "total"
    )
    assert event.engine_event_data.metadata["dagster_ray/submission_id"].value == workers.bodies[-1]["submission_id"]
    assert "/#/jobs/dagster-" in str(event.engine_event_data.metadata["dagster_ray/dashboard"].value)


def test_a_password_that_dagster_yaml_refers_to_is_not_sent(
    server: Server, workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_FOLDER", str(tmp_path / "s3cret"))
    (tmp_path / "home").mkdir()
    storage = {"sqlite": {"base_dir": {"env": "STORAGE_FOLDER"}}}
    (tmp_path / "home" / "dagster.yaml").write_text(json.dumps({"storage": storage}))
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        execute(instance, workers, tmp_path, "leaving")  # the workers have no such variable
    assert len(workers.bodies) == 1
    for body in workers.bodies:
        packed = body["runtime_env"]["env_vars"]["DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS"]
        sent = json.dumps(body) + zlib.decompress(base64.b64decode(packed)).decode()
        assert "STORAGE_FOLDER" in sent
        assert "s3cret" not in sent


def test_a_failing_step_does_not_stop_the_others(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "failing")
    assert ends(run) == ["fails STEP_FAILURE", "number STEP_SUCCESS"]
    assert "no data" in messages(run)
    assert "health" not in messages(run)


def test_a_step_is_retried_after_an_error_and_after_its_process_has_died(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "retries")
    assert run.success, messages(run)
    assert [end for end in ends(run) if "RETRY" in end] == [
        "dies_once STEP_UP_FOR_RETRY",
        "fails_once STEP_UP_FOR_RETRY",
    ]
    numbers = sorted(str(body["submission_id"])[-2:] for body in workers.bodies)
    assert numbers == ["-0", "-0", "-0", "-1", "-1"]
    assert "ended as FAILED with exit code 3" in messages(run)


def test_a_job_that_succeeds_without_an_end_of_its_step_is_an_error(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "leaving")
    assert ends(run) == ["leaves STEP_FAILURE"]
    assert "ended as SUCCEEDED, but did not report how its step ended" in messages(run)


def test_a_resource_that_cannot_be_set_up_is_retried_once_and_told_as_itself(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "broken_resource")
    assert ends(run) == ["needs_database STEP_FAILURE", "needs_database STEP_UP_FOR_RETRY"]
    assert "no database here" in messages(run)
    assert "health" not in messages(run)


def test_a_misspelled_tag_fails_the_run_before_any_step(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "misspelling")
    assert not run.success
    assert workers.bodies == []
    told = " ".join(str(event.message) + str(event.event_specific_data) for event in run.all_events)
    assert "write `num_cpus`" in told


def test_a_step_that_cannot_be_submitted_fails_and_the_others_go_on(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "failing", runtime_env={"working_dir": str(tmp_path / "none")})
    assert ends(run) == ["fails STEP_FAILURE", "number STEP_FAILURE"]
    assert str(tmp_path / "none") in messages(run)


def test_a_run_that_is_terminated_stops_its_jobs_and_waits_for_them(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = interrupted(instance, workers, tmp_path, "sleeping", lambda: len(list(tmp_path.glob("asleep-*"))) == 2)
    assert not run.success
    assert [workers.look(name)["status"] for name in workers.jobs] == ["STOPPED", "STOPPED"]
    told = [entry.user_message for entry in instance.all_logs(run.run_id)]
    assert sum("Stopping the Ray job" in message for message in told) == 2


def test_a_submission_whose_answer_is_lost_is_found_again_and_runs_once(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    lost: list[str] = []

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        answer = workers.script(method, path, body)
        if len(lost) < 8 and len(workers.bodies) == 2:
            lost.append(path)
            return 503, "no"
        return answer

    workers.server.script = script
    run = execute(instance, workers, tmp_path, "environments", "impatient")
    assert run.success, messages(run)
    assert len(lost) > 1
    assert len(workers.bodies) == 2


@pytest.mark.parametrize(
    "answer", [pytest.param((503, "no"), id="it is away"), pytest.param((404, "no route"), id="a proxy answers")]
)
def test_a_step_whose_submission_a_server_never_answers_again_fails_after_the_time_that_it_may_be_away(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, answer: tuple[int, object]
) -> None:
    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        return answer if workers.bodies and "other" in str(body) else workers.script(method, path, body)

    workers.server.script = script
    run = execute(instance, workers, tmp_path, "environments", "impatient", server_timeout=60.0)
    assert ends(run) == ["one STEP_SUCCESS", "other STEP_FAILURE"]
    assert "raise `server_timeout`" in messages(run)
    assert len(workers.bodies) == 1


def test_an_address_that_nobody_answers_fails_each_step_at_its_submission(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    workers.away = True
    run = execute(instance, workers, tmp_path, "failing", "impatient")
    assert ends(run) == ["fails STEP_FAILURE", "number STEP_FAILURE"]
    assert "check that the address is that of Ray's dashboard" in messages(run)


def test_a_run_that_is_canceled_stops_its_jobs_also_where_it_could_be_resumed(
    resuming: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    def canceling() -> bool:
        if len(list(tmp_path.glob("asleep-*"))) < 2:
            return False
        resuming.report_run_canceling(resuming.get_runs()[0])
        return True

    run = interrupted(resuming, workers, tmp_path, "sleeping", canceling)
    assert [workers.look(name)["status"] for name in workers.jobs] == ["STOPPED", "STOPPED"]
    assert resuming.get_runs()[0].status == dg.DagsterRunStatus.CANCELED
    told = [entry.user_message for entry in resuming.all_logs(run.run_id)]
    assert sum("Stopping the Ray job" in message for message in told) == 2


def test_a_worker_that_is_interrupted_leaves_steps_and_objects_to_the_next_which_sees_what_failed_between(
    resuming: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = interrupted(resuming, workers, tmp_path, "holding", (tmp_path / "prepares").exists)
    assert [body["metadata"]["job_name"] for body in workers.bodies] == ["held", "prepared"]
    job = str(workers.bodies[-1]["submission_id"])
    assert workers.look(job)["status"] == "RUNNING"

    (tmp_path / "go").touch()
    until(lambda: workers.look(job)["status"] != "RUNNING")
    left = resuming.get_run_by_id(run.run_id)
    assert left is not None
    list(execute_run_iterator(job_of(tmp_path, "holding"), left, resuming, resume_from_failure=True))
    assert resuming.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS
    names = [body["metadata"]["job_name"] for body in workers.bodies]
    assert names == ["held", "prepared", "prepared", "end of objects"]
    told = " ".join(entry.user_message for entry in resuming.all_logs(run.run_id))
    assert "its resources failed while the run had no worker" in told


def test_a_run_with_an_address_does_not_load_the_launcher_of_the_instance(
    workers: ForkedWorkers, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    missing = {"run_launcher": {"module": "package_that_is_not_here", "class": "Launcher", "config": {}}}
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), missing) as instance:
        execute(instance, workers, tmp_path, "leaving")
    assert len(workers.bodies) == 1


def test_all_jobs_are_asked_to_stop_at_once(
    instance: dg.DagsterInstance, workers: ForkedWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(20)
    client = RayJobClient(workers.url)
    handler = RayStepHandler(OneServer(client), StepJobs(DriverConfig()))
    names = [f"step-{number}" for number in range(20)]
    jobs: dict[str, object] = {name: Mock(submission_id=name, nonce="n", body=None) for name in names}
    monkeypatch.setattr(handler, "_launched", jobs)
    found = {name: Attempt(0, name) for name in names}

    def meet(*_arguments: object) -> None:
        together.wait(20.0)

    monkeypatch.setattr(step_handler, "attempts_in_log", Mock(return_value=found))
    monkeypatch.setattr(step_handler, "stop_job", meet)
    handler.stop_steps(instance, "run", logging.getLogger("test"))
    assert not together.broken
    client.close()


def test_steps_that_need_no_ray_run_as_processes_beside_the_executor(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = execute(instance, workers, tmp_path, "mixed", only_ray_steps=True)
    assert run.success, messages(run)
    with run:
        assert run.output_for_node("with_resource") == "with_resource 2"
    assert sorted(body["metadata"]["job_name"] for body in workers.bodies) == ["one", "with_resource"]
    assert [end for end in ends(run) if "dies_once" in end] == [
        "dies_once STEP_SUCCESS",
        "dies_once STEP_UP_FOR_RETRY",
    ]
    assert "has ended with exit code 3, without the event that ends the step" in messages(run)


def test_a_run_that_is_terminated_ends_the_processes_beside_it(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = interrupted(
        instance,
        workers,
        tmp_path,
        "sleeping_beside",
        (tmp_path / "asleep-one_sleeps").exists,
        only_ray_steps=True,
    )
    assert not run.success
    (started,) = (event for event in run.all_events if event.event_type_value == "STEP_WORKER_STARTING")
    pid = int(str(started.engine_event_data.metadata["dagster_ray/process"].value).partition("-")[0])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert workers.bodies == []


def test_a_process_beside_an_executor_ends_with_it() -> None:
    command = [sys.executable, "-m", "dagster_ray.pipes._executor.ended_with_parent", "api", "grpc-health-check"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL

"""Runs whose steps are jobs of a job server that forks each of them. With a real Ray head: tests-integration."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import base64
import json
import os
import signal
import threading
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.interrupts import capture_interrupts
from driver_runs import messages
from forked_workers import ForkedWorkers, start_fork_server
from scripted_job_server import Server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
HERE = str(Path(__file__).parent)
TERMINAL = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY")


@pytest.fixture
def workers(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[ForkedWorkers]:
    monkeypatch.setenv("DAGSTER_STEP_DELEGATING_EXECUTOR_SLEEP_SECONDS", "0.05")
    start_fork_server()
    found = ForkedWorkers(tmp_path / "ray", server)
    yield found
    found.close()


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


def execute(
    instance: dg.DagsterInstance, workers: ForkedWorkers, folder: Path, name: str, executor: str = "quick", **ray: Any
) -> dg.JobExecutionResult:
    arguments: Any = (name, executor, str(folder))
    job = dg.build_reconstructable_job("executor_jobs", "job_of", arguments, {}, HERE)
    config = {"execution": {"config": {"ray": {"address": workers.url, **ray}}}}
    return dg.execute_job(job, instance, run_config=config, raise_on_error=False)


def ends(run: dg.JobExecutionResult) -> list[str]:
    return sorted(
        f"{event.step_key} {event.event_type_value}" for event in run.all_events if event.event_type_value in TERMINAL
    )


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
    def terminate() -> None:
        pause = threading.Event()
        while len(list(tmp_path.glob("asleep-*"))) < 2:
            pause.wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=terminate, daemon=True)
    watcher.start()
    with capture_interrupts():
        run = execute(instance, workers, tmp_path, "sleeping")
    watcher.join()
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


def test_a_step_whose_submission_a_server_never_answers_again_fails_after_the_time_that_it_may_be_away(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        return (503, "no") if workers.bodies and "other" in str(body) else workers.script(method, path, body)

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

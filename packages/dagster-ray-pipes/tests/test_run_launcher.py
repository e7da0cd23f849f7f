"""Runs whose worker is a job of a job server that forks it, and whose steps are jobs of the same one."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import signal
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext, ResumeRunContext, WorkerStatus
from forked_workers import ForkedWorkers, start_fork_server
from scripted_job_server import Server

from dagster_ray.core.errors import InvalidFieldError, UnknownFieldError
from dagster_ray.pipes import RayRunLauncher

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
HERE = str(Path(__file__).parent)


@pytest.fixture
def workers(server: Server, tmp_path: Path) -> Generator[ForkedWorkers]:
    start_fork_server()
    found = ForkedWorkers(tmp_path / "ray", server)
    yield found
    found.close()


@pytest.fixture
def instance(workers: ForkedWorkers, tmp_path: Path) -> Generator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    ray = {"address": workers.url, "num_cpus": 1, "metadata": {"team": "ml"}}
    launcher = {"module": "dagster_ray.pipes", "class": "RayRunLauncher", "config": {"ray": ray}}
    (home / "dagster.yaml").write_text(json.dumps({"run_launcher": launcher, "telemetry": {"enabled": False}}))
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def launcher_of(instance: dg.DagsterInstance) -> RayRunLauncher:
    found = instance.run_launcher
    assert isinstance(found, RayRunLauncher)
    return found


def launch(instance: dg.DagsterInstance, folder: Path, name: str, **options: Any) -> str:
    arguments: Any = (name, "quick", str(folder))
    job = dg.build_reconstructable_job("executor_jobs", "job_of", arguments, {}, HERE)
    run = instance.create_run_for_job(
        job.get_definition(),
        run_config={"execution": {"config": {"ray": {}}}},
        job_code_origin=job.get_python_origin(),
        **options,
    )
    launcher_of(instance).launch_run(LaunchRunContext(run, None))
    return run.run_id


def run_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2400):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come")


def health(instance: dg.DagsterInstance, run_id: str) -> tuple[WorkerStatus, str]:
    found = launcher_of(instance).check_run_worker_health(run_of(instance, run_id))
    return found.status, found.msg or ""


def test_a_worker_that_is_killed_is_resumed_and_its_steps_go_on(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    tags = {"dagster-ray/config": json.dumps({"num_cpus": 3})}
    run_id = launch(instance, tmp_path, "waiting", tags=tags)
    until((tmp_path / "waits").exists)
    worker, step = workers.bodies
    assert (worker["submission_id"], worker["entrypoint_num_cpus"]) == (f"dagster-run-{run_id}", 3)
    assert (worker["metadata"]["team"], worker["metadata"]["dagster/run-id"]) == ("ml", run_id)
    assert step["metadata"]["dagster/step-key"] == "waits"
    assert health(instance, run_id)[0] == WorkerStatus.RUNNING

    workers.end(f"dagster-run-{run_id}")
    status, told = health(instance, run_id)
    assert (status, "ended as FAILED" in told) == (WorkerStatus.FAILED, True)
    assert "FAILED" in str(launcher_of(instance).get_run_worker_debug_info(run_of(instance, run_id)))

    launcher_of(instance).resume_run(ResumeRunContext(run_of(instance, run_id), None, 1))
    (tmp_path / "go").touch()
    until(lambda: run_of(instance, run_id).is_finished)
    assert run_of(instance, run_id).status == dg.DagsterRunStatus.SUCCESS
    names = [body["submission_id"] for body in workers.bodies]
    assert len(names) == 4
    assert names[2] == f"dagster-run-{run_id}-1"
    assert [body["metadata"].get("dagster/step-key") for body in workers.bodies].count("waits") == 1


def terminated(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Terminate a run as the webserver's page does, or without that package as it does after all."""
    try:
        from dagster_graphql.test.utils import execute_dagster_graphql
    except ImportError:
        return launcher_of(instance).terminate(run_id)
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget

    mutation = "mutation T($id: String!) { terminateRun(runId: $id) { __typename } }"
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        result = execute_dagster_graphql(context.create_request_context(), mutation, {"id": run_id})
    return result.data["terminateRun"]["__typename"] == "TerminateRunSuccess"


def test_a_run_that_is_terminated_stops_its_steps_and_is_canceled(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run_id = launch(instance, tmp_path, "waiting")
    until((tmp_path / "waits").exists)
    assert terminated(instance, run_id)
    until(lambda: run_of(instance, run_id).is_finished)
    assert run_of(instance, run_id).status == dg.DagsterRunStatus.CANCELED
    until(lambda: [workers.look(name)["status"] for name in workers.jobs] == ["STOPPED", "STOPPED"])
    assert not launcher_of(instance).terminate(run_id)


def test_only_what_is_known_ends_a_run(instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path) -> None:
    """Dagster's run monitoring fails a run whose worker is UNKNOWN, too."""
    run_id = launch(instance, tmp_path, "waiting")
    name = f"dagster-run-{run_id}"
    until((tmp_path / "waits").exists)
    workers.server.script = lambda method, path, body: (401, "no")
    assert health(instance, run_id)[0] == WorkerStatus.RUNNING
    os.kill(workers.processes[name].pid, signal.SIGKILL)
    workers.processes[name].wait()
    workers.jobs[name]["status"] = "SUCCEEDED"
    workers.server.script = workers.script
    until(lambda: health(instance, run_id)[0] != WorkerStatus.RUNNING)  # it is asked again after 10 s
    said = f"The Ray job {name} has ended as SUCCEEDED, but the run is not over."
    assert health(instance, run_id) == (WorkerStatus.FAILED, said)
    instance.report_run_failed(run_of(instance, run_id))
    assert health(instance, run_id)[0] == WorkerStatus.SUCCESS
    del workers.jobs[name]
    assert health(instance, run_id)[0] == WorkerStatus.SUCCESS


def test_a_run_without_its_job_is_not_found_and_a_job_of_somebody_else_is_not_stopped(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    workers.submit = lambda body: (200, {})
    run_id = launch(instance, tmp_path, "waiting")
    assert health(instance, run_id)[0] == WorkerStatus.NOT_FOUND
    workers.server.script = lambda method, path, body: (200, {"status": "RUNNING", "metadata": {}})
    assert not launcher_of(instance).terminate(run_id)
    assert not any("/stop" in path for _, path in workers.server.calls)
    assert any("is not of this run" in str(entry.dagster_event) for entry in instance.all_logs(run_id))


def test_a_wrong_tag_is_named_at_the_launch(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    with pytest.raises(UnknownFieldError, match=r"of the run .*write `num_cpus`"):
        launch(instance, tmp_path, "waiting", tags={"dagster-ray/config": json.dumps({"num_cpu": 1})})
    assert workers.server.calls == []


def test_a_wrong_configuration_is_named_when_the_instance_loads() -> None:
    with pytest.raises(InvalidFieldError, match=r"`ray\.address` is missing"):
        RayRunLauncher({})
    with pytest.raises(InvalidFieldError, match=r"`ray\.num_cpus` is -1"):
        RayRunLauncher({"address": "http://ray-head:8265", "num_cpus": -1})

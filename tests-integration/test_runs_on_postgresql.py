"""Runs on a real Ray head whose instance is in a PostgreSQL database, as in production."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import LaunchRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from fault_world import eventually
from postgresql_server import Database, postgresql
from real_head import Head, ray_head

from dagster_ray.pipes import RayJobClient

pytest.importorskip("dagster_postgres", reason="needs dagster-postgres")
pytestmark = [
    pytest.mark.weekly,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*:Warning"),
]
JOBS = str(Path(__file__).parents[1] / "packages" / "dagster-ray-pipes" / "tests")
PASSWORD = "TEST_DATABASE_PASSWORD"


@pytest.fixture(scope="module")
def database() -> Generator[Database]:
    with postgresql() as found:
        yield found


@pytest.fixture(scope="module")
def database_head(database: Database) -> Generator[Head]:
    """Yield a head whose own environment has the password, which no job is sent with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD, database.password)
        with ray_head() as found:
            yield found


@pytest.fixture
def instance(database: Database, database_head: Head, tmp_path: Path) -> Generator[dg.DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    launcher = {"ray": {"address": database_head.dashboard}}
    written = {
        "storage": database.storage({"env": PASSWORD}),
        "run_launcher": {"module": "dagster_ray.pipes", "class": "RayRunLauncher", "config": launcher},
        "run_monitoring": {"enabled": True, "max_resume_run_attempts": 2},
        "telemetry": {"enabled": False},
    }
    (home / "dagster.yaml").write_text(json.dumps(written))
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def job_of(name: str, folder: Path) -> Any:
    arguments: Any = (name, "quick", str(folder))
    return dg.build_reconstructable_job("executor_jobs", "job_of", arguments, {}, JOBS)


def run_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def submitted(head: Head, run_id: str) -> list[str]:
    with RayJobClient(head.dashboard) as client:
        jobs = [job for job in client.list() if job.metadata.get("dagster/run-id") == run_id]
    return sorted(job.submission_id or "" for job in jobs)


def test_steps_write_their_events_into_the_database(
    instance: dg.DagsterInstance, database_head: Head, tmp_path: Path
) -> None:
    assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
    config = {"execution": {"config": {"ray": {}}}}
    run = dg.execute_job(job_of("everything", tmp_path), instance, run_config=config, raise_on_error=False)
    ends = sorted(
        f"{event.step_key} {event.event_type_value}"
        for event in run.all_events
        if event.event_type_value in {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY"}
    )
    assert ends == [
        "dies_once STEP_SUCCESS",
        "dies_once STEP_UP_FOR_RETRY",
        "fails STEP_FAILURE",
        "one STEP_SUCCESS",
        "other STEP_SUCCESS",
    ]
    assert len(submitted(database_head, run.run_id)) == 5


def test_the_daemon_resumes_a_run_whose_worker_was_killed(
    instance: dg.DagsterInstance, database_head: Head, tmp_path: Path
) -> None:
    job = job_of("waiting", tmp_path)
    created = instance.create_run_for_job(
        job.get_definition(),
        run_config={"execution": {"config": {"ray": {}}}},
        job_code_origin=job.get_python_origin(),
        status=dg.DagsterRunStatus.STARTING,
    )
    run_id = created.run_id
    instance.run_launcher.launch_run(LaunchRunContext(created, None))
    eventually((tmp_path / "waits").exists)
    for process in psutil.process_iter(["cmdline"]):
        if "execute_run" in (command := process.info["cmdline"] or []) and any(run_id in word for word in command):
            process.kill()
    with RayJobClient(database_head.dashboard) as client:
        eventually(lambda: client.details(f"dagster-run-{run_id}").status == "FAILED")
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        assert list(execute_run_monitoring_iteration(context, logging.getLogger("test"))) in ([None], [])
    (tmp_path / "go").touch()
    eventually(lambda: run_of(instance, run_id).is_finished)
    assert run_of(instance, run_id).status == dg.DagsterRunStatus.SUCCESS
    names = submitted(database_head, run_id)
    assert [name for name in names if name.startswith("dagster-run-")] == [
        f"dagster-run-{run_id}",
        f"dagster-run-{run_id}-1",
    ]
    assert len(names) == 4  # the step that was running is not submitted again

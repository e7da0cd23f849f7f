"""Runs whose steps are jobs of a real Ray head."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.interrupts import capture_interrupts
from real_head import Head

from dagster_ray.pipes import RayJobClient

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*:Warning")
JOBS = str(Path(__file__).parents[1] / "packages" / "dagster-ray-pipes" / "tests")


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


def execute(instance: dg.DagsterInstance, head: Head, folder: Path, name: str, **ray: Any) -> dg.JobExecutionResult:
    arguments: Any = (name, "quick", str(folder))
    job = dg.build_reconstructable_job("executor_jobs", "job_of", arguments, {}, JOBS)
    config = {"execution": {"config": {"ray": {"address": head.dashboard, **ray}}}}
    return dg.execute_job(job, instance, run_config=config, raise_on_error=False)


def test_success_failure_environments_and_a_process_that_dies(
    instance: dg.DagsterInstance, head: Head, tmp_path: Path
) -> None:
    run = execute(
        instance,
        head,
        tmp_path,
        "everything",
        runtime_env={"env_vars": {"FROM_CONFIG": "config", "BOTH": "config"}},
        env_vars=["FROM_LIST=list"],
    )
    ends = sorted(
        f"{event.step_key} {event.event_type_value}"
        for event in run.all_events
        if event.event_type_value in {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY"}
    )
    told = "\n".join(str(event.event_specific_data) for event in run.all_events)
    assert ends == [
        "dies_once STEP_SUCCESS",
        "dies_once STEP_UP_FOR_RETRY",
        "fails STEP_FAILURE",
        "one STEP_SUCCESS",
        "other STEP_SUCCESS",
    ], told
    with run:
        assert run.output_for_node("other") == (
            "{'FROM_CONFIG': 'config', 'FROM_LIST': 'list', 'FROM_TAG': 'tag', 'BOTH': 'tag'} other config"
        )
    assert "no data" in told
    with RayJobClient(head.dashboard) as client:
        jobs = [job for job in client.list() if job.metadata.get("dagster/run-id") == run.run_id]
    assert sorted(job.metadata["job_name"] for job in jobs) == ["dies_once", "dies_once", "fails", "one", "other"]
    assert [job.exit_code for job in jobs if job.status == "FAILED"] == [3]


def test_a_run_that_is_terminated_stops_its_jobs(instance: dg.DagsterInstance, head: Head, tmp_path: Path) -> None:
    def terminate() -> None:
        pause = threading.Event()
        while len(list(tmp_path.glob("asleep-*"))) < 2:
            pause.wait(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    with capture_interrupts():
        run = execute(instance, head, tmp_path, "sleeping")
    assert not run.success
    with RayJobClient(head.dashboard) as client:
        jobs = [job for job in client.list() if job.metadata.get("dagster/run-id") == run.run_id]
    assert [job.status for job in jobs] == ["STOPPED", "STOPPED"]

"""What the tests share."""

from collections.abc import Generator
from pathlib import Path

import dagster as dg
import pytest
from forked_workers import ForkedWorkers, start_fork_server
from ray_like_server import RayLike
from scripted_job_server import Server, job_server


@pytest.fixture
def server() -> Generator[Server]:
    with job_server() as found:
        yield found


@pytest.fixture
def ray(server: Server, tmp_path: Path) -> Generator[RayLike]:
    """A job server that runs each entrypoint as a process of this machine."""
    found = RayLike(tmp_path / "ray", server)
    yield found
    found.close()


@pytest.fixture
def workers(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[ForkedWorkers]:
    """A job server whose jobs are workers of steps."""
    monkeypatch.setenv("DAGSTER_STEP_DELEGATING_EXECUTOR_SLEEP_SECONDS", "0.05")
    start_fork_server()
    found = ForkedWorkers(tmp_path / "ray", server)
    yield found
    found.close()


@pytest.fixture
def instance(tmp_path: Path) -> Generator[dg.DagsterInstance]:
    """Dagster's instance, of which a multiprocess executor's processes can be told."""
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as found:
        yield found


@pytest.fixture
def resuming(workers: ForkedWorkers, tmp_path: Path) -> Generator[dg.DagsterInstance]:
    """Return an instance that resumes runs."""
    (tmp_path / "resuming").mkdir()
    ray = {"address": workers.url}
    overrides = {
        "run_launcher": {"module": "dagster_ray.pipes", "class": "RayRunLauncher", "config": {"ray": ray}},
        "run_monitoring": {"enabled": True, "max_resume_run_attempts": 3},
    }
    with dg.DagsterInstance.local_temp(str(tmp_path / "resuming"), overrides) as found:
        yield found

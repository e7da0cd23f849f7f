"""How many requests a step that is a Ray job costs the job server, by how long it runs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import time
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.executor.step_delegating import step_delegating_executor as dagsters
from driver_runs import messages
from forked_workers import ForkedWorkers, start_fork_server
from scripted_job_server import Server

from dagster_ray.pipes._executor import executor
from dagster_ray.pipes._executor.step_handler import RayStepHandler

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
SECONDS = 600
"""How long the first step runs. The second one ends before it would be looked at."""


@pytest.fixture
def workers(server: Server, tmp_path: Path) -> Generator[ForkedWorkers]:
    start_fork_server()
    found = ForkedWorkers(tmp_path / "ray", server)
    yield found
    found.close()


class StepTime:
    """The clock of the executor: it stands once the first step has run as long as it has to, and the step ends."""

    def __init__(self, seconds: int, go: Path) -> None:
        self.now, self._seconds, self._go = 0.0, seconds, go

    def monotonic(self) -> float:
        return self.now

    def today(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)

    def sleep(self, seconds: float) -> None:
        if self.now < self._seconds:
            self.now += seconds
            return
        self._go.touch()
        time.sleep(0.02)  # noqa: TID251


def test_a_step_costs_one_post_one_get_in_20_s_and_the_nodes_are_asked_for_once_a_minute(
    workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StepTime(SECONDS, tmp_path / "go")
    monkeypatch.setattr(dagsters, "get_current_datetime", clock.today)
    monkeypatch.setattr(dagsters, "time", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr(executor, "RayStepHandler", partial(RayStepHandler, clock=clock.monotonic))
    arguments: Any = ("waiting", "ray", str(tmp_path))
    job = dg.build_reconstructable_job("executor_jobs", "job_of", arguments, {}, str(Path(__file__).parent))
    config = {"execution": {"config": {"ray": {"address": workers.url}}}}
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        run = dg.execute_job(job, instance, run_config=config, raise_on_error=False)
    assert run.success, messages(run)
    long, quick = (f"/api/jobs/{body['submission_id']}" for body in workers.bodies)
    asked = Counter((method, path.partition("?")[0]) for method, path in workers.server.calls)
    assert asked.pop(("POST", "/api/jobs/")) == 2
    assert SECONDS // 20 - 1 <= asked.pop(("GET", long)) <= SECONDS // 20 + 1
    assert asked.pop(("GET", quick), 0) == 0
    assert asked.pop(("GET", "/nodes")) <= SECONDS // 60 + 1
    assert not asked, "requests of another kind"

"""What becomes of steps and their RayJobs where the API server refuses a watch or a deletion, or has no credentials."""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false

import time
from dataclasses import replace
from typing import Any

import pytest
from test_step_rayjobs import ID, world_of

from dagster_ray.core import Deadline
from dagster_ray.kuberay._runs import step_rayjobs
from dagster_ray.kuberay._runs.step_rayjobs import StepRayJobs
from dagster_ray.kuberay.errors import ExecPluginError
from dagster_ray.pipes.errors import JobServerAnswerError, JobServerUnavailableError
from dagster_ray.simulator import Fault


class Looks:
    """What an executor sees of a job."""

    def __init__(self, jobs: StepRayJobs) -> None:
        self._jobs = jobs

    def status(self) -> str | None:
        try:
            return self._jobs.details(ID).status
        except (JobServerUnavailableError, JobServerAnswerError):
            return None


def comes_to(looks: Looks, status: str | None) -> None:
    deadline = Deadline(20.0)
    while looks.status() != status:
        assert deadline.sleep(0.05), f"the job did not come to {status}"


def test_a_watch_that_is_refused_once_begins_again() -> None:
    with world_of() as world:
        world.submit()
        world.become("RUNNING", "Running")
        looks = Looks(world.jobs)
        comes_to(looks, "RUNNING")
        world.simulator.faults.add(Fault("GET", "rayjobs", status=403, times=1))
        world.simulator.faults.cut_watches()
        comes_to(looks, None)
        comes_to(looks, "RUNNING")
        world.become("SUCCEEDED", "Complete")
        comes_to(looks, "SUCCEEDED")


def test_a_watch_without_credentials_says_nothing_of_a_step_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with world_of() as world:
        world.submit()
        world.become("RUNNING", "Running")
        looks = Looks(world.jobs)
        comes_to(looks, "RUNNING")
        watch: Any = world.jobs._watch

        def without_credentials(_: object) -> Any:
            raise ExecPluginError("aws", "it ended with exit code 255", "no network")

        monkeypatch.setattr(watch, "_selection", replace(watch._selection, list=without_credentials))
        watch._state.version = None  # as after an outage that was longer than the server keeps events
        world.simulator.faults.cut_watches()
        comes_to(looks, None)
        comes_to(looks, "RUNNING")


def test_a_rayjob_that_may_not_be_deleted_fails_its_step() -> None:
    with world_of(queue="team", queue_timeout=0.1) as world:
        world.submit()
        world.become("", "Suspended")
        world.simulator.faults.add(Fault("DELETE", "rayjobs", status=400))  # as some admission webhooks refuse
        comes_to(Looks(world.jobs), "FAILED")
        assert len(world.rayjobs) == 1


def test_a_rayjob_whose_deletion_gets_no_answer_fails_its_step_after_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_rayjobs, "_DELETE_CALL_SECONDS", 0.1)
    with world_of(queue="team", queue_timeout=0.1) as world:
        world.submit()
        world.become("", "Suspended")
        world.simulator.faults.add(Fault("DELETE", "rayjobs", status=500))
        looks = Looks(world.jobs)
        comes_to(looks, "PENDING")
        time.sleep(0.3)  # noqa: TID251 - longer than the queue may hold it
        assert looks.status() == "PENDING"
        world.jobs._undeleted[ID] = Deadline(0.0)
        comes_to(looks, "FAILED")


@pytest.mark.parametrize("refused", [pytest.param("DELETE", id="a deletion"), pytest.param("GET", id="the watch")])
def test_at_the_end_of_a_run_one_refusal_keeps_nothing_else(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_rayjobs, "_LAST_SECONDS", 0.0)
    with world_of() as world:
        for n in range(3):
            world.submit(f"{ID[:-1]}{n}")
        if refused == "GET":
            world.simulator.faults.add(Fault("GET", "rayjobs", status=403, times=1))
            world.simulator.faults.cut_watches()
            watch: Any = world.jobs._watch
            watch._thread.join(20)
            assert not watch._thread.is_alive()
        else:
            world.simulator.faults.add(Fault("DELETE", "rayjobs", status=400, times=1))
        world.jobs.end(is_final=True)
        assert len(world.rayjobs) == (1 if refused == "DELETE" else 0)

"""Which job a later attempt follows: one with the same code, that no attempt has concluded about."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from ray_like_server import RayLike

from dagster_ray.pipes import PipesRayJobClient, RayJobClient, _follower
from dagster_ray.pipes._reattach import code_of
from dagster_ray.pipes._verdicts import Past, rejected_marks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OWN, PARENT = "own", "parent"
MARK = frozenset({"job"})
PASTS: dict[str, tuple[list[Past], bool]] = {
    "nothing is known": ([], False),
    "a failure of the step before the verdict": ([Past(OWN, None), Past(OWN, "good", MARK)], False),
    "a good verdict in this run": ([Past(OWN, "good", MARK)], False),
    "a good verdict, and then the step failed": ([Past(OWN, "good", MARK), Past(OWN, None)], True),
    "a bad verdict": ([Past(OWN, "bad", MARK)], True),
    "a good verdict in the run before": ([Past(PARENT, "good", MARK), Past(PARENT, None)], True),
    "a bad verdict in the run before": ([Past(PARENT, "bad", MARK)], True),
    "a step of the run before that failed without a verdict": ([Past(PARENT, None)], False),
    "a verdict on another job": ([Past(OWN, "bad", frozenset({"other"}))], False),
}


@pytest.mark.parametrize(("past", "is_rejected"), PASTS.values(), ids=PASTS)
def test_which_jobs_are_not_followed(past: list[Past], is_rejected: bool) -> None:
    assert ("job" in rejected_marks(past, OWN)) is is_rejected


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is noticed in a fraction of a second."""
    monkeypatch.setattr(_follower, "STATUS_SECONDS", 0.1)
    monkeypatch.setattr(_follower, "_STATUS_CALL_SECONDS", 0.2)


@pytest.fixture
def instance() -> Generator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


class Work:
    """A folder with a script, and a job whose only op runs it."""

    def __init__(self, ray: RayLike, folder: Path) -> None:
        self.ray, self.folder = ray, folder
        folder.mkdir()
        self.retries = 0
        self.body: Callable[[int], None] = lambda _: None
        """Runs after the job, with the number of the attempt."""

    def script(self, text: str) -> None:
        """Write the script anew."""
        (self.folder / "work.py").write_text(text)

    def job(self) -> dg.JobDefinition:
        entrypoint = f"{sys.executable} {self.folder / 'work.py'}"

        @dg.op(retry_policy=dg.RetryPolicy(max_retries=self.retries) if self.retries else None)
        def submits(context: dg.OpExecutionContext) -> None:
            client = PipesRayJobClient(
                RayJobClient(self.ray.url, timeout=3.0), server_timeout=0.5, termination_timeout=0.5
            )
            job = {"entrypoint": entrypoint, "runtime_env": {"working_dir": str(self.folder)}}
            client.run(context=context, ray_job=job)
            self.body(context.retry_number)

        @dg.job(executor_def=dg.in_process_executor)
        def one_op() -> None:
            submits()

        return one_op

    def run(self, instance: dg.DagsterInstance, parent: dg.DagsterRun | None = None) -> dg.DagsterRun:
        """Run the job; as a re-execution from the failure of another run if there is one."""
        more: dict[str, Any] = {}
        if parent is not None:
            tags = {"dagster/is_resume_retry": "true"}
            more = {"parent_run_id": parent.run_id, "root_run_id": parent.run_id, "tags": tags}
        job = self.job()
        run = instance.create_run_for_job(job, **more)
        execute_run(InMemoryJob(job), run, instance, raise_on_error=False)
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def run_that_loses_its_server(self, instance: dg.DagsterInstance) -> dg.DagsterRun:
        """Run the job while the server goes away after the submission, so that the step leaves its job behind."""
        plain = self.ray.script

        def script(method: str, path: str, body: bytes) -> tuple[int, object]:
            answer = plain(method, path, body)
            self.ray.away = self.ray.away or (method == "POST" and path == "/api/jobs/")
            return answer

        self.ray.server.script = script
        found = self.run(instance)
        self.ray.server.script, self.ray.away = plain, False
        return found


@pytest.fixture
def work(ray: RayLike, tmp_path: Path) -> Work:
    return Work(ray, tmp_path / "work")


UNCLOSED_ONCE = """
import os, pathlib
from dagster_pipes import open_dagster_pipes
once = pathlib.Path(__file__).parents[1] / "once"
pipes = open_dagster_pipes()
if not once.exists():
    once.touch()
    os._exit(0)
pipes.close()
"""


def test_a_job_that_never_closed_its_session_is_not_followed(work: Work, instance: dg.DagsterInstance) -> None:
    """Ray calls it SUCCEEDED."""
    work.retries = 1
    work.script(UNCLOSED_ONCE)
    assert work.run(instance).is_success
    assert len(work.ray.jobs) == 2


def test_a_job_whose_results_failed_the_steps_body_is_not_followed(work: Work, instance: dg.DagsterInstance) -> None:
    work.retries = 1
    work.script("print('done')")

    def body(attempt: int) -> None:
        if attempt == 0:
            raise ValueError("the model is too bad")

    work.body = body
    assert work.run(instance).is_success
    assert len(work.ray.jobs) == 2


def test_the_verdict_and_the_link_are_in_the_log_of_the_run(work: Work, instance: dg.DagsterInstance) -> None:
    work.script("raise SystemExit(3)")
    run = work.run(instance)
    (name,) = work.ray.jobs
    (event,) = [
        entry.dagster_event
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        if entry.dagster_event is not None and "dagster_ray/verdict" in entry.dagster_event.engine_event_data.metadata
    ]
    assert event.step_key == "submits"
    metadata = {key: value.value for key, value in event.engine_event_data.metadata.items()}
    assert metadata["dagster_ray/verdict"] == "bad"
    assert metadata["dagster_ray/submission_id"] == name
    assert metadata["dagster_ray/dashboard"] == f"{work.ray.url}/#/jobs/{name} (while the step runs)"


@pytest.mark.parametrize(
    ("repaired", "jobs"), [pytest.param(False, 1, id="the same script"), pytest.param(True, 2, id="a repaired script")]
)
def test_a_reexecution_follows_a_job_of_the_same_code_only(
    work: Work, instance: dg.DagsterInstance, repaired: bool, jobs: int
) -> None:
    work.script("import time; time.sleep(2)")
    first = work.run_that_loses_its_server(instance)
    assert not first.is_success
    if repaired:
        work.script("print('repaired')")
    assert work.run(instance, parent=first).is_success
    assert len(work.ray.jobs) == jobs


def test_a_reexecution_does_not_follow_a_job_that_the_run_before_has_used(
    work: Work, instance: dg.DagsterInstance
) -> None:
    work.script("print('done')")
    failing = [True]

    def body(_: int) -> None:
        if failing:
            raise ValueError(failing.pop())

    work.body = body
    first = work.run(instance)
    assert not first.is_success
    assert work.run(instance, parent=first).is_success
    assert len(work.ray.jobs) == 2


def test_what_code_is(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text("one")
    packaged = {"runtime_env": {"working_dir": str(tmp_path)}}
    first = code_of(packaged, "jobs:1", "a1")
    assert code_of(packaged, "jobs:2", "b2") == first, "an image is not the code of a job that brings its own"
    (tmp_path / "work.py").write_text("two")
    assert code_of(packaged, "jobs:1", "a1") != first
    in_image = {"runtime_env": {"pip": ["numpy"]}}
    assert code_of(in_image, "jobs:1", "a1") == code_of(in_image, "jobs:1", "a1")
    assert code_of(in_image, "jobs:2", "a1") != code_of(in_image, "jobs:1", "a1")
    assert code_of(in_image, "jobs:1", "b2") != code_of(in_image, "jobs:1", "a1")


def test_the_link_to_the_job_is_in_the_log_before_the_job_has_ended(work: Work, instance: dg.DagsterInstance) -> None:
    work.script("import time; time.sleep(1)")
    run = work.run(instance)
    entries = [entry for entry in instance.all_logs(run.run_id) if "Ray job" in entry.message]
    texts = [entry.message for entry in entries]
    (submitted,) = [number for number, text in enumerate(texts) if "is submitted." in text]
    (ended,) = [number for number, text in enumerate(texts) if "is SUCCEEDED after" in text]
    assert submitted < ended
    event = entries[submitted].dagster_event
    assert event is not None
    (name,) = work.ray.jobs
    link = event.engine_event_data.metadata["dagster_ray/dashboard"]
    assert link.value == f"{work.ray.url}/#/jobs/{name} (while the step runs)"
    assert work.ray.jobs[name]["metadata"]["job_name"] == "submits"

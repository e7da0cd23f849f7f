"""Whole runs whose job server is away, forgets jobs or has no room for them, and whose jobs others stop."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.api import execute_run_iterator
from driver_runs import messages, until
from executor_runs import ends, execute, interrupted, job_of
from forked_workers import ForkedWorkers

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*:Warning")
MINUTE = 60.0 / 50  # on the clock of the impatient executor
AWAY = [
    pytest.param((503, "no"), id="it is away"),
    pytest.param((404, "no route"), id="a proxy answers", marks=pytest.mark.weekly),
]


@contextmanager
def away(
    workers: ForkedWorkers,
    when: Callable[[], bool],
    answer: tuple[int, object] = (503, "no"),
    seconds: float = MINUTE,
    then: Callable[[], object] = lambda: None,
    *,
    from_request: Callable[[str], bool] = lambda _: False,
) -> Generator[list[str]]:
    """Let a job server be away for some seconds as soon as a condition holds; yield the requests that it missed.

    It holds also where `from_request` says so of a request, which is then the first one to be missed.
    """
    missed: list[str] = []
    is_away = threading.Event()

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        if not missed and from_request(f"{method} {path}"):
            is_away.set()
        if not is_away.is_set():
            return workers.script(method, path, body)
        missed.append(f"{method} {path}")
        return answer

    def go_away() -> None:
        until(lambda: is_away.is_set() or when())
        is_away.set()
        until(lambda: missed)
        threading.Event().wait(seconds)
        is_away.clear()
        then()

    workers.server.script = script
    watcher = threading.Thread(target=go_away, daemon=True)
    watcher.start()
    yield missed
    watcher.join()


def statuses(workers: ForkedWorkers) -> list[str]:
    return [workers.look(name)["status"] for name in workers.jobs]


def told(instance: dg.DagsterInstance) -> str:
    entries = [entry for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    return "\n".join(f"{entry.user_message} {entry.dagster_event}" for entry in entries)


@pytest.mark.parametrize("answer", AWAY)
def test_a_server_that_is_away_for_a_minute_delays_a_submission(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, answer: tuple[int, object]
) -> None:
    def is_second_submission(request: str) -> bool:
        return request == "POST /api/jobs/" and len(workers.bodies) == 1

    with away(workers, lambda: False, answer, from_request=is_second_submission) as missed:
        run = execute(instance, workers, tmp_path, "environments", "impatient")
    assert run.success, messages(run)
    assert len(workers.bodies) == 2
    assert any(request.startswith("POST /api/jobs/") for request in missed)


@pytest.mark.parametrize("answer", AWAY)
def test_a_server_that_is_away_for_a_minute_does_not_disturb_a_step_that_runs(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, answer: tuple[int, object]
) -> None:
    waits, go = tmp_path / "waits", tmp_path / "go"
    with away(workers, waits.exists, answer, then=go.touch) as missed:
        run = execute(instance, workers, tmp_path, "waiting", "impatient")
    assert run.success, messages(run)
    assert ends(run) == ["double STEP_SUCCESS", "waits STEP_SUCCESS"]
    assert all(request.startswith("GET ") for request in missed)
    assert "health" not in told(instance)


@pytest.mark.parametrize("answer", AWAY)
def test_a_server_that_is_away_when_a_run_is_terminated_stops_its_jobs_when_it_is_back(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, answer: tuple[int, object]
) -> None:
    def asleep() -> bool:
        return len(list(tmp_path.glob("asleep-*"))) == 2

    with away(workers, asleep, answer, 3.0) as missed:
        run = interrupted(instance, workers, tmp_path, "sleeping", lambda: bool(missed), executor="impatient")
    assert not run.success
    assert statuses(workers) == ["STOPPED", "STOPPED"]


@pytest.mark.weekly
def test_jobs_of_a_server_that_stays_away_when_a_run_is_terminated_are_named(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.pipes._executor.step_handler.TERMINATION_SECONDS", 2.0)

    def asleep() -> bool:
        if len(list(tmp_path.glob("asleep-*"))) < 2:
            return False
        workers.away = True
        return True

    run = interrupted(instance, workers, tmp_path, "sleeping", asleep, executor="impatient")
    workers.away = False
    assert not run.success
    for name in workers.jobs:
        assert f"The Ray job {name} could not be stopped" in told(instance)


@pytest.mark.parametrize(
    "ends_meanwhile",
    [
        pytest.param(False, id="a step runs on", marks=pytest.mark.weekly),
        pytest.param(True, id="a step ends meanwhile"),
    ],
)
def test_a_server_that_is_away_for_a_minute_does_not_disturb_a_run_that_is_resumed(
    resuming: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, *, ends_meanwhile: bool
) -> None:
    run = interrupted(resuming, workers, tmp_path, "waiting", (tmp_path / "waits").exists, executor="impatient")
    if ends_meanwhile:
        (tmp_path / "go").touch()
        until(lambda: statuses(workers) == ["SUCCEEDED"])
    left = resuming.get_run_by_id(run.run_id)
    assert left is not None
    # Longer than a call of a client to a server that has never answered it.
    with away(workers, lambda: True, seconds=8.0, then=(tmp_path / "go").touch):
        job = job_of(tmp_path, "waiting", "impatient")
        list(execute_run_iterator(job, left, resuming, resume_from_failure=True))
    assert resuming.get_runs()[0].status == dg.DagsterRunStatus.SUCCESS, told(resuming)
    assert [body["metadata"]["job_name"] for body in workers.bodies] == ["waits", "double"]


@pytest.mark.weekly
def test_a_server_that_never_comes_back_fails_the_step_that_runs(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    with away(workers, (tmp_path / "waits").exists, seconds=0.0, then=lambda: setattr(workers, "away", True)):
        run = execute(instance, workers, tmp_path, "losing", "impatient", server_timeout=60.0)
    assert ends(run) == ["waits_or_retries STEP_FAILURE", "waits_or_retries STEP_UP_FOR_RETRY"]
    assert "raise `server_timeout`" in messages(run)
    workers.away = False


def test_a_head_that_is_lost_fails_its_steps_and_a_retry_runs_on_the_next(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    def restart() -> None:
        workers.restart()
        (tmp_path / "go").touch()

    with away(workers, (tmp_path / "waits").exists, then=restart):
        run = execute(instance, workers, tmp_path, "losing", "impatient")
    assert run.success, messages(run)
    assert ends(run) == ["waits_or_retries STEP_SUCCESS", "waits_or_retries STEP_UP_FOR_RETRY"]
    assert "ray-job-lost" in told(instance)
    assert [str(body["submission_id"])[-2:] for body in workers.bodies] == ["-0", "-1"]


def stopped_by_somebody(
    instance: dg.DagsterInstance, workers: ForkedWorkers, folder: Path, name: str
) -> dg.JobExecutionResult:
    def stop() -> None:
        until((folder / "waits").exists)
        workers.stop(next(iter(workers.jobs)))
        (folder / "go").touch()

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    run = execute(instance, workers, folder, name)
    stopper.join()
    return run


def test_a_step_whose_job_somebody_stops_fails_and_the_log_says_so(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = stopped_by_somebody(instance, workers, tmp_path, "waiting")
    assert ends(run) == ["waits STEP_FAILURE"]
    assert "DagsterExecutionInterruptedError" in messages(run)
    said = (
        f"The step waits was interrupted, but not by this run: somebody stopped its Ray job {next(iter(workers.jobs))}"
    )
    assert told(instance).count(said) == 1
    assert len(workers.bodies) == 1


@pytest.mark.weekly
def test_a_step_whose_job_somebody_stops_is_retried_by_its_policy(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = stopped_by_somebody(instance, workers, tmp_path, "losing")
    assert ends(run) == ["waits_or_retries STEP_SUCCESS", "waits_or_retries STEP_UP_FOR_RETRY"]
    assert f"not by this run: somebody stopped its Ray job {next(iter(workers.jobs))}" in told(instance)


def test_a_step_that_cannot_write_that_its_job_was_stopped_fails_with_that(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path
) -> None:
    run = stopped_by_somebody(instance, workers, tmp_path, "unprotected")
    assert ends(run) == ["waits_unprotected STEP_FAILURE"]
    assert "ended as STOPPED" in messages(run)
    assert "find out who stopped it" in messages(run)


def test_a_job_that_no_node_has_room_for_is_named_with_what_it_requests_and_can_be_terminated(
    instance: dg.DagsterInstance, workers: ForkedWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_ray.pipes._executor.step_handler.TERMINATION_SECONDS", 1.0)
    workers.has_room = False
    still = "is still PENDING after"
    run = interrupted(instance, workers, tmp_path, "requesting", lambda: still in told(instance), executor="impatient")
    assert not run.success
    (name,) = workers.jobs
    assert "it requests num_cpus=1000, disk=0.5" in told(instance)
    assert f"The Ray job {name} did not end within 1 s after it was asked to stop" in told(instance)
    assert workers.asked("POST", f"{name}/stop") == 1

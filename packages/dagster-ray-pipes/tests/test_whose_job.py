"""Which job a step may follow and stop: the one that it submitted, and no other."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from ray_like_server import RayLike

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes import PipesRayJobClient, RayJobClient, _follower
from dagster_ray.pipes.errors import JobExistsError, JobServerUnavailableError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHOSEN = "nightly-train"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is noticed in a fraction of a second."""
    monkeypatch.setattr(_follower, "STATUS_SECONDS", 0.1)
    monkeypatch.setattr(_follower, "_STATUS_CALL_SECONDS", 0.2)


def run_op(
    ray: RayLike,
    job: dict[str, Any],
    retries: int = 0,
    before: Callable[[int], None] = lambda _: None,
    timeout: float = 3.0,
    **options: Any,
) -> dg.ExecuteInProcessResult:
    """Run an op that submits a job; `before` is called with the number of each attempt."""

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=retries) if retries else None)
    def submits(context: dg.OpExecutionContext) -> None:
        before(context.retry_number)
        client = PipesRayJobClient(RayJobClient(ray.url, timeout=timeout), **options)
        client.run(context=context, ray_job=job)

    @dg.job
    def one_op() -> None:
        submits()

    return one_op.execute_in_process()


def test_the_running_job_of_another_run_with_the_same_id_is_not_stopped(ray: RayLike) -> None:
    with RayJobClient(ray.url) as other:
        other.submit(entrypoint="sleep 600", submission_id=CHOSEN)
    with pytest.raises(JobExistsError):
        run_op(ray, {"entrypoint": "true", "submission_id": CHOSEN})
    assert ray.asked("POST", "/stop") == 0
    assert ray.look(CHOSEN)["status"] == "RUNNING"


def test_a_job_that_takes_the_id_at_the_last_moment_is_not_stopped(ray: RayLike) -> None:
    """The other run's job is not there yet when this step looks for jobs of its own."""
    plain = ray.script

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        if method == "POST" and path == "/api/jobs/" and CHOSEN not in ray.jobs:
            ray.submit({"entrypoint": "sleep 600", "submission_id": CHOSEN, "metadata": {"dagster-ray/nonce": "x"}})
        return plain(method, path, body)

    ray.server.script = script
    with pytest.raises(JobExistsError):
        run_op(ray, {"entrypoint": "true", "submission_id": CHOSEN})
    assert ray.asked("POST", "/stop") == 0
    assert ray.look(CHOSEN)["status"] == "RUNNING"


def test_an_error_from_before_the_request_stops_nothing_and_looks_for_nothing(ray: RayLike) -> None:
    with pytest.raises(InvalidFieldError):
        run_op(ray, {"entrypoint": "true", "runtime_env": {"working_dir": "/no/such/folder"}})
    assert ray.asked("POST", "") == 0
    assert ray.asked("GET", "/api/jobs/") <= 1, "only the look for a job of an earlier attempt"


def test_a_chosen_id_works_with_retries(ray: RayLike) -> None:
    job = {"entrypoint": "exit $((2 - $(ls " + str(ray.logs) + " | wc -l) + 1))", "submission_id": CHOSEN}
    assert run_op(ray, job, retries=3).success
    statuses = {name: ray.look(name)["status"] for name in ray.jobs}
    assert statuses == {CHOSEN: "FAILED", f"{CHOSEN}-2": "FAILED", f"{CHOSEN}-3": "SUCCEEDED"}


@pytest.mark.parametrize(
    "chosen", [pytest.param({}, id="derived id"), pytest.param({"submission_id": CHOSEN}, id="chosen id")]
)
def test_a_live_job_of_an_earlier_attempt_is_followed(ray: RayLike, chosen: dict[str, str]) -> None:
    """The job server is away until the first attempt gives up, so that the job goes on without it."""
    plain = ray.script

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        answer = plain(method, path, body)
        ray.away = ray.away or method == "POST"
        return answer

    def before(attempt: int) -> None:
        ray.away = False
        ray.server.script = plain if attempt else script

    options: dict[str, Any] = {"server_timeout": 0.5, "termination_timeout": 0.5}
    assert run_op(ray, {"entrypoint": "sleep 3", **chosen}, retries=1, before=before, **options).success
    assert len(ray.jobs) == 1
    assert ray.asked("POST", "/api/jobs/") == 1


def test_a_server_that_goes_away_before_the_submission_is_waited_for(ray: RayLike) -> None:
    """For as long as if it went away while the job ran: it has answered the step before."""
    plain, failures = ray.script, [0]

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        if method == "POST" and failures[0] < 8:
            failures[0] += 1
            return 503, "no"
        return plain(method, path, body)

    ray.server.script = script
    with pytest.raises(JobServerUnavailableError) as raised:
        run_op(ray, {"entrypoint": "true"}, timeout=0.3, server_timeout=1.0)
    assert raised.value.field == "server_timeout"
    failures[0] = 0
    assert run_op(ray, {"entrypoint": "true"}, timeout=0.3, server_timeout=60.0).success


def test_a_job_of_ours_is_stopped_when_the_step_fails(ray: RayLike, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the step fails while its job runs")

    monkeypatch.setattr("dagster.PipesSession.report_launched", broken)
    with pytest.raises(RuntimeError, match="the step fails"):
        run_op(ray, {"entrypoint": "sleep 600"})
    assert [ray.look(name)["status"] for name in ray.jobs] == ["STOPPED"]

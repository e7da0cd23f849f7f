"""`RayJobClient` against a server that answers as scripted."""

import json
import threading
from typing import Any

import pytest
import requests
from dripping_server import ENDLESS_BODY, ENDLESS_HEAD, dripping, names_hanging
from scripted_job_server import Server, client_of

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes import RayJobClient
from dagster_ray.pipes._reader import message_file
from dagster_ray.pipes._submission import NONCE
from dagster_ray.pipes.errors import (
    JobExistsError,
    JobLostError,
    JobNotFoundError,
    JobServerAnswerError,
    JobServerRefusedError,
    JobServerUnavailableError,
    SubmissionRefusedError,
)

CANARY = "s3cr3t-canary"


class Jobs:
    """A job server that loses the answers to its first POSTs."""

    def __init__(self, *, lose: int = 0, keep_lost: bool = True) -> None:
        self.lose, self.keep_lost, self.jobs = lose, keep_lost, dict[str, dict[str, Any]]()
        self.submitted = 0

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        if method == "POST" and path == "/api/jobs/":
            job = json.loads(body)
            name = job["submission_id"]
            losing = self.lose > 0
            self.lose -= losing
            if losing and not self.keep_lost:
                return 0, ""
            if name in self.jobs:
                return 500, f"Traceback\nRuntimeError: Job with submission_id {name} already exists"
            self.submitted += 1
            self.jobs[name] = {"submission_id": name, "status": "PENDING", "metadata": job["metadata"]}
            return (0, "") if losing else (200, {"submission_id": name})
        found = self.jobs.get(path.rpartition("/")[2])
        return (200, found) if found else (404, "Job does not exist")


@pytest.mark.parametrize("keep_lost", [pytest.param(True, id="answer lost"), pytest.param(False, id="request lost")])
@pytest.mark.parametrize("lose", [0, 1, 2])
def test_a_job_is_submitted_once_whatever_is_lost(server: Server, lose: int, keep_lost: bool) -> None:
    jobs = Jobs(lose=lose, keep_lost=keep_lost)
    server.script = jobs
    with client_of(server) as client:
        name = client.submit(entrypoint="true")
    assert (jobs.submitted, list(jobs.jobs)) == (1, [name])


def test_a_call_ends_with_what_is_known_of_a_cluster_that_does_not_answer(server: Server) -> None:
    """As soon as the first attempt has failed, and only in the thread that asks for it."""
    asked: list[str] = []

    def check() -> None:
        asked.append(threading.current_thread().name)
        raise JobLostError("a", "RayJob ns/a", "the head pod is gone")

    server.script = lambda method, path, body: (503, "busy") if method == "POST" else (404, "Job a does not exist")
    with client_of(server, timeout=60.0) as client:
        with client.server.checked_by(check), pytest.raises(JobLostError, match="the head pod is gone"):
            client.submit(entrypoint="python work.py")
        assert asked == [threading.current_thread().name]
        client.server.after_failure()
    assert len(asked) == 1, "outside of the block nobody is asked"


def test_another_job_of_the_same_id_is_not_ours(server: Server) -> None:
    jobs = Jobs()
    jobs.jobs["mine"] = {"submission_id": "mine", "status": "RUNNING", "metadata": {NONCE: "other"}}
    server.script = jobs
    with client_of(server) as client, pytest.raises(JobExistsError):
        client.submit(entrypoint="true", submission_id="mine")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, "Traceback\nTypeError: entrypoint"), SubmissionRefusedError),
        ((500, "Traceback\nValueError: bad label selector"), SubmissionRefusedError),
        ((401, "Unauthorized: Missing authentication token"), JobServerRefusedError),
        ((503, "down"), JobServerUnavailableError),
    ],
)
def test_a_submission_that_fails_says_why(server: Server, answer: tuple[int, str], error: type[Exception]) -> None:
    server.script = lambda method, path, body: answer if method == "POST" else (404, "Job a does not exist")
    with client_of(server, timeout=1.0) as client, pytest.raises(error):
        client.submit(entrypoint="true")


@pytest.mark.parametrize(
    "has_answered", [pytest.param(False, id="not answered yet"), pytest.param(True, id="answered before")]
)
def test_how_long_a_server_may_be_away_depends_on_whether_it_has_answered(server: Server, has_answered: bool) -> None:
    """And the error names the field."""
    server.script = lambda method, path, body: (200, [])
    with client_of(server, timeout=0.2) as client:
        client.list()  # for another step
        patient = client.patient(0.6)
        if has_answered:
            patient.list()
        server.script = lambda method, path, body: (503, "down")
        with pytest.raises(JobServerUnavailableError) as raised:
            patient.list()
    assert raised.value.field == ("server_timeout" if has_answered else "timeout")
    assert f"`{raised.value.field}`" in raised.value.remedy
    assert patient.timeout == (0.6 if has_answered else 0.2)


def test_a_submission_whose_answer_was_lost_is_looked_for_after_the_time_is_up(server: Server) -> None:
    """The one POST takes all the time, and then the server needs a while to answer anything."""
    jobs, left = Jobs(lose=1), [503, 503]

    def script(method: str, path: str, body: bytes) -> tuple[int, object]:
        answer = jobs(method, path, body)
        if method == "POST":
            threading.Event().wait(0.5)  # longer than the client's timeout
        elif left:
            return left.pop(), "busy"
        return answer

    server.script = script
    with client_of(server, timeout=0.3) as client:
        assert client.submit(entrypoint="true") in jobs.jobs
    assert (jobs.submitted, left) == (1, [])


def test_what_passes_is_tried_again(server: Server) -> None:
    answers = iter([(503, "starting"), (0, ""), (500, "agent"), (200, {"status": "RUNNING", "start_time": 2000})])
    server.script = lambda method, path, body: next(answers)
    with client_of(server) as client:
        details = client.details("a")
    assert (details.status, details.start_time, details.is_over) == ("RUNNING", 2.0, False)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, "Job a does not exist"), JobNotFoundError),
        ((200, "<html>login</html>"), JobServerAnswerError),
        ((200, {"no": "status"}), JobServerAnswerError),
        ((302, ""), JobServerAnswerError),
        ((403, "Forbidden"), JobServerRefusedError),
    ],
)
def test_odd_answers_are_typed(server: Server, answer: tuple[int, object], error: type[Exception]) -> None:
    server.script = lambda method, path, body: answer
    with client_of(server) as client, pytest.raises(error):
        client.details("a")


def test_the_token_is_sent_and_never_shown(server: Server) -> None:
    server.script = lambda method, path, body: (403, "Forbidden")
    with client_of(server, token=CANARY, headers={"X-Team": "a"}) as client:
        with pytest.raises(JobServerRefusedError) as raised:
            client.version()
        assert CANARY not in f"{client!r} {client.server!r} {raised.value} {raised.value!r}"
    assert server.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert server.headers[0]["X-Team"] == "a"


def test_a_proxys_authorization_leaves_room_for_rays_token(server: Server) -> None:
    server.script = lambda method, path, body: (200, {"ray_version": "2.60.0"})
    with client_of(server, token=CANARY, headers={"Authorization": "Basic x"}) as client:
        assert client.version().ray_version == "2.60.0"
    assert server.headers[0]["Authorization"] == "Basic x"
    assert server.headers[0]["X-Ray-Authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://user:pw@head:8265", "http://head/?a=b"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(InvalidFieldError, match="address"):
        RayJobClient(address)


@pytest.mark.parametrize("call", ["details", "stop", "delete"])
def test_a_404_of_something_in_between_is_asked_again_and_proves_nothing(server: Server, call: str) -> None:
    answers: list[tuple[int, object]] = [
        (404, "404: Not Found"),
        (404, "<html>not found</html>"),
        (200, {"status": "RUNNING"}),
    ]
    server.script = lambda method, path, body: answers.pop(0)
    with client_of(server) as client:
        getattr(client, call)("a")
    assert answers == []


def test_an_ingress_without_a_route_is_no_server_that_has_forgotten_its_jobs(server: Server) -> None:
    """Nor does it refuse a submission, or lack a package."""
    server.script = lambda method, path, body: (404, "default backend - 404")
    with client_of(server, timeout=1.0) as client:
        calls = (
            lambda: client.details("a"),
            lambda: client.stop("a"),
            client.list,
            lambda: client.has_package("_ray_pkg_0.zip"),
            lambda: client.submit(entrypoint="true"),
        )
        for call in calls:
            with pytest.raises(JobServerAnswerError, match="default backend"):
                call()


def test_a_submission_goes_on_when_an_ingress_has_its_route_again(server: Server) -> None:
    jobs, lost = Jobs(), [(404, "default backend - 404")] * 3
    server.script = lambda method, path, body: lost.pop() if lost else jobs(method, path, body)
    with client_of(server) as client:
        client.submit(entrypoint="true", submission_id="a")
    assert list(jobs.jobs) == ["a"]


def test_ids_cannot_leave_the_api(server: Server) -> None:
    server.script = lambda method, path, body: (404, "Job ../../api/version does not exist")
    with client_of(server) as client, pytest.raises(JobNotFoundError):
        client.details("../../api/version")
    assert server.calls == [("GET", "/api/jobs/..%2F..%2Fapi%2Fversion")]


HEAD = {"raylet": {"nodeId": "a", "isHeadNode": True, "state": "ALIVE", "rayletSocketName": "/t/s/sockets/raylet"}}


def nodes(*raylets: dict[str, Any]) -> tuple[int, object]:
    return 200, {"data": {"summary": list(raylets)}}


PLACES: dict[str, tuple[list[tuple[int, object]], str | None, int]] = {
    "the head tells": ([nodes(HEAD)], "/t/s/logs/dagster-pipes-x.jsonl", 1),
    "a head that has just started": ([nodes(), nodes(HEAD)], "/t/s/logs/dagster-pipes-x.jsonl", 2),
    "a dashboard that does not tell": ([(404, "no")], None, 1),
    "a head without a folder": ([nodes({"raylet": {"nodeId": "a", "isHeadNode": True}})], None, 1),
}


@pytest.mark.parametrize(("answers", "place", "calls"), PLACES.values(), ids=PLACES)
def test_messages_travel_in_a_file_where_the_dashboard_tells_the_folder(
    server: Server, answers: list[tuple[int, object]], place: str | None, calls: int
) -> None:
    left = list(answers)

    def script(_method: str, _path: str, _body: bytes) -> tuple[int, object]:
        return left.pop(0)

    server.script = script
    assert message_file(client_of(server), "auto", "x") == place
    assert len(server.calls) == calls


@pytest.mark.parametrize(
    "first", [pytest.param(ENDLESS_HEAD, id="in its head"), pytest.param(ENDLESS_BODY, id="in its body")]
)
def test_an_answer_that_drips_ends_with_the_timeout(first: bytes) -> None:
    with dripping(first, b"x") as port, RayJobClient(f"http://127.0.0.1:{port}", timeout=1.0) as client:
        with pytest.raises(JobServerUnavailableError, match="the answer was not over after") as raised:
            client.details("a")
        assert "raise `timeout`" in str(raised.value)
        with pytest.raises(JobServerUnavailableError):
            client.submit(entrypoint="true")


def test_an_open_answer_whose_head_drips_ends_in_time() -> None:
    with dripping(ENDLESS_HEAD, b"x") as port, RayJobClient(f"http://127.0.0.1:{port}") as client:
        server, url = client.server, f"{client.address}/logs/a"
        with pytest.raises(requests.RequestException, match=r"not over after 0\.5 s"):
            server.open("GET", url, 0.5)


def test_a_name_that_is_not_looked_up_in_time_is_named_with_the_timeout() -> None:
    client = RayJobClient("http://slow-head:8265", timeout=0.5)
    with names_hanging() as asked, pytest.raises(JobServerUnavailableError, match="slow-head was not looked") as raised:
        client.details("a")
    assert "raise `timeout`" in str(raised.value)
    assert asked == ["slow-head"]


def test_a_proxy_that_drips_ends_with_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping(ENDLESS_HEAD, b"x") as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        client = RayJobClient("https://head.example:8265", timeout=1.0)
        with pytest.raises(JobServerUnavailableError, match="NO_PROXY"):
            client.details("a")
        client.close()

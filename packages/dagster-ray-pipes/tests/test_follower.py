"""Following a job on a server that answers as scripted: when it ends, and what ends it."""

import json
from dataclasses import dataclass, field

import pytest
from scripted_job_server import Server, client_of

from dagster_ray.pipes import _follower
from dagster_ray.pipes._follower import JobFollower, Patience
from dagster_ray.pipes._sinks import LogSink, Tail
from dagster_ray.pipes.errors import JobLostError, JobServerUnavailableError

PATIENCE_SECONDS = 30.0


@dataclass
class Cluster:
    """A job, its node, and its log."""

    status: list[str] = field(default_factory=lambda: ["RUNNING"])
    """What is answered, one after the other; the last one again and again. A number is an HTTP status."""
    alive: bool = True
    log: bytes = b""
    readable: bool = True

    def script(self, _method: str, path: str, _body: bytes) -> tuple[int, object]:
        """Answer as Ray does."""
        if path.startswith("/nodes"):
            state = "ALIVE" if self.alive else "DEAD"
            return 200, {"data": {"summary": [{"raylet": {"nodeId": "n", "isHeadNode": True, "state": state}}]}}
        if path.startswith("/api/jobs/"):
            status = self.status.pop(0) if len(self.status) > 1 else self.status[0]
            if status.isdecimal():
                return int(status), "Job job does not exist"
            return 200, {"submission_id": "job", "status": status, "driver_node_id": "n"}
        if not self.readable:
            return 503, "no"
        return 200, self.log.decode()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in seconds is waited for in fractions of them."""
    monkeypatch.setattr(_follower, "STATUS_SECONDS", 0.05)
    monkeypatch.setattr(_follower, "_STATUS_CALL_SECONDS", 0.3)
    monkeypatch.setattr(_follower, "_UNREADABLE_SECONDS", 0.3)


def follow(server: Server, cluster: Cluster, away: float = 5.0, drain: float = 5.0) -> tuple[JobFollower, str]:
    """Follow a job to its end; return the follower and what was read."""
    server.script, patience = cluster.script, Patience(away, drain)
    written: list[str] = []
    follower = JobFollower(client_of(server), {"job.log": LogSink(written.append, Tail())}, patience)
    follower.start("job")
    assert follower.wait(PATIENCE_SECONDS)
    follower.wait_drained()
    follower.close()
    return follower, "".join(written)


def test_the_log_is_read_to_its_end_after_the_jobs_end(server: Server) -> None:
    follower, text = follow(server, Cluster(["PENDING", "RUNNING", "SUCCEEDED"], log=b"one\ntwo\nthree"))
    assert text == "one\ntwo\nthree\n"
    assert follower.error is None
    assert follower.unread == ""


def test_a_server_that_is_away_for_a_while_fails_nothing(server: Server) -> None:
    away = ["503", "500", "401", "503"]
    follower, text = follow(server, Cluster(["RUNNING", *away, "RUNNING", "SUCCEEDED"], log=b"one\n"))
    assert follower.error is None
    assert text == "one\n"


def test_a_server_that_stays_away_ends_the_following(server: Server) -> None:
    follower, _ = follow(server, Cluster(["RUNNING", "503"]), away=0.5)
    assert isinstance(follower.error, JobServerUnavailableError)


def test_a_job_whose_node_is_dead_is_lost_although_it_is_running_for_ray(server: Server) -> None:
    follower, _ = follow(server, Cluster(alive=False, readable=False))
    assert isinstance(follower.error, JobLostError)
    assert "the node n of its driver is dead" in follower.error.problem


def test_a_node_that_cannot_be_read_but_lives_is_no_end(server: Server) -> None:
    follower, _ = follow(server, Cluster([*["RUNNING"] * 20, "SUCCEEDED"], readable=False), drain=0.5)
    assert follower.error is None
    assert follower.unread, "and the step is told that it did not read all"


def test_a_job_that_the_server_has_forgotten_is_lost(server: Server) -> None:
    """As after a restart of the head."""
    follower, _ = follow(server, Cluster(["RUNNING", "404"]))
    assert isinstance(follower.error, JobLostError)


def test_a_job_that_never_had_a_node_has_no_log(server: Server) -> None:
    def script(_method: str, _path: str, _body: bytes) -> tuple[int, object]:
        return 200, json.loads('{"submission_id": "job", "status": "FAILED", "message": "no environment"}')

    server.script = script
    follower = JobFollower(client_of(server), {}, Patience())
    follower.start("job")
    assert follower.wait(PATIENCE_SECONDS)
    assert follower.wait_drained()
    follower.close()

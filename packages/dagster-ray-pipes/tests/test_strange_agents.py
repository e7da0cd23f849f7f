"""What stands at the address of a node's agent may be anything: nothing of the job is lost, and no token leaks."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ray_like_server import RayLike
from scripted_job_server import Handler, Script, Server

from dagster_ray.pipes import PipesRayJobClient, RayJobClient
from dagster_ray.pipes._agent import may_have_token

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TOKEN = "s3cr3t-canary"


@contextmanager
def stranger(script: Script) -> Generator[Server]:
    """Yield a server at another address of this machine."""
    with Server(("127.0.0.2", 0), Handler) as found:
        found.calls, found.headers, found.script, found.has_ranges = [], [], script, False
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def run_op(ray: RayLike, folder: Path, code: str, **options: Any) -> list[Any]:
    """Run a job's code; return its custom messages."""
    (folder / "work.py").write_text(code)
    said: list[Any] = []

    @dg.op
    def submits(context: dg.OpExecutionContext) -> None:
        client = PipesRayJobClient(RayJobClient(ray.url, timeout=5.0, token=TOKEN), **options)
        job = {"entrypoint": f"{sys.executable} {folder / 'work.py'}"}
        said.extend(client.run(context=context, ray_job=job).get_custom_messages())

    @dg.job
    def one_op() -> None:
        submits()

    assert one_op.execute_in_process().success
    return said


SPEAKS = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    print("a line of the log", flush=True)
    pipes.report_custom_message("a message")
"""
STRANGERS: dict[str, Script] = {
    "another cluster's agent": lambda method, path, body: (404, "404: Not Found"),
    "a login page": lambda method, path, body: (200, "<html>Please log in</html>"),
    "a server that forbids": lambda method, path, body: (403, "no"),
    "a server that breaks off": lambda method, path, body: (0, ""),
}


@pytest.mark.parametrize("channel", ["file", "log"])
@pytest.mark.parametrize("script", STRANGERS.values(), ids=STRANGERS)
def test_log_and_messages_arrive_whatever_stands_at_the_agents_address(
    ray: RayLike, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: Script, channel: Any
) -> None:
    with stranger(script) as found:
        ray.agent = f"http://127.0.0.2:{found.server_port}"
        assert run_op(ray, tmp_path, SPEAKS, message_channel=channel) == ["a message"]
        assert found.calls, "it was asked"
        assert not [headers for headers in found.headers if TOKEN in str(headers)]
    assert capsys.readouterr().out.count("a line of the log") == 1


WAITS = """
import pathlib, sys, time
print("shown while the job runs", flush=True)
go = pathlib.Path(__file__).with_name("go")
while not go.exists():
    time.sleep(0.05)
"""


class Watched:
    """A stdout that does something at the first text."""

    encoding = "utf-8"

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def write(self, text: str) -> int:
        if "shown while" in text:
            self.then()
        return len(text)

    def flush(self) -> None:
        pass


def test_the_log_is_shown_while_an_agent_takes_connections_and_answers_nothing(
    ray: RayLike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with packets that are dropped: the job ends only once its first line was shown."""
    with socket.create_server(("127.0.0.2", 0)) as silent:
        ray.agent = f"http://127.0.0.2:{silent.getsockname()[1]}"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Watched((tmp_path / "go").touch))
            run_op(ray, tmp_path, WAITS)


def test_the_agent_of_the_node_is_used_once_it_has_served_the_jobs_log(ray: RayLike, tmp_path: Path) -> None:
    assert run_op(ray, tmp_path, SPEAKS + "import time; time.sleep(1)") == ["a message"]
    assert ray.asked("GET", "/logs/job-driver-") > 1, "the probe, and then the file itself"


@pytest.mark.parametrize(
    ("dashboard", "agent", "is_safe"),
    [
        ("http://10.0.0.7:8265", "http://10.0.0.7:52365", True),
        ("http://10.0.0.7:8265", "http://10.0.0.8:52365", False),
        ("http://ray.example", "http://10.0.0.7:52365", False),
        ("https://10.0.0.7", "http://10.0.0.7:52365", False),
    ],
)
def test_the_token_goes_where_the_dashboard_is(dashboard: str, agent: str, is_safe: bool) -> None:
    assert may_have_token(dashboard, agent) is is_safe

"""A Ray job server that runs nothing: its jobs do what a test says, and its calls meet faults."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from dagster_ray.simulator import Fault

_HEAD = {"raylet": {"nodeId": "n", "isHeadNode": True, "state": "ALIVE"}}


class FakeJobServer(ThreadingHTTPServer):
    """Answers as Ray's dashboard does, except where a fault is met."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.log = b"one\ntwo\n"
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, str]] = []
        self.on_call: Callable[[str, str], None] = lambda method, path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def statuses(self) -> list[str]:
        return [job["status"] for job in self.jobs.values()]

    def asked(self, method: str, part: str) -> int:
        """Count the calls of a kind."""
        return sum(one == method and part in path for one, path in self.calls)

    def end(self, status: str = "SUCCEEDED") -> None:
        """End all jobs that are there."""
        for job in self.jobs.values():
            job["status"] = status

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and content of an answer."""
        known = {
            "/nodes": {"data": {"summary": [_HEAD]}},
            "/api/v0/logs/": self.log.decode(),
            "/api/v0/cluster_metadata": {"data": {"rayVersion": "2.60.0", "pythonVersion": "3.12.0"}},
        }
        for beginning, content in known.items():
            if path.startswith(beginning):
                return 200, content
        if (method, path) == ("POST", "/api/jobs/"):
            return self._submit(body)
        job = self.jobs.get(path.removeprefix("/api/jobs/").removesuffix("/stop"))
        if job is None:
            return 404, "does not exist"
        if method == "POST":
            job["status"] = "STOPPED"
            return 200, {"stopped": True}
        return 200, job

    def _submit(self, body: dict[str, Any]) -> tuple[int, Any]:
        name = body["submission_id"]
        if name in self.jobs:
            return 500, f"Traceback\nRuntimeError: Job with submission_id {name} already exists"
        self.jobs[name] = {**body, "status": "RUNNING", "driver_node_id": "n"}
        return 200, {"submission_id": name}

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeJobServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append((self.command, self.path))
        self.server.on_call(self.command, self.path)
        fault = next((one for one in self.server.faults if one.matches(self.command, self.path)), None)
        if fault is not None:
            fault.hits += 1
            fault.times = None if fault.times is None else fault.times - 1
            if fault.status is not None:
                self._send(fault.status, "no")
            if not fault.lose_answer:
                return  # without a status the connection is closed, as by a reset
        status, content = self.server.answer(self.command, self.path, json.loads(body) if body else {})
        if fault is None:
            self._send(status, content)
        elif fault.delay_seconds:
            threading.Event().wait(fault.delay_seconds)

    do_GET = do_POST = _serve  # noqa: N815 - http.server's names

    def _send(self, status: int, content: Any) -> None:
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def fake_job_server() -> Generator[FakeJobServer]:
    """Yield a job server."""
    with FakeJobServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

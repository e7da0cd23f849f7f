"""Nodes without Ray: sockets that answer as far as waits and status polls need it, or nothing at all."""

import contextlib
import importlib.metadata
import importlib.util
import json
import platform
import socket
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from dagster_ray.simulator._kubelet.nodes import CLIENT_PORT, DASHBOARD_PORT, POD_PORTS, NodeOrder
from dagster_ray.simulator._kubelet.relay import PodAddress

_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HOST = "127.0.0.1"
_MOST_BYTES = 4 * 1024 * 1024
# It runs what this environment runs, so that a step which looks at versions finds its own.
RAY_VERSION = importlib.metadata.version("ray") if importlib.util.find_spec("ray") else "2.60.0"

FakeJobs = dict[str, dict[str, Any]]
"""Job details by id, as GET /api/jobs/<id> tells them; a test writes into it."""
FakeRows = dict[str, list[dict[str, Any]]]
"""Rows of the state API by resource, such as `tasks`, as GET /api/v0/<resource> lists them; a test writes into it."""


class IdleNode:
    """A container that only runs.

    Args:
        ip: The pod's address.
        exits: The exit code of a container that crashes at once; None for one that runs.
        text: What it printed.
    """

    def __init__(self, ip: str, exits: int | None = None, text: str = "") -> None:
        self.ip = ip
        self._exits = exits
        self._text = text
        self.gcs_open = False
        self.ready = False
        self.exit_code: int | None = None

    def start(self) -> None:
        """Run, or crash."""
        self.exit_code = self._exits
        self.gcs_open = self.ready = self._exits is None

    def poll(self) -> None:
        """Nothing changes by itself."""

    def stop(self, grace_seconds: float) -> None:
        """End at once."""
        del grace_seconds
        self.gcs_open = self.ready = False
        self.exit_code = 137 if self.exit_code is None else self.exit_code

    def close(self) -> None:
        """End at once."""
        self.stop(0)

    def address(self, port: int) -> tuple[str, int] | None:
        """Nothing listens."""
        del port

    def log(self) -> str:
        """What was given."""
        return self._text


class FakeRayNode(IdleNode):
    """A head without Ray: its client port answers as gRPC does, its dashboard serves scripted jobs.

    Args:
        order: What it replaces.

    Attributes:
        env: The environment of its container.
        jobs: What its job server knows.
        rows: What its state API lists.
        driver_log: What each of its jobs has printed, for those whose details tell a `driver_node_id`.
        is_silent: Whether its dashboard breaks each connection without an answer.
    """

    def __init__(self, order: NodeOrder) -> None:
        self._pod_address = PodAddress(POD_PORTS)
        super().__init__(self._pod_address.address)
        self._order, self.env = order, order.env
        self.jobs: FakeJobs = {}
        self.rows: FakeRows = {"tasks": [], "actors": [], "placement_groups": []}
        self.driver_log = ""
        self.is_silent = False
        self._dashboard: _Dashboard | None = None
        self._client: _ClientPort | None = None
        self._thread: threading.Thread | None = None

    @override
    def start(self) -> None:
        super().start()
        self.jobs.clear()
        if self._order.is_head and self._dashboard is None:
            self._client = _ClientPort()
            self._dashboard = _Dashboard(self, self._order)
            self._thread = threading.Thread(target=self._dashboard.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()
            for port in (CLIENT_PORT, DASHBOARD_PORT):
                place = self.address(port)
                if place is not None:
                    self._pod_address.open(port, place)

    @override
    def stop(self, grace_seconds: float) -> None:
        super().stop(grace_seconds)
        if self._dashboard is not None and self._thread is not None and self._client is not None:
            self._dashboard.shutdown()
            self._dashboard.server_close()
            self._thread.join()
            self._client.close()
            self._dashboard = self._client = self._thread = None

    @override
    def close(self) -> None:
        super().close()
        self._pod_address.close()

    @override
    def address(self, port: int) -> tuple[str, int] | None:
        if port == CLIENT_PORT and self._client is not None:
            return _HOST, self._client.port
        if port == DASHBOARD_PORT and self._dashboard is not None:
            return _HOST, int(self._dashboard.server_address[1])
        return None


class _ClientPort:
    """Answers every connection with an HTTP/2 SETTINGS frame and nothing more."""

    def __init__(self) -> None:
        self._listener = socket.create_server((_HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._connected: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            self._connected.append(connected)
            with contextlib.suppress(OSError):
                connected.sendall(_SETTINGS)

    def close(self) -> None:
        """Refuse from now on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connected in self._connected:
            connected.close()


def fake_answer(jobs: FakeJobs, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    """What a fake dashboard answers: HTTP status, and a text or JSON."""
    known: dict[str, Any] = {
        "/api/version": {"version": "4", "ray_version": RAY_VERSION, "ray_commit": "", "session_name": "fake"},
        "/api/v0/cluster_metadata": {"data": {"rayVersion": RAY_VERSION, "pythonVersion": platform.python_version()}},
        "/api/jobs/": list(jobs.values()),
        "/api/gcs_healthz": "success",
    }
    if method == "GET" and path in known:
        return HTTPStatus.OK, known[path]
    if method == "POST" and path == "/api/jobs/":
        job_id = str(body.get("submission_id") or f"raysubmit_fake{len(jobs)}")
        if job_id in jobs:
            text = f"Traceback\nRuntimeError: Job with submission_id {job_id} already exists."
            return HTTPStatus.INTERNAL_SERVER_ERROR, text
        jobs[job_id] = {"type": "SUBMISSION", "submission_id": job_id, "status": "PENDING", **body}
        return HTTPStatus.OK, {"job_id": job_id, "submission_id": job_id}
    job_id = path.removeprefix("/api/jobs/").removesuffix("/stop")
    if not path.startswith("/api/jobs/") or job_id not in jobs:
        return HTTPStatus.NOT_FOUND, f"Job {job_id} does not exist"
    if method == "POST":
        jobs[job_id]["status"] = "STOPPED"
        return HTTPStatus.OK, {"stopped": True}
    return HTTPStatus.OK, jobs[job_id]


def state_answer(rows: FakeRows, path: str) -> dict[str, Any] | None:
    """What the state API of a fake dashboard answers; None where the path is none of it.

    Filters by equality work; all others let everything through.
    """
    parts = urlsplit(path)
    resource = parts.path.removeprefix("/api/v0/")
    if resource not in rows or parts.path != f"/api/v0/{resource}":
        return None
    asked = parse_qs(parts.query)
    filters = [*zip(*(asked.get(f"filter_{part}", []) for part in ("keys", "predicates", "values")), strict=True)]
    wanted = {key: value for key, predicate, value in filters if predicate == "="}
    found = [row for row in rows[resource] if all(str(row.get(key)) == value for key, value in wanted.items())]
    return {"result": True, "msg": "", "data": {"result": {"total": len(found), "result": found}}}


def log_answer(jobs: FakeJobs, log: str, path: str) -> tuple[int, str] | None:
    """What a fake dashboard answers to GET /api/v0/logs/file; None where the path is another.

    As Ray's does, it wants a node even where the job's id would tell it (ray/util/state/common.py, GetLogOptions).
    """
    parts = urlsplit(path)
    if parts.path != "/api/v0/logs/file":
        return None
    asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
    places = {(job.get("driver_node_id"), f"job-driver-{name}.log") for name, job in jobs.items()}
    if "node_id" in asked and (asked["node_id"], asked.get("filename")) in places:
        return HTTPStatus.OK, log
    return HTTPStatus.INTERNAL_SERVER_ERROR, "500 Internal Server Error\n\nServer got itself in trouble"


class _Dashboard(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, node: FakeRayNode, order: NodeOrder) -> None:
        super().__init__((_HOST, 0), _Handler)
        self.node, self.order = node, order

    @property
    def wants_token(self) -> bool:
        return self.order.token is not None or self.order.admits is not None

    def admits(self, token: str) -> bool:
        return token == self.order.token if self.order.admits is None else self.order.admits(token)


class _Handler(BaseHTTPRequestHandler):
    server: _Dashboard  # pyright: ignore[reportIncompatibleVariableOverride]

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text, node = self.rfile.read(min(length, _MOST_BYTES)), self.server.node
        if node.is_silent:
            self.close_connection = True
        elif self.path == "/api/authentication_mode":
            self._send(HTTPStatus.OK, {"authentication_mode": "token" if self.server.wants_token else "disabled"})
        elif (refusal := self._refusal()) is not None:
            self._send(*refusal)
        elif (rows := state_answer(node.rows, self.path)) is not None:
            self._send(HTTPStatus.OK, rows)
        elif (log := log_answer(node.jobs, node.driver_log, self.path)) is not None:
            self._send(*log)
        else:
            self._send(*fake_answer(node.jobs, method, self.path, json.loads(text) if text else {}))

    def _refusal(self) -> tuple[int, str] | None:
        given = self.headers.get("Authorization") or self.headers.get("X-Ray-Authorization")
        if not self.server.wants_token:
            return None
        if given is None:
            return HTTPStatus.UNAUTHORIZED, "Unauthorized: Missing authentication token"
        if self.server.admits(given.removeprefix("Bearer ")):
            return None
        return HTTPStatus.FORBIDDEN, "Forbidden: Invalid authentication token"

    def _send(self, status: int, answer: Any) -> None:
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    @override
    def log_message(self, format: str, *args: object) -> None:
        del format, args

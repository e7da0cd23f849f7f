"""The HTTP server of the simulated API server."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import urlsplit

from typing_extensions import override

from dagster_ray.kuberay._manifest_fields import at, mapping
from dagster_ray.kuberay.testing._access import Access, Account
from dagster_ray.kuberay.testing._answers import Answer, Objects
from dagster_ray.kuberay.testing._discovery import discovery
from dagster_ray.kuberay.testing._faults import Fault, Faults
from dagster_ray.kuberay.testing._pod_runtime import PodRuntime
from dagster_ray.kuberay.testing._port_forward_server import handshake, serve_port_forward
from dagster_ray.kuberay.testing._routes import Route, route_of
from dagster_ray.kuberay.testing._statuses import Refused
from dagster_ray.kuberay.testing._store import Store
from dagster_ray.kuberay.testing._watches import Watch

_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was received."""

    method: str
    path: str
    user_agent: str


class _NotServedError(Exception):
    """There is no such path."""


class ApiServer(ThreadingHTTPServer):
    """Serves a store on a port of this machine."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(  # noqa: PLR0917 - made in one place
        self, store: Store, faults: Faults, access: Access, runtime: PodRuntime | None, version: str, port: int
    ) -> None:
        """Bind to 127.0.0.1; port 0 is a free one."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.store, self.faults, self.access, self.runtime = store, faults, access, runtime
        self.objects = Objects(store, version)
        self.requests: list[Request] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="simulated API server", daemon=True
        )

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the server and every connection."""
        self.faults.drop_watches()
        self.shutdown()
        self._thread.join(_JOIN_SECONDS)
        with self._lock:
            connections = set(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    @override
    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave broken connections to their clients."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ApiServer  # type: ignore[assignment]
    _pauses: ClassVar[threading.Event] = threading.Event()

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(Request(self.command, self.path, self.headers.get("User-Agent", "")))
        fault = self.server.faults.take(self.command, self.path)
        if fault is not None and fault.delay_seconds:
            self._pauses.wait(fault.delay_seconds)
        if fault is not None and (fault.reset or fault.status is not None):
            self._fail(fault)
            return
        try:
            self._lost = fault is not None and fault.lose_answer
            self._dispatch(raw)
        except Refused as refused:
            self._send(refused.code, refused.body())
        except _NotServedError:
            self._send_text(404, "404 page not found\n")
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _dispatch(self, raw: bytes) -> None:
        account = self.server.access.account(dict(self.headers.items()))
        path = urlsplit(self.path).path
        found = discovery(path, without_rays=self.server.faults.without_crds)
        if self.command == "GET" and found is not None:
            self._send(200, found)
            return
        if path == _REVIEW:
            self._send(201, self._review(account, self._json(raw)))
            return
        route = route_of(self.command, self.path)
        if route is None or (self.server.faults.without_crds and route.resource.group == "ray.io"):
            raise _NotServedError
        self.server.access.check(account, route)
        if route.is_watch:
            self._watch(route)
        elif route.subresource == "log":
            self._log(route)
        elif route.subresource == "portforward":
            self._port_forward(route)
        else:
            content_type = self.headers.get("Content-Type", "application/json").partition(";")[0].strip()
            accept = self.headers.get("Accept", "")
            self._answer(self.server.objects.answer(route, self._json(raw), content_type, accept))

    def _review(self, account: Account, review: Any) -> dict[str, Any]:
        wanted = mapping(at(review, "spec", "resourceAttributes"))
        part = f"/{wanted['subresource']}" if wanted.get("subresource") else ""
        group, verb, namespace = str(wanted.get("group", "")), str(wanted.get("verb", "")), wanted.get("namespace")
        resource = f"{wanted.get('resource', '')}{part}"
        allowed = self.server.access.allows(account, group, resource, verb, namespace)
        return {**review, "status": {"allowed": allowed}}

    def _json(self, raw: bytes) -> Any:
        if not raw:
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise Refused(400, "BadRequest", f"error decoding the body: {error}") from error

    # Streams

    def _watch(self, route: Route) -> None:
        watch = Watch(self.server.store, self.server.faults, route, self.connection)
        start = watch.start()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self._chunks(watch.lines(start))

    def _chunks(self, lines: Iterator[bytes]) -> None:
        for data in lines:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _pod(self, route: Route) -> tuple[str, str]:
        self.server.objects.answer(
            Route("GET", route.resource, route.namespace, route.name, None, {}), None, "", ""
        )  # refuses one that does not exist
        return route.namespace or "", route.name or ""

    def _log(self, route: Route) -> None:
        pod, query = self._pod(route), route.query
        runtime = self.server.runtime
        previous = query.get("previous") == "true"
        text = "" if runtime is None else runtime.log(*pod, query.get("container"), previous=previous)
        if tail := query.get("tailLines"):
            text = "".join(text.splitlines(keepends=True)[-int(tail) :])
        self._send_text(200, text[: int(query.get("limitBytes") or 10**9)])

    def _port_forward(self, route: Route) -> None:
        pod, runtime = self._pod(route), self.server.runtime
        answer = handshake(dict(self.headers.items()))
        if answer is None or runtime is None:
            raise Refused(400, "BadRequest", "unable to upgrade: only websocket with v4.channel.k8s.io is served")
        self.wfile.write(answer)
        self.wfile.flush()
        self.close_connection = True
        serve_port_forward(self.connection, runtime, pod, int(route.query.get("ports", "0")))

    # Answers

    def _fail(self, fault: Fault) -> None:
        if fault.status is None:
            self._break()
            return
        reasons = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 403: "Forbidden"}
        status = Refused(fault.status, reasons.get(fault.status, ""), "told to fail").body()
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        self._send(fault.status, status, headers)

    def _break(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, answer: Answer) -> None:
        if self._lost:
            self._break()
            return
        warnings = {f"Warning#{n}": text for n, text in enumerate(answer.warnings)}
        self._send(answer.status, answer.body, warnings)

    def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._write(status, json.dumps(body, separators=(",", ":")).encode(), "application/json", headers or {})

    def _send_text(self, status: int, text: str) -> None:
        self._write(status, text.encode(), "text/plain; charset=utf-8", {})

    def _write(self, status: int, data: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.partition("#")[0], value)
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; `requests` has it all."""

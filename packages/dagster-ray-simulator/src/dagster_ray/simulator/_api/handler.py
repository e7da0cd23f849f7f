"""One connection to the simulated API server: from HTTP to questions, and from answers to HTTP."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator, Mapping
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from typing_extensions import override

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.simulator._api.access import Account
from dagster_ray.simulator._api.answers import Answer, Sent
from dagster_ray.simulator._api.bodies import media_type, sent_number, sent_review
from dagster_ray.simulator._api.discovery import discovery
from dagster_ray.simulator._api.faults import Fault
from dagster_ray.simulator._api.port_forward_server import handshake, serve_port_forward
from dagster_ray.simulator._api.routes import Route, route_of
from dagster_ray.simulator._api.statuses import Refused, not_found
from dagster_ray.simulator._api.watches import CutError, Watch
from dagster_ray.simulator._kubelet.pod_logs import chosen_container, shown

if TYPE_CHECKING:
    from dagster_ray.simulator._api.server import ApiServer, Request

_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_RULES_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
_HEALTH = {"/healthz", "/livez", "/readyz"}
_FOLLOW_SECONDS = 0.2
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class _NotServedError(Exception):
    """There is no such path."""


class ApiHandler(BaseHTTPRequestHandler):
    """One connection of one client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "ApiServer"  # type: ignore[assignment]
    _request: "Request"
    _lost = False

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._request = self.server.received(self.command, self.path, self.headers.get("User-Agent", ""))
        fault = self.server.faults.take(self.command, self.path)
        if fault is not None and fault.delay_seconds:
            self.server.stopping.wait(fault.delay_seconds)
        if fault is not None and (fault.reset or fault.status is not None):
            self._fail(fault)
            return
        self._lost = fault is not None and fault.lose_answer
        try:
            self._dispatch(raw)
        except Refused as refused:
            retry = (refused.details or {}).get("retryAfterSeconds")
            self._send(refused.code, refused.body(), {} if retry is None else {"Retry-After": str(retry)})
        except _NotServedError:
            self._send_text(404, "404 page not found\n")
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _dispatch(self, raw: bytes) -> None:
        server, path = self.server, urlsplit(self.path).path
        account = server.access.account(dict(self.headers.items()))
        if self.command == "GET" and path in _HEALTH:
            self._send_text(200, "ok")
            return
        host = f"127.0.0.1:{server.server_port}"
        found = discovery(path, host, server.kuberay_version, without_rays=server.faults.without_crds)
        if self.command == "GET" and found is not None:
            self._send(200, found)
            return
        if path in {_REVIEW, _RULES_REVIEW} and self.command == "POST":
            review = sent_review(raw, media_type(self.headers.get("Content-Type")))
            self._send(201, self._review(account, review) if path == _REVIEW else self._rules_review(account, review))
            return
        route = route_of(self.command, self.path)
        if route is None or (server.faults.without_crds and route.resource.group == "ray.io"):
            raise _NotServedError
        server.access.check(account, route)
        if not route.resource.served:
            raise _NotServedError
        if server.faults.without_crds and route.resource.plural == "customresourcedefinitions" and route.name:
            raise not_found(route.resource, route.name)
        self._on_objects(route, raw)

    def _on_objects(self, route: Route, raw: bytes) -> None:
        accept = self.headers.get("Accept", "")
        if route.is_watch:
            self._watch(route, accept)
        elif route.subresource == "log":
            self._log(route)
        elif route.subresource == "portforward":
            self._port_forward(route)
        else:
            sent = Sent(raw, media_type(self.headers.get("Content-Type")), accept)
            self._answer(self.server.objects.answer(route, sent))

    def _review(self, account: Account, review: Mapping[str, Any]) -> dict[str, Any]:
        wanted = mapping(at(review, "spec", "resourceAttributes"))
        part = f"/{wanted['subresource']}" if wanted.get("subresource") else ""
        group, verb, namespace = str(wanted.get("group", "")), str(wanted.get("verb", "")), wanted.get("namespace")
        resource = f"{wanted.get('resource', '')}{part}"
        allowed = self.server.access.allows(account, group, resource, verb, namespace)
        attributes = {key: value for key, value in wanted.items() if value}
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
            "status": {"allowed": allowed},
        }

    def _rules_review(self, account: Account, review: Mapping[str, Any]) -> dict[str, Any]:
        namespace = str(at(review, "spec", "namespace") or "")
        rules = [
            {"apiGroups": list(rule.groups), "resources": list(rule.resources), "verbs": list(rule.verbs)}
            for rule in self.server.access.rules_of(account, namespace)
        ]
        return {
            "kind": "SelfSubjectRulesReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": {},
            "status": {"resourceRules": rules, "nonResourceRules": [], "incomplete": False},
        }

    # Streams

    def _watch(self, route: Route, accept: str) -> None:
        watch = Watch(self.server.store, self.server.faults, route, self.connection, accept)
        start = watch.start()
        self._begin_stream("application/json")
        try:
            self._chunks(watch.lines(start))
        except CutError:
            self.wfile.write(b'17\r\n{"type":"MODIFIED","obj\r\n')
            self.close_connection = True

    def _begin_stream(self, content_type: str) -> None:
        self._request.status = 200
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunks(self, lines: Iterator[bytes]) -> None:
        for data in lines:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _log(self, route: Route) -> None:
        container = chosen_container(self.server.objects.found(route), route.query)
        if route.query.get("follow") == "true":
            self._begin_stream("text/plain")
            self._chunks(self._followed(route, container))
        else:
            self._send_text(200, shown(self._log_text(route, container), route.query))

    def _log_text(self, route: Route, container: str) -> str:
        runtime, previous = self.server.runtime, route.query.get("previous") == "true"
        if runtime is None:
            return ""
        return runtime.log(route.namespace or "", route.name or "", container, previous=previous)

    def _followed(self, route: Route, container: str) -> Iterator[bytes]:
        known = self._log_text(route, container)
        if text := shown(known, route.query):
            yield text.encode()
        while not self.server.stopping.wait(_FOLLOW_SECONDS):
            text = self._log_text(route, container)
            if len(text) > len(known):
                yield text[len(known) :].encode()
                known = text
            pod = self.server.store.get("pods", route.namespace or "", route.name or "")
            if pod is None or at(pod, "status", "phase") in {"Succeeded", "Failed"}:
                return

    def _port_forward(self, route: Route) -> None:
        self.server.objects.found(route)
        runtime = self.server.runtime
        answer = handshake(dict(self.headers.items()))
        port = sent_number(route.query, "ports") or 0
        if answer is None or runtime is None:
            raise Refused(400, "BadRequest", "unable to upgrade: only websocket with v4.channel.k8s.io is served")
        self._request.status = 101
        self.wfile.write(answer)
        self.wfile.flush()
        self.close_connection = True
        pod = (route.namespace or "", route.name or "")
        serve_port_forward(self.connection, runtime, pod, port)

    # Answers

    def _fail(self, fault: Fault) -> None:
        if fault.status is None:
            self._break()
            return
        status = Refused(fault.status, _REASONS.get(fault.status, ""), "told to fail").body()
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
        self._request.status = status
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.partition("#")[0], value)
        self.end_headers()
        self.wfile.write(data)

    @override
    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time for the header Date, by the clock of the simulated cluster."""
        return format_datetime(self.server.store.now(), usegmt=True)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; `requests` has it all."""

"""A simulated API server without operator and nodes, and a client that shows the bare answers."""

import http.client
import json
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dagster_ray.simulator._api.access import Access
from dagster_ray.simulator._api.faults import Faults
from dagster_ray.simulator._api.server import ApiServer
from dagster_ray.simulator._api.store import Store

PODS = "/api/v1/namespaces/ns/pods"
SECRETS = "/api/v1/namespaces/ns/secrets"
CLUSTERS = "/apis/ray.io/v1/namespaces/ns/rayclusters"
SPEC = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}}


@dataclass(slots=True)
class Runtime:
    """Pods whose every port echoes, and whose log can be set."""

    place: tuple[str, int] | None = None
    text: str = ""

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        return self.place

    def log(self, namespace: str, pod: str, container: str | None = None, *, previous: bool = False) -> str:
        return f"before {container}\n" if previous else self.text


@dataclass(slots=True)
class Reply:
    """A bare answer."""

    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.raw.splitlines()]


@dataclass(slots=True)
class World:
    """A server and all that it is made of."""

    store: Store
    access: Access
    faults: Faults
    runtime: Runtime
    server: ApiServer
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """Send a request and return the whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {**self.headers, **sent})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.call("GET", path, **headers)

    def post(self, path: str, name: str, **fields: Any) -> Reply:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return self.call("POST", path, {"metadata": metadata, **fields})

    @contextmanager
    def watching(self, path: str) -> Generator[Iterator[bytes]]:
        """Yield the raw lines of a watch; what does not end with a line feed was cut off."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        try:
            connection.request("GET", f"{path}?watch=1&timeoutSeconds=20")
            yield iter(connection.getresponse().readline, b"")
        finally:
            connection.close()


@contextmanager
def serving() -> Generator[World]:
    """Yield a server with a namespace `ns`."""
    store, access, runtime = Store(), Access(), Runtime()
    faults = Faults(store, access)
    server = ApiServer(store, faults, access, runtime, "1.7.0", 0)
    store.create("namespaces", {"metadata": {"name": "ns"}})
    server.start()
    try:
        yield World(store, access, faults, runtime, server)
    finally:
        server.stop()


@contextmanager
def echo_server() -> Generator[tuple[str, int]]:
    """Yield where a server listens that sends back what it gets, and ends when its client has ended."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[:2]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def pod(name: str, status: Mapping[str, Any] | None = None, containers: tuple[str, ...] = ("main",)) -> dict[str, Any]:
    """Return a pod on a node, with a running container if nothing else is said."""
    running: dict[str, Any] = {"containerStatuses": [{"name": one, "state": {"running": {}}} for one in containers]}
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"nodeName": "node", "containers": [{"name": one, "image": "i"} for one in containers]},
        "status": running if status is None else dict(status),
    }

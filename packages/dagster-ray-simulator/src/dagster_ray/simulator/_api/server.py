"""The HTTP server of the simulated API server: connections and threads."""

import contextlib
import socket
import threading
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from dagster_ray.simulator._api.access import Access
from dagster_ray.simulator._api.answers import Objects
from dagster_ray.simulator._api.faults import Faults
from dagster_ray.simulator._api.handler import ApiHandler
from dagster_ray.simulator._api.store import Store
from dagster_ray.simulator._kubelet.pod_runtime import PodRuntime

_JOIN_SECONDS = 5.0


@dataclass(slots=True)
class Request:
    """A request that was received.

    Attributes:
        method: Its method.
        path: Its path with query.
        user_agent: Who sent it.
        status: The answer's status; None while there is none, or if the connection broke without one.
    """

    method: str
    path: str
    user_agent: str = ""
    status: int | None = None

    @property
    def is_watch(self) -> bool:
        """Whether it is a watch."""
        return "watch=1" in self.path or "watch=true" in self.path


class ApiServer(ThreadingHTTPServer):
    """Serves a store on a port of this machine."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(  # noqa: PLR0917 - made in one place
        self, store: Store, faults: Faults, access: Access, runtime: PodRuntime | None, version: str, port: int
    ) -> None:
        """Bind to 127.0.0.1; port 0 is a free one."""
        super().__init__(("127.0.0.1", port), ApiHandler)
        self.store, self.faults, self.access, self.runtime = store, faults, access, runtime
        self.kuberay_version = version
        self.objects = Objects(store, version)
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="simulated API server", daemon=True
        )

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the server, every connection and every thread."""
        self.stopping.set()
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join(_JOIN_SECONDS)
        self.faults.drop_watches()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join(_JOIN_SECONDS)
        self.server_close()

    def received(self, method: str, path: str, user_agent: str) -> Request:
        """Note a request."""
        request = Request(method, path, user_agent)
        self.requests.append(request)
        return request

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="simulated API call", daemon=True
        )
        with self._lock:
            self._connections[request] = thread
        thread.start()

    @override
    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave broken connections to their clients."""

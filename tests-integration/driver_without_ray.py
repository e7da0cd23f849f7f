"""`ray.init` against the simulator's fake heads: a driver that is a job of its head, and computes nothing."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from dagster_ray.simulator import Simulator

JOB_ID = "01000000"
# A gRPC client speaks as soon as it is connected: RFC 9113, section 3.4, and an empty SETTINGS frame.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@dataclass
class Driver:
    """The driver of this process."""

    simulator: Simulator
    is_connected: bool = False
    jobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The driver's job on each head that it connected to."""
    worker: object = None
    """What Ray Client has of the connection, another one for each."""

    def init(self, address: str, **_options: object) -> SimpleNamespace:
        """Connect if the way to the head carries bytes, as `ray.init` does."""
        host, _, port = address.partition("://")[2].rpartition(":")  # the scheme is Ray's, or names a builder
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(_PREFACE)
                said = connection.recv(9)
        except OSError as error:
            raise ConnectionError("ray client connection timeout") from error
        if not said:
            raise ConnectionError("ray client connection timeout")
        self._register()
        self.is_connected, self.worker = True, SimpleNamespace(_conn_str=f"{host}:{port}")
        return SimpleNamespace(dashboard_url=None)

    def _register(self) -> None:
        found = self.heads()
        if not found:
            raise ConnectionError("there is no head")
        known = found[0]
        known[JOB_ID] = {"type": "DRIVER", "job_id": JOB_ID, "status": "RUNNING"}
        self.jobs.append(known[JOB_ID])

    def heads(self) -> list[dict[str, dict[str, Any]]]:
        """Return what each head that is there knows of jobs."""
        found: list[dict[str, dict[str, Any]]] = []
        for cluster in self.simulator.store.list("rayclusters"):
            with contextlib.suppress(LookupError):
                found.append(self.simulator.kubelet.fake_jobs("default", cluster["metadata"]["name"]))
        return found

    def shutdown(self) -> None:
        """End, which is a success for Ray; also what Ray makes of a driver that was killed."""
        self.is_connected = False
        for job in self.jobs:
            job["status"] = "SUCCEEDED"


@contextmanager
def driver_without_ray(simulator: Simulator, patch: pytest.MonkeyPatch) -> Generator[Driver]:
    """Replace what dagster-ray calls of Ray to connect and disconnect."""
    import ray
    from ray.util.client import ray as client

    def no_ping(*_: object) -> None:
        """Ask for no sign of life: a fake head cannot answer it."""

    driver = Driver(simulator)
    patch.setattr(ray, "init", driver.init)
    patch.setattr(ray, "shutdown", driver.shutdown)
    patch.setattr(ray, "is_initialized", lambda: driver.is_connected)
    patch.setattr(client, "is_connected", lambda: driver.is_connected)
    patch.setattr(client, "get_context", lambda: SimpleNamespace(client_worker=driver.worker))
    patch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: JOB_ID))
    patch.setattr("dagster_ray.core._connection._ping", no_ping)
    patch.setenv("RAY_AUTH_MODE", "disabled")
    yield driver


def when(found: Callable[[], object], act: Callable[[], object], over: threading.Event) -> threading.Thread:
    """Act once in another thread, as soon as something is so, unless it is over before."""

    def look() -> None:
        while not over.wait(0.01):
            if found():
                act()
                return

    thread = threading.Thread(target=look)
    thread.start()
    return thread

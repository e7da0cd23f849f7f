"""A Ray head in processes of its own, for tests."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import psutil

from dagster_ray.core import Deadline

_START_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class RayHead:
    """Where the head listens."""

    client_port: int
    gcs_port: int
    dashboard_port: int

    @property
    def client_address(self) -> str:
        """What Ray Client connects to."""
        return f"ray://127.0.0.1:{self.client_port}"

    @property
    def gcs_address(self) -> str:
        """What a driver on this machine connects to."""
        return f"127.0.0.1:{self.gcs_port}"

    @property
    def job_server(self) -> str:
        """Where jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody uses, from below the range that the system hands out by itself."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as tried:
            tried.bind(("", port))
            found.add(port)
    return list(found)


def _start_command(directory: str, ports: list[int]) -> list[str]:
    gcs, client, dashboard, agent = ports
    free = ("node-manager", "object-manager", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start"),  # the environment's own `ray`, whatever PATH says
        *("--head", "--block", "--disable-usage-stats", "--num-cpus=2", "--node-ip-address=127.0.0.1"),
        *(f"--port={gcs}", f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0"),
        *(f"--{name}-port=0" for name in free),
        *("--object-store-memory=100000000", f"--temp-dir={directory}"),
    ]


@contextlib.contextmanager
def started_head() -> Generator[RayHead]:
    """Start a Ray head; end it and all its processes when the block is left."""
    directory = tempfile.mkdtemp(prefix="rab-", dir="/tmp")  # Ray's sockets need a short path
    ports = free_ports(4)
    output = Path(directory) / "output"
    with output.open("wb") as sink:
        # A job's `python` is then the one of the tests, as it is that of the image in a container.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": path}
        process = psutil.Popen(_start_command(directory, ports), stdout=sink, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = Deadline(_START_SECONDS)
        while not all(listens(port) for port in ports[:3]):
            assert process.poll() is None, output.read_text()
            assert deadline.sleep(0.2), output.read_text()
        yield RayHead(client_port=ports[1], gcs_port=ports[0], dashboard_port=ports[2])
    finally:
        _end(process)
        shutil.rmtree(directory, ignore_errors=True)


def _end(process: psutil.Popen) -> None:
    processes: list[psutil.Process] = [*process.children(recursive=True), process]
    process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(alive, timeout=5)

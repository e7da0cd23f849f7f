"""A Ray head of one's own: own ports, own folder, ended by its process id."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Head:
    """Where the head is reached."""

    dashboard: str
    agent_port: int
    gcs: str


def _wait_until_ready(dashboard: str, agent: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(START_SECONDS * 5):
        if process.poll() is not None:
            raise RuntimeError(f"ray start ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"{dashboard}/api/version", timeout=2):
                socket.create_connection(("127.0.0.1", agent), timeout=2).close()
                return
        except OSError:
            pause.wait(0.2)
    raise TimeoutError("the head did not start")


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody uses, from below the range that the system hands out by itself."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        with suppress(OSError), socket.socket() as tried:
            tried.bind(("", port))
            found.add(port)
    return list(found)


@contextmanager
def ray_head() -> Generator[Head]:
    """Start a Ray head, and end it with all its processes."""
    yield from _head(*free_ports(4))


def _head(gcs: int, dashboard: int, agent: int, client: int) -> Generator[Head]:
    folder = tempfile.mkdtemp(prefix="ray-")  # short: the path of a socket has 107 bytes
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"),
        *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--ray-client-server-port={client}", "--min-worker-port=0", "--max-worker-port=0"),
        *(f"--temp-dir={folder}", "--object-store-memory=100000000", "--disable-usage-stats"),
    ]
    # `python` of a job's entrypoint is this one.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PATH": path}
    with Path(folder, "start.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{dashboard}"
        _wait_until_ready(url, agent, process)
        yield Head(url, agent, f"127.0.0.1:{gcs}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)

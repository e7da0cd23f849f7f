"""A real Ray node for a pod: `ray start --block` on this machine, reached through a loopback address of its own.

Needs Ray in this environment (`ray[default]` for the dashboard) and Linux, where every 127.x.y.z can be bound. The
node's processes end with the pod, with `close`, and when the process of the simulator dies.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from dagster_ray.simulator._kubelet import ray_launcher
from dagster_ray.simulator._kubelet.nodes import (
    AGENT_PORT,
    CLIENT_PORT,
    DASHBOARD_PORT,
    GCS_PORT,
    POD_PORTS,
    NodeOrder,
    listens,
    speaks_http2,
)
from dagster_ray.simulator._kubelet.ports import PortBlock
from dagster_ray.simulator._kubelet.relay import PodAddress

OBJECT_STORE_BYTES = 100_000_000
_PASSED_PARAMS = ("num-cpus", "num-gpus", "memory", "resources", "labels")
_PROBE_SECONDS = 0.1
_PREFACE_SECONDS = 1.0
_LOG_BYTES = 1024 * 1024
_HOST = "127.0.0.1"
_KILLED = 137


def ray_environment(order: NodeOrder, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node: this process's without Ray's own variables, then the container's.

    The authentication mode is always explicit: Ray would take it from the user's home otherwise. Workers run in this
    Python also when the simulator was started by `uv run`, which Ray would use for them: a pod has no uv above it.
    """
    base = {name: value for name, value in inherited.items() if not name.startswith("RAY_")}
    base |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    base["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    base["RAY_worker_niceness"] = "0"  # 15 yields to the rest of a pod, but here also to all that runs on this machine
    # `python` is that of the image, which is this one.
    base["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
    dropped = ("RAY_ADDRESS", "RAY_PORT", "RAY_IP", "FQ_RAY_IP")
    base |= {name: value for name, value in order.env.items() if name not in dropped}
    if order.token is None:
        base["RAY_AUTH_MODE"] = "disabled"
    else:
        base |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": order.token}
    return base


def start_parameters(order: NodeOrder, ports: Mapping[int, int], temp_dir: str) -> list[str]:
    """The parameters of `ray start`: the group's resources, and this machine's ports and folders."""
    given = [f"--{name}={_unquoted(order.params[name])}" for name in _PASSED_PARAMS if name in order.params]
    store = min(int(order.params.get("object-store-memory", OBJECT_STORE_BYTES)), OBJECT_STORE_BYTES)
    parameters = [
        *given,
        "--block",
        "--disable-usage-stats",
        f"--node-ip-address={_HOST}",
        f"--object-store-memory={store}",
        f"--dashboard-agent-listen-port={ports[AGENT_PORT]}",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    if order.is_head:
        return [
            "--head",
            f"--port={ports[GCS_PORT]}",
            f"--ray-client-server-port={ports[CLIENT_PORT]}",
            f"--dashboard-host={_HOST}",
            f"--dashboard-port={ports[DASHBOARD_PORT]}",
            "--include-dashboard=true",
            f"--temp-dir={temp_dir}",
            *parameters,
        ]
    host, port = (order.head_gcs() if order.head_gcs else None) or (_HOST, GCS_PORT)
    return [f"--address={host}:{port}", *parameters]


def _unquoted(value: str) -> str:
    """A parameter as the shell of a container would pass it on."""
    words = shlex.split(str(value))
    return words[0] if len(words) == 1 else str(value)


class RayNode:
    """A real Ray node.

    Args:
        order: What to start.
        stop_seconds: How long its processes have to end by themselves.
    """

    def __init__(self, order: NodeOrder, stop_seconds: float = 1.0) -> None:
        self._order = order
        self._stop_seconds = stop_seconds
        self._pod_address = PodAddress(POD_PORTS)
        self._folder = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))
        self._block: PortBlock | None = None
        self._ports: dict[int, int] = {}
        self._open: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: int | None = None
        self._watcher: threading.Thread | None = None
        self._ending = threading.Event()

    @property
    def ip(self) -> str:
        """The pod's loopback address."""
        return self._pod_address.address

    def start(self) -> None:
        """Start the processes with fresh ports."""
        self._block = PortBlock(len(POD_PORTS))
        self._ports = dict(zip(POD_PORTS, self._block.ports, strict=True))
        self._open, self._ended = set(), None
        self._ending = threading.Event()
        parameters = start_parameters(self._order, self._ports, str(self._folder / "r"))
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *parameters]
        script = [sys.executable, "-S", str(ray_launcher.__file__)]
        launcher = [*script, str(self._stop_seconds), str(self._folder), *command]
        env = ray_environment(self._order, os.environ)
        if self._order.is_head:
            env["RAY_ADDRESS"] = f"{_HOST}:{self._ports[GCS_PORT]}"
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is a list made here
                launcher, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, cwd=self._start_folder
            )
        name = f"probe-{self._order.pod}"
        self._watcher = threading.Thread(target=self._probe, args=(self._process, self._ending), name=name, daemon=True)
        self._watcher.start()

    def poll(self) -> None:
        """Take over how the processes ended."""
        if self._process is not None and self._ended is None:
            code = self._process.poll()
            if code is not None:
                self._close_process()
                self._ended = _KILLED if code < 0 else code

    @property
    def gcs_open(self) -> bool:
        """Whether workers can join."""
        return GCS_PORT in self._open

    @property
    def ready(self) -> bool:
        """Whether a head accepts Ray clients, or a worker's agent listens."""
        return (CLIENT_PORT if self._order.is_head else AGENT_PORT) in self._open

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._ended

    def stop(self, grace_seconds: float) -> None:
        """End the processes: SIGTERM, then SIGKILL after `stop_seconds` (at most the pod's grace period)."""
        del grace_seconds
        self._ending.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        elif self._process is None:
            self._ended = 0

    def close(self) -> None:
        """End everything and remove the node's folder."""
        self.stop(0)
        if self._process is not None:
            try:
                self._process.wait(self._stop_seconds + 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._close_process()
        self._pod_address.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def address(self, port: int) -> tuple[str, int] | None:
        """Where one of Ray's ports of the pod listens now; other ports are not simulated."""
        return (_HOST, self._ports[port]) if port in self._open else None

    def log(self) -> str:
        """What `ray start` printed."""
        with contextlib.suppress(OSError), self._log_file.open("rb") as log:
            log.seek(max(0, self._log_file.stat().st_size - _LOG_BYTES))
            return log.read().decode(errors="replace")
        return ""

    @property
    def _start_folder(self) -> Path:
        wanted = Path(self._order.folder) if self._order.folder is not None else self._folder
        return wanted if wanted.is_dir() else self._folder

    @property
    def _log_file(self) -> Path:
        return self._folder / "container.log"

    def _close_process(self) -> None:
        self._ending.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        self._open = set()
        if self._block is not None:
            self._block.close()

    def _probe(self, process: "subprocess.Popen[bytes]", ending: threading.Event) -> None:
        """Open the pod's ports as the real ones open."""
        closed = list(self._served())
        while closed and not ending.wait(_PROBE_SECONDS) and process.poll() is None:
            for port in list(closed):
                place = (_HOST, self._ports[port])
                answers = speaks_http2(place, _PREFACE_SECONDS) if port == CLIENT_PORT else listens(place)
                if answers and not ending.is_set():
                    self._pod_address.open(port, place)
                    self._open = self._open | {port}
                    closed.remove(port)

    def _served(self) -> Iterator[int]:
        yield AGENT_PORT
        if self._order.is_head:
            yield from (GCS_PORT, DASHBOARD_PORT, CLIENT_PORT)

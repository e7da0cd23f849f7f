"""One Ray for the processes of a machine: how a step joins it, and how it leaves.

The cluster belongs to a process of its own (`_holder`). A step claims it by a connection to that process'
Unix socket; a file lock makes sure that only one step at a time starts such a process.
"""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dagster_ray.core import Deadline
from dagster_ray.core.errors import ConnectFailedError, NotReadyError
from dagster_ray.local._holder import FAILED, LEAVE, STAYS
from dagster_ray.local._step_environment import of_the_cluster, remove_dead_steps
from dagster_ray.local.errors import SharedClusterError

_HOLDER = Path(__file__).with_name("_holder.py")
_RETRY_SECONDS = 0.02
_LOG_TAIL_BYTES = 2000
# Holders that this process started: kept, because they may outlive every claim made here, and reaped when
# they have ended.
_launched: list[subprocess.Popen[bytes]] = []
# Connections of claims that were not released: a cluster that the lifecycle keeps lives as long as this process.
_held: set[socket.socket] = set()


@dataclass(frozen=True, slots=True)
class Claim:
    """A step's claim on a shared cluster. It ends with the process at the latest."""

    address: str
    """The `host:port` of the cluster's GCS."""
    auth_mode: str | None
    """The cluster's RAY_AUTH_MODE."""
    holder_pid: int
    folder: Path
    """Where the cluster's files are; only this user can enter it."""
    connection: socket.socket

    def release(self, deadline: Deadline, *, keep_logs: bool = False) -> None:
        """Give the claim up. Who is last waits until the cluster has stopped, or the deadline is over.

        Args:
            deadline: Ends the wait.
            keep_logs: Leave the folder of Ray's session, with its logs, when the cluster stops.
        """
        _held.discard(self.connection)
        with contextlib.closing(self.connection), contextlib.suppress(OSError):
            self.connection.settimeout(max(0.1, deadline.remaining_seconds()))
            self.connection.sendall(FAILED if keep_logs else LEAVE)
            if not self.connection.recv(len(STAYS)):  # the end of the stream: the cluster is gone
                _reap(deadline)


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one shared cluster."""

    socket: Path
    lock: Path
    log: Path

    @classmethod
    def of(cls, key: str, root: Path | None = None) -> "Place":
        """Return the files for a key, in a folder that only this user can enter.

        Raises:
            SharedClusterError: The folder belongs to somebody else, or others may enter it.
        """
        folder = (root or Path(tempfile.gettempdir())) / f"dagster-ray-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat(follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise SharedClusterError(f"{folder} is not a private folder of this user", f"remove {folder}")
        return cls(folder / f"{key}.sock", folder / f"{key}.lock", folder / f"{key}.log")


def claim_cluster(
    place: Place,
    options: Mapping[str, Any],
    *,
    temp_dir: str | None = None,
    keep_seconds: float,
    target: str,
    deadline: Deadline,
) -> Claim:
    """Join the cluster at `place`, and start it first if there is none.

    Args:
        place: Where to meet.
        options: Keyword arguments of `ray.init` for a cluster that is started.
        temp_dir: The folder of its sessions, if it gets one of its own.
        keep_seconds: How long a cluster that is started outlives its last claim.
        target: The resource's display name, for errors.
        deadline: Ends all waits.

    Raises:
        NotReadyError: The deadline passed.
        ConnectFailedError: The deadline passed, and Ray had given up its own start before.
        SharedClusterError: Ray could not be started.
    """
    settings = {"options": dict(options), "temp_dir": temp_dir, "keep_seconds": keep_seconds}
    remove_dead_steps(place.socket.parent)
    given_up: list[str] = []
    while not deadline.is_over():
        connection = _connected(place) or _started(place, settings, deadline)
        if connection is None:
            continue
        answer = _answer(connection, deadline)
        if "address" in answer:
            _held.add(connection)
            return Claim(answer["address"], answer["auth_mode"], answer["pid"], place.socket.parent, connection)
        connection.close()
        if answer.get("again"):
            given_up.append(answer["error"])
        elif "error" in answer:
            raise SharedClusterError(answer["error"], f"read {place.log}")
        deadline.sleep(_RETRY_SECONDS)  # it was about to stop
    if given_up:
        raise ConnectFailedError(target, "local", len(given_up), given_up[-1])
    raise NotReadyError(target, deadline.budget_seconds, f"no answer at {place.socket}")


def _connected(place: Place) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(place.socket))
    except OSError:  # no socket, or nobody behind it any more
        connection.close()
        return None
    return connection


def _started(place: Place, settings: Mapping[str, Any], deadline: Deadline) -> socket.socket | None:
    """Start the holder unless somebody else just did; return a connection, or None when the deadline is over."""
    try:
        with FileLock(place.lock).acquire(deadline.remaining_seconds(), poll_interval=_RETRY_SECONDS):
            if (connection := _connected(place)) is not None:
                return connection
            place.socket.unlink(missing_ok=True)
            process = _launch(place, settings)
            while deadline.sleep(_RETRY_SECONDS):
                if (connection := _connected(place)) is not None:
                    return connection
                if process.poll() is not None:
                    reason = f"its process ended with {process.returncode}. {_tail(place.log)}"
                    raise SharedClusterError(reason, f"read {place.log}")
    except Timeout:
        pass
    return None


def _launch(place: Place, settings: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start the holder in a session of its own, so that no signal to the step or its terminal reaches it.

    It gets no more of this step's environment than Ray needs: other steps' tasks will run below it.
    """
    command = [sys.executable, "-P", str(_HOLDER), str(place.socket), json.dumps(settings)]
    with place.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this Python, a file of this package, and JSON
            command,
            cwd=place.socket.parent,
            env=of_the_cluster(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _launched.append(process)
    return process


def _reap(deadline: Deadline) -> None:
    """Collect the exit status of those that have ended, so that no zombie stays; the newest may still be ending."""
    for process in list(_launched):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=min(1.0, deadline.remaining_seconds()) if process is _launched[-1] else 0)
            _launched.remove(process)


def _answer(connection: socket.socket, deadline: Deadline) -> dict[str, Any]:
    """Return what the holder says, which comes when Ray is up; {} if it ended without an answer."""
    received = b""
    try:
        while not received.endswith(b"\n"):
            connection.settimeout(max(0.01, deadline.remaining_seconds()))
            if not (data := connection.recv(65536)):
                return {}
            received += data
    except OSError:  # reset, or the deadline
        return {}
    return json.loads(received)


def _tail(log: Path) -> str:
    try:
        return log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    except OSError:
        return ""

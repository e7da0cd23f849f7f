"""The process that holds a shared cluster: `python _holder.py <socket> <settings>`.

Run as a file, so that it imports neither Dagster nor this package.

It starts Ray in itself, tells everybody who connects to its socket where Ray is, and ends Ray and itself
when the last connection is gone. A connection is a step's claim on the cluster: the kernel closes it when
the step's process dies, however it dies, so the count is always right. Ray's own processes die with this
one, however it dies, because `ray.init` starts them so (ray/_private/node.py, fate sharing).
"""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

# Time for the process that asked for the cluster to come for its answer; it may have died meanwhile.
FIRST_CLAIM_SECONDS = 10.0
LEAVE = b"leave\n"
FAILED = b"fails\n"
"""Leave, and keep Ray's logs: the step did not succeed."""
STAYS = b"stays\n"
# How Ray words that a node it has started was not up after its 30 s (ray/_private/node.py).
_NODE_TIMED_OUT = "The current node timed out during startup"


class Holder:
    """Counts the claims on one cluster."""

    def __init__(self, path: Path, keep_seconds: float) -> None:
        """Listen at `path`; keep the cluster `keep_seconds` after the last claim is gone."""
        self._path, self._keep_seconds = path, keep_seconds
        self._selector = selectors.DefaultSelector()
        self._leaving: socket.socket | None = None
        self.keeps_logs = False
        """Whether a step did not succeed, or died."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(socket.SOMAXCONN)
        self._listener.setblocking(False)

    def serve(self, answer: bytes) -> socket.socket | None:
        """Answer everybody who connects until nobody is left; return the last one, if it said that it leaves."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wait(FIRST_CLAIM_SECONDS, answer)
        while True:
            while self._claims():
                self._wait(None, answer)
            self._wait(self._keep_seconds, answer)
            if not self._claims():
                return self._leaving

    def close(self) -> None:
        """Stop listening. Whoever is not answered yet sees the end of the stream and asks for a new cluster."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # before the close: a successor binds only after a connect has failed
        self._listener.close()
        self._selector.close()

    def _claims(self) -> int:
        return len(self._selector.get_map()) - 1

    def _wait(self, seconds: float | None, answer: bytes) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                self._admit(answer)
            else:
                claim = key.fileobj
                assert isinstance(claim, socket.socket)  # noqa: S101 - only sockets are registered
                self._hear(claim)

    def _admit(self, answer: bytes) -> None:
        claim, _ = self._listener.accept()
        try:
            claim.sendall(answer)
        except OSError:  # it died while it waited
            claim.close()
        else:
            self._selector.register(claim, selectors.EVENT_READ)

    def _hear(self, claim: socket.socket) -> None:
        try:
            said = claim.recv(len(LEAVE))
        except OSError:
            said = b""
        self._selector.unregister(claim)
        self.keeps_logs |= said != LEAVE
        if said not in (LEAVE, FAILED):
            claim.close()
        elif self._claims() or self._keep_seconds:
            with contextlib.suppress(OSError):
                claim.sendall(STAYS)
            claim.close()
        else:
            self._leaving = claim  # it waits for the end of this process


def _start_ray(options: dict[str, Any], temp_dir: str | None) -> dict[str, Any]:
    """Start Ray, with a folder of its own if there is one (see _machine.py).

    Return the answer for everybody: where it is, or why it did not start.
    """
    import ray

    own = {} if temp_dir is None else {"_temp_dir": temp_dir}
    try:
        context: Any = ray.init(address="local", log_to_driver=False, **own, **options)
        if temp_dir is not None:
            Path(temp_dir, "ray_current_cluster").write_text(context.address_info["gcs_address"], encoding="utf-8")
    except Exception as error:  # noqa: BLE001 - goes to everybody who asked, as their error
        # Ray's processes end with this one, and whoever asked starts another, which is all that helps.
        again = _NODE_TIMED_OUT in str(error)
        return {"error": f"{type(error).__name__}: {error}", "again": again}
    return {
        "session_dir": context.address_info["session_dir"],
        "address": context.address_info["gcs_address"],
        "auth_mode": os.environ.get("RAY_AUTH_MODE"),
        "pid": os.getpid(),
    }


def _end_ray() -> None:
    """End Ray and wait until its processes are gone, so that the last step leaves nothing behind."""
    import ray

    try:
        ray.shutdown(wait_for_processes=True)
    except TypeError:  # Ray 2.46 has no such parameter; its processes end soon after
        ray.shutdown()


def remove_session(session: Path) -> None:
    """Remove the folder of Ray's session, and what points to it, once Ray has ended.

    It is renamed first: what is still ending finds no folder to write into.
    """
    gone, folder = session.with_name(f"removed_{session.name}"), session.parent
    with contextlib.suppress(OSError):
        session.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        if not any(path.is_dir() and not path.is_symlink() for path in folder.glob("session_*")):
            for name in ("session_latest", "ray_current_cluster"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def _end(_signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(path: str, settings: str) -> None:
    """Hold one cluster until nobody claims it."""
    wanted = json.loads(settings)
    holder = Holder(Path(path), wanted["keep_seconds"])
    last: socket.socket | None = None
    answer: dict[str, Any] = {"error": "it was ended before Ray had started"}
    try:
        answer = _start_ray(wanted["options"], wanted["temp_dir"])
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the run, not for its cluster
        last = holder.serve(json.dumps(answer).encode() + b"\n")
    finally:
        holder.close()
        _end_ray()
        if "error" not in answer:
            Path(path).with_suffix(".log").unlink(missing_ok=True)
            if wanted["temp_dir"] is not None and not holder.keeps_logs:
                remove_session(Path(answer["session_dir"]))
        if last is not None:
            last.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""Runs one command and ends everything it started: `python ray_launcher.py GRACE FOLDER command ...`.

Its standard input is a pipe that its parent holds. When the pipe ends (the parent closed it, or died of any signal) or
SIGTERM comes, the command gets SIGTERM and, after the grace period, all descendants get SIGKILL. When the pipe ended,
FOLDER is removed too: nobody else is left to do it. On Linux the launcher is a subreaper, so that daemons which left
the command's process group stay its descendants. Standard library only.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.1


def become_subreaper() -> None:
    """Let orphans among the descendants become children of this process (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> Iterator[int]:
    """Yield the process ids below one, children first."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))


def has_children() -> bool:
    """Collect children that ended, so that no zombies stay; return whether others are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill_descendants(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's group, then everything below this process until nothing is left.

    The kernel may leave a process out of a list of children while another one ends (proc(5)), so an empty list is no
    proof: that there is no child to wait for is one.
    """
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)  # here, so that its exit code is not collected as that of any child
    for _ in range(250):
        for pid in list(descendants(os.getpid())):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not has_children():
            return
        time.sleep(0.02)  # noqa: TID251 - a process of its own that imports nothing of this project


def main() -> int:
    """Run the command until it ends or the parent wants its end; return its exit code."""
    grace, folder, command = float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    wanted = {"end": False, "orphaned": False}

    def end(_number: int, _frame: object) -> None:
        wanted["end"] = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    become_subreaper()
    process = subprocess.Popen(  # noqa: S603 - the parent made the list
        command, stdin=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not wanted["end"]:
        readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
        wanted["orphaned"] = bool(readable and not os.read(0, 1024))
        wanted["end"] = wanted["end"] or wanted["orphaned"]
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    kill_descendants(process)
    if wanted["orphaned"]:
        shutil.rmtree(folder, ignore_errors=True)
    return process.returncode if process.returncode is not None else 137


if __name__ == "__main__":
    code = main()
    sys.exit(128 - code if code < 0 else code)

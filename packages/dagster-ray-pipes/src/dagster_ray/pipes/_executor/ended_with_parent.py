"""`dagster api execute_step` in a process that ends with the one which has started it.

`python -m dagster_ray.pipes._executor.ended_with_parent api execute_step`: its standard input is a pipe that nobody
writes to, and that closes when the other process ends in any way.
"""

import os
import signal
import sys
import threading


def main() -> None:
    """Be `dagster`, until standard input closes."""
    threading.Thread(target=_end_with_parent, args=(sys.stdin.fileno(),), name="end with parent", daemon=True).start()
    from dagster._cli import create_dagster_cli  # after the thread: it takes seconds

    create_dagster_cli()(auto_envvar_prefix="DAGSTER_CLI")


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)
    # What the step would write now is nobody's: the next worker of the run starts it again.
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

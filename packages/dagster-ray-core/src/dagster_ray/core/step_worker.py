"""Carry out one step of Dagster inside a Ray cluster: `python -m dagster_ray.core.step_worker FOLDER`.

Dagster's step process submits this as a Ray job; `FOLDER` names the package that holds the step as plain data. What
happens is written into a file of Ray's log folder, one line for each event, which the step's process reads.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from dagster_ray.core.cluster_step.reference import FILE_NAME, StepReference, unpacked
from dagster_ray.core.cluster_step.worker import carry_out

_EXIT_SECONDS = 15.0


def find_reference(folder: str, path: Sequence[str]) -> StepReference:
    """Return the step whose package Ray has put on the path of modules.

    Args:
        folder: The package's name.
        path: Where Python looks for modules.

    Raises:
        FileNotFoundError: There is none.
    """
    for entry in path:
        file = Path(entry) / folder / FILE_NAME
        if file.is_file():
            return unpacked(file.read_bytes())
    msg = f"no {folder}/{FILE_NAME} on the path of modules; Ray's runtime environment has not brought it"
    raise FileNotFoundError(msg)


def _end_soon(status: int) -> None:
    """End the process even if a thread of the body or of Ray never does: all that matters is written."""

    def end() -> None:
        faulthandler.dump_traceback()  # what hangs shows in the job's log
        os._exit(status)

    timer = threading.Timer(_EXIT_SECONDS, end)
    timer.daemon = True
    timer.start()


def main(folder: str) -> int:
    """Return 0 if the step has ended by events of its own, whatever they say."""
    status = carry_out(find_reference(folder, sys.path))
    sys.stdout.flush()
    sys.stderr.flush()
    _end_soon(status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

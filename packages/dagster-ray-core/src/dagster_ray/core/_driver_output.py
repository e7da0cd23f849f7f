"""Wait at the end of a step until what its remote tasks printed has reached this process."""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import sys
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from dagster_ray.core._deadline import Deadline

# ray/_private/log_monitor.py looks for new log files every 0.5 s and for new lines every 0.1 s.
_QUIET_SECONDS = 0.7


class _WatchedStream:
    """A text stream that passes everything on except the line with the mark, and notes what it saw."""

    def __init__(self, stream: TextIO, mark: str, wrote: threading.Event) -> None:
        self._stream, self._mark, self._wrote = stream, mark, wrote
        self._skip_newline = False
        self.marked = False

    def write(self, text: str) -> int:
        self._wrote.set()
        if self._mark in text:
            self.marked = True
            self._skip_newline = not text.endswith("\n")  # print() writes text and newline apart
            return len(text)
        skip, self._skip_newline = self._skip_newline and text == "\n", False
        return len(text) if skip else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _watch_output(mark: str) -> Generator[tuple[_WatchedStream, threading.Event]]:
    """Watch stdout for the mark, and stdout and stderr for anything at all."""
    wrote = threading.Event()
    out, err = sys.stdout, sys.stderr
    watched = _WatchedStream(out, mark, wrote)
    sys.stdout = cast("TextIO", watched)
    sys.stderr = cast("TextIO", _WatchedStream(err, mark, wrote))
    try:
        yield watched, wrote
    finally:
        sys.stdout, sys.stderr = out, err


def drain_task_output(budget_seconds: float) -> bool:
    """Wait until what remote tasks have printed so far has reached this process.

    Ray carries prints to the driver with a delay, and what is under way at `ray.shutdown` is lost. A task
    prints a mark; when the mark is here and nothing more came for as long as Ray takes to look at all its
    log files, everything printed before is here too.

    Args:
        budget_seconds: Longest wait, in seconds.

    Returns:
        Whether everything arrived in time; not if the connection is lost.
    """
    import ray

    if not ray.is_initialized():
        return False
    mark = f"dagster-ray-{uuid.uuid4().hex}"

    def print_mark() -> None:  # nested, so that it travels by value: the cluster has no dagster-ray
        print(mark)  # noqa: T201

    deadline = Deadline(budget_seconds)
    with _watch_output(mark) as (watched, wrote):
        task: Any = ray.remote(num_cpus=0, max_retries=0)(print_mark)
        ray.wait([task.remote()], timeout=deadline.remaining_seconds())
        while not deadline.is_over():
            wrote.clear()
            came = wrote.wait(min(_QUIET_SECONDS, deadline.remaining_seconds()))
            if watched.marked and not came:
                return True
    return False

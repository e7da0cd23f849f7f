"""Whether everything that remote tasks printed has reached the driver.

Ray writes what a worker prints to a file of that worker; its log monitor reads the files and publishes the
lines to the driver, with a delay. `ray.shutdown` drops what is under way. On one machine the files can be
read, so the wait ends exactly when as many lines have arrived as were printed.
"""

import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from dagster_ray.core import Deadline

# ray/_private/log_monitor.py: WORKER_LOG_PATTERN and the names that LogMonitor gives to the streams.
_FILE = re.compile(r"worker-[0-9a-f]+-(?P<job>[0-9a-f]*)-(?P<pid>\d+)\.(?P<stream>out|err)")
# ray/_private/ray_constants.py: LOG_PREFIX_*; such lines tell the log monitor something and are not printed.
_JOB = b":job_id:"
_NOT_PRINTED = (b":actor_name:", b":task_name:", _JOB)
_LOOK_SECONDS = 0.05

Stream: TypeAlias = tuple[str, bool]
"""A worker's process id, and whether it is its stderr."""


@dataclass(slots=True)
class WorkerFile:
    """Counts the lines in one worker's file that belong to one job, whatever the cuts between reads."""

    job_of_file: str
    """The job in the file's name; a worker that started before it got a job has another one there."""
    wanted_job: str
    printed: int = 0
    position: int = 0
    _partial: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take the bytes that follow those taken before."""
        self.position += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if line.startswith(_JOB):
                self.job_of_file = line.removeprefix(_JOB).strip().decode("ascii", "replace")
            elif not line.startswith(_NOT_PRINTED) and self.job_of_file == self.wanted_job:
                self.printed += 1


@dataclass(slots=True)
class TaskOutput:
    """Counts the lines that arrive from remote tasks. Start it before the driver connects."""

    arrived: Counter[Stream] = field(default_factory=Counter[Stream])
    _came: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Count every batch that Ray gives to the driver's standard streams."""
        _dispatcher().add_handler(self._name, self._take)

    def stop(self) -> None:
        """Stop counting."""
        _dispatcher().remove_handler(self._name)

    @property
    def _name(self) -> str:
        return f"dagster_ray_{id(self)}"

    def _take(self, batch: Mapping[str, Any]) -> None:
        self.arrived[str(batch.get("pid")), bool(batch.get("is_err"))] += len(batch.get("lines", ()))
        self._came.set()

    def wait_for_all(self, logs: Path, job_id: str, deadline: Deadline) -> bool:
        """Wait until all lines in the workers' files have arrived; return whether they did in time.

        Args:
            logs: The folder of the session's log files.
            job_id: Ray's id of the driver's job, in hexadecimal digits.
            deadline: Ends the wait.
        """
        files: dict[Path, WorkerFile] = {}
        while True:
            self._came.clear()
            printed = _printed(logs, job_id, files)
            if all(self.arrived[stream] >= lines for stream, lines in printed.items()):
                return True
            if deadline.is_over():
                return False
            self._came.wait(min(_LOOK_SECONDS, deadline.remaining_seconds()))


def _printed(logs: Path, job_id: str, files: dict[Path, WorkerFile]) -> Counter[Stream]:
    """Return how many lines each worker has printed for the job, reading on where the last call stopped."""
    printed: Counter[Stream] = Counter()
    for path in logs.glob("worker-*"):
        if (name := _FILE.fullmatch(path.name)) is None:
            continue
        file = files.setdefault(path, WorkerFile(name["job"], job_id))
        with path.open("rb") as stream:
            stream.seek(file.position)
            while data := stream.read(1 << 20):
                file.feed(data)
        if file.printed:
            printed[name["pid"], name["stream"] == "err"] += file.printed
    return printed


def _dispatcher() -> Any:
    from ray._private.ray_logging import global_worker_stdstream_dispatcher

    return global_worker_stdstream_dispatcher

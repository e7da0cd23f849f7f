"""Whether everything that remote tasks printed has reached the driver.

Ray writes what a worker prints to a file of that worker; its log monitor reads the files and publishes what it finds to
the driver, with a delay. `ray.shutdown` drops what is under way. On one machine the files can be read, so the wait
ends when as much has arrived as was printed.

Lines alone do not tell that: the monitor publishes an unfinished line, such as a progress bar, in as many pieces as it
happens to read (`readline` in ray/_private/log_monitor.py), and each piece arrives as a line. So characters count too.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from dagster_ray.core import Deadline

# ray/_private/log_monitor.py: WORKER_LOG_PATTERN and the names that LogMonitor gives to the streams.
_FILE = re.compile(r"worker-[0-9a-f]+-(?P<job>[0-9a-f]*)-(?P<pid>\d+)\.(?P<stream>out|err)")
# ray/_private/ray_constants.py: LOG_PREFIX_*; they tell the log monitor something and are not printed. After an
# unfinished line they stand in the middle of one, which the monitor may or may not have cut there.
_MARK = re.compile(rb":(?:actor_name|task_name|job_id):")
_JOB = b":job_id:"
_LONGEST_MARK = len(b":actor_name:")
_LOOK_SECONDS = 0.05

Stream: TypeAlias = tuple[str, bool]
"""A worker's process id, and whether it is its stderr."""


@dataclass(slots=True)
class Amount:
    """How much was printed, or has arrived, by measures that do not depend on where a text was cut."""

    lines: int = 0
    ascii: int = 0
    """Characters of ASCII without line ends: a cut never changes them."""
    others: int = 0
    """Other characters. A cut within one makes several of it, so of these more may arrive than were printed."""

    def add(self, other: "Amount") -> None:
        """Count another amount in."""
        self.lines += other.lines
        self.ascii += other.ascii
        self.others += other.others

    def covers(self, other: "Amount") -> bool:
        """Return whether this is at least as much by every measure."""
        return self.lines >= other.lines and self.ascii >= other.ascii and self.others >= other.others


def printed_amount(data: bytes) -> Amount:
    """Return how much the bytes of a worker's file are, apart from their lines."""
    ends = data.count(b"\n") + data.count(b"\r")
    beyond = sum(byte >= 0x80 for byte in data) if not data.isascii() else 0
    # The first byte of each character of UTF-8; other bytes come out as replacements, which count as a surplus.
    first = sum(byte >= 0xC0 for byte in data) if beyond else 0
    return Amount(0, len(data) - beyond - ends, first)


def arrived_amount(lines: tuple[str, ...]) -> Amount:
    """Return how much the lines of one batch are."""
    found = Amount(len(lines))
    for line in lines:
        ends = line.count("\n") + line.count("\r")
        beyond = 0 if line.isascii() else sum(character >= "\x80" for character in line)
        found.add(Amount(0, len(line) - beyond - ends, beyond))
    return found


@dataclass(slots=True)
class WorkerFile:
    """Measures what one worker's file has of one job, whatever the cuts between reads."""

    job_of_file: str
    """The job in the file's name; a worker that started before it got a job has another one there."""
    wanted_job: str
    printed: Amount = field(default_factory=Amount)
    position: int = 0
    _partial: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take the bytes that follow those taken before."""
        self.position += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(line, self.printed)

    def printed_so_far(self) -> Amount:
        """Return what was printed, with a last line that has no end yet: the monitor publishes that too."""
        found = Amount()
        found.add(self.printed)
        unfinished, job = self._partial, self.job_of_file
        if unfinished and not _may_begin_a_mark(unfinished):
            self._take(unfinished, found)
            self.job_of_file = job  # its end may say something else
        return found

    def _take(self, line: bytes, into: Amount) -> None:
        mark = _MARK.search(line)
        text = line if mark is None else line[: mark.start()]
        is_printed = mark is None or mark.start() > 0
        if is_printed and self.job_of_file == self.wanted_job:
            amount = printed_amount(text)
            amount.lines = 1
            into.add(amount)
        if mark is not None and mark[0] == _JOB:
            self.job_of_file = line[mark.end() :].strip().decode("ascii", "replace")


def _may_begin_a_mark(unfinished: bytes) -> bool:
    """Return whether the end of a text may be the beginning of one of Ray's marks."""
    tail = unfinished[-_LONGEST_MARK:]
    marks = (b":actor_name:", b":task_name:", _JOB)
    return any(mark.startswith(tail[start:]) for start in range(len(tail)) for mark in marks if tail[start:])


@dataclass(slots=True)
class TaskOutput:
    """Measures what arrives from remote tasks. Start it before the driver connects."""

    arrived: dict[Stream, Amount] = field(default_factory=dict[Stream, Amount])
    _came: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Measure every batch that Ray gives to the driver's standard streams."""
        _dispatcher().add_handler(self._name, self.take)

    def stop(self) -> None:
        """Stop measuring."""
        _dispatcher().remove_handler(self._name)

    @property
    def _name(self) -> str:
        return f"dagster_ray_{id(self)}"

    def take(self, batch: Mapping[str, Any]) -> None:
        """Take one batch, in the shape in which Ray's log monitor publishes it."""
        stream = str(batch.get("pid")), bool(batch.get("is_err"))
        lines = tuple(str(line) for line in batch.get("lines", ()))
        self.arrived.setdefault(stream, Amount()).add(arrived_amount(lines))
        self._came.set()

    def wait_for_all(self, logs: Path, job_id: str, deadline: Deadline) -> bool:
        """Wait until everything in the workers' files has arrived; return whether it did in time.

        Args:
            logs: The folder of the session's log files.
            job_id: Ray's id of the driver's job, in hexadecimal digits.
            deadline: Ends the wait.
        """
        files: dict[Path, WorkerFile] = {}
        while True:
            self._came.clear()
            printed = _printed(logs, job_id, files)
            nothing = Amount()
            if all(self.arrived.get(stream, nothing).covers(amount) for stream, amount in printed.items()):
                return True
            if deadline.is_over():
                return False
            self._came.wait(min(_LOOK_SECONDS, deadline.remaining_seconds()))


def _printed(logs: Path, job_id: str, files: dict[Path, WorkerFile]) -> dict[Stream, Amount]:
    """Return how much each worker has printed for the job, reading on where the last call stopped."""
    printed: dict[Stream, Amount] = {}
    for path in logs.glob("worker-*"):
        if (name := _FILE.fullmatch(path.name)) is None:
            continue
        file = files.setdefault(path, WorkerFile(name["job"], job_id))
        with path.open("rb") as stream:
            stream.seek(file.position)
            while data := stream.read(1 << 20):
                file.feed(data)
        printed.setdefault((name["pid"], name["stream"] == "err"), Amount()).add(file.printed_so_far())
    return printed


def _dispatcher() -> Any:
    from ray._private.ray_logging import global_worker_stdstream_dispatcher

    return global_worker_stdstream_dispatcher

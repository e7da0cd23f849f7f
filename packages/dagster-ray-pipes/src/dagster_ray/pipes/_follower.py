"""Follows a job to its end: its status, and its files, in one thread."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_ray.pipes._agent import Agent, AgentRoute, may_have_token
from dagster_ray.pipes._job_answers import JobDetails, log_name, node_is_dead
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._job_file import JobFile
from dagster_ray.pipes._sinks import Sink
from dagster_ray.pipes._sources import SourceUnavailableError
from dagster_ray.pipes.errors import (
    JobLostError,
    JobNotFoundError,
    JobServerAnswerError,
    JobServerRefusedError,
    JobServerUnavailableError,
)

READ_SECONDS = 0.1
STATUS_SECONDS = 0.5
_STATUS_CALL_SECONDS = 5.0
_NODES_CALL_SECONDS = 30.0
_UNREADABLE_SECONDS = 10.0
_JOIN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is missing is waited for.

    Attributes:
        server_seconds: A job server that does not answer while the job runs.
        drain_seconds: Files that cannot be read to their end after the job has ended.
    """

    server_seconds: float = 1800.0
    drain_seconds: float = 60.0


@dataclass(slots=True)
class _Followed:
    """A file, what takes its bytes, and how often nothing followed since the job's end."""

    name: str
    sink: Sink
    file: JobFile | None = None
    quiet: int = 0


@dataclass(slots=True)
class _Seen:
    """What is known of the job."""

    details: JobDetails | None = None
    server_since: float = field(default_factory=time.monotonic)
    readable_since: float = field(default_factory=time.monotonic)
    running_at: float | None = None


class JobFollower:
    """Reads a job's files while it runs and until they are drained after its end.

    The job has ended when its status says so; its files are drained when twice nothing followed after that. Nothing
    else counts as an end, since Ray's own streams end without a reason (run with Ray 2.60).
    """

    def __init__(
        self,
        client: RayJobClient,
        files: Mapping[str, Sink],
        patience: Patience,
        route: AgentRoute = lambda url: url,
        *,
        trusts_agents: bool = False,
    ) -> None:
        """Take the job server's client, what takes the bytes of each file, the way to agents, and whether it is safe.

        Ray's token goes to agents only if `trusts_agents`, or if they are on the dashboard's machine.
        """
        self._client, self._patience, self._route = client, patience, route
        self._trusts_agents = trusts_agents
        self._agent: Agent | None = None
        self._files: Sequence[_Followed] = [_Followed(name, sink) for name, sink in files.items()]
        self._seen = _Seen()
        self._submission_id = ""
        self._closing, self._over, self._drained = threading.Event(), threading.Event(), threading.Event()
        self._status_due = 0.0
        self._ended_at: float | None = None
        self._read_to_end = False
        self._thread: threading.Thread | None = None
        self.started_at = time.monotonic()
        self.error: Exception | None = None
        self.unread = ""

    @property
    def details(self) -> JobDetails | None:
        """What the server said last."""
        return self._seen.details

    @property
    def running_at(self) -> float | None:
        """When the job was first seen running or ended, as a monotonic time."""
        return self._seen.running_at

    @property
    def submission_id(self) -> str:
        """The job that is followed."""
        return self._submission_id

    @property
    def is_read(self) -> bool:
        """Whether nothing more will come: the files are read to their end, or can no longer be read."""
        return self._drained.is_set()

    def start(self, submission_id: str) -> None:
        """Begin to follow a job that was submitted."""
        self._submission_id = submission_id
        self.started_at = self._seen.server_since = self._seen.readable_since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"follow ray job {submission_id}", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the job's end, or for an error that ends the following. Interruptible.

        Returns:
            Whether it has come.
        """
        return self._over.wait(seconds)

    def wait_drained(self) -> bool:
        """Wait, after the job's end, until its files are read; bounded by the patience for it. Interruptible.

        Returns:
            Whether they were read to their end; else `unread` says why not.
        """
        self._drained.wait(self._patience.drain_seconds + _JOIN_SECONDS)
        return not self.unread and self.error is None

    def close(self) -> None:
        """End the thread and its connections."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    # The thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set() and not self._read_to_end:
                self._look()
                if not self._read():
                    self._closing.wait(READ_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, the step must hear of it
            self.error = error
        try:
            self._end_files()
        finally:  # the step waits for these, whatever the last lines meet
            if self._agent is not None:
                self._agent.close()
            self._client.server.end_thread()
            self._over.set()
            self._drained.set()

    def _end_files(self) -> None:
        """Give out the last lines of each file, and close it; trouble with one does not keep back the next."""
        for followed in self._files:
            try:
                followed.sink.end()
                if followed.file is not None:
                    followed.file.close()
            except Exception as error:  # noqa: BLE001 - as above
                self.error = self.error or error

    def _look(self) -> None:
        """Ask for the job's status, if it is time to."""
        now = time.monotonic()
        if now < self._status_due or self._ended_at is not None:
            return
        try:
            details = self._client.details(self._submission_id, timeout=_STATUS_CALL_SECONDS)
        except (JobServerUnavailableError, JobServerAnswerError, JobServerRefusedError) as error:
            seconds = now - self._seen.server_since
            if seconds > self._patience.server_seconds:
                address, call = self._client.address, f"the status of {self._submission_id}"
                raise JobServerUnavailableError(address, call, seconds, error.problem, "server_timeout") from error
            return
        except JobNotFoundError as error:
            reason = "its cluster has forgotten it, as a head does that was restarted"
            raise JobLostError(self._submission_id, self._client.address, reason) from error
        finally:
            self._status_due = time.monotonic() + STATUS_SECONDS
        self._seen.details, self._seen.server_since = details, time.monotonic()
        if details.status != "PENDING" and self._seen.running_at is None:
            self._seen.running_at = time.monotonic()
        if details.is_over:
            self._ended_at = time.monotonic()
            self._over.set()

    def _read(self) -> bool:
        """Read each file once; return whether something followed."""
        details = self._seen.details
        if details is None or details.node_id is None:
            if self._ended_at is not None:
                self._end_of_reading("")  # it has never had a node, so there is no file
            return False
        followed_anything = False
        reasons: list[str] = []
        for followed in self._files:
            try:
                followed_anything |= self._read_file(followed, details)
            except SourceUnavailableError as error:
                reasons.append(f"{followed.name}: {error}")
        self._judge(details, reasons)
        return followed_anything

    def _read_file(self, followed: _Followed, details: JobDetails) -> bool:
        if followed.file is None:
            self._agent = self._agent or self._agent_of(details)
            followed.file = JobFile(self._client.server, self._agent, details, followed.name)
        over = self._ended_at is not None
        data = followed.file.read(followed.sink.position, to_end=over)
        followed.quiet = followed.quiet + 1 if over and not data else 0
        followed.sink.take(data)
        return bool(data)

    def _agent_of(self, details: JobDetails) -> Agent | None:
        url = None if details.agent_address is None else self._route(details.agent_address)
        if url is None:
            return None
        is_safe = self._trusts_agents or may_have_token(self._client.address, url)
        return Agent(url, self._client.connection.token if is_safe else None, log_name(self._submission_id))

    def _judge(self, details: JobDetails, reasons: Sequence[str]) -> None:
        now = time.monotonic()
        if not reasons:
            self._seen.readable_since = now
            if all(followed.quiet >= 2 for followed in self._files):
                self._end_of_reading("")
        elif self._ended_at is not None:
            if now - max(self._ended_at, self._seen.readable_since) > self._patience.drain_seconds:
                self._end_of_reading("; ".join(reasons))
        elif now - self._seen.readable_since > _UNREADABLE_SECONDS:
            self._check_node(details)
            self._seen.readable_since = now

    def _check_node(self, details: JobDetails) -> None:
        """Raise if the driver's node is dead."""
        try:
            nodes = self._client.nodes(timeout=_NODES_CALL_SECONDS) or ()
        except (JobServerUnavailableError, JobServerRefusedError):
            return
        if node_is_dead(details.node_id, nodes):
            reason = f"the node {details.node_id} of its driver is dead"
            raise JobLostError(self._submission_id, self._client.address, reason)

    def _end_of_reading(self, unread: str) -> None:
        self.unread, self._read_to_end = unread, True

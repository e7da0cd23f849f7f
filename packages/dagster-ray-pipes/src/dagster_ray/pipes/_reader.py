"""`PipesRayJobMessageReader`: the messages and the log of one Ray job, for one Pipes session."""

import sys
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from dagster import PipesMessageReader
from dagster_pipes import PipesDefaultMessageWriter
from typing_extensions import override

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError, InvalidFieldError
from dagster_ray.pipes._agent import AgentRoute
from dagster_ray.pipes._follower import JobFollower, Patience
from dagster_ray.pipes._job_answers import Node, log_name
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._messages import Delivered, LogLine
from dagster_ray.pipes._sinks import LogSink, MessageSink, MessageTaker, Sink, StepOutput, Tail

if TYPE_CHECKING:
    from dagster import PipesMessageHandler
    from dagster._core.pipes.context import PipesLaunchedData
    from dagster_pipes import PipesParams

MessageChannel = Literal["auto", "file", "log"]
_HEAD_SECONDS, _PAUSE_SECONDS = 20.0, 0.5
STDIO = {PipesDefaultMessageWriter.STDIO_KEY: PipesDefaultMessageWriter.STDERR}


def message_file(client: RayJobClient, channel: MessageChannel, name: str) -> str | None:
    """Return where a job writes its messages; None if they travel in its log.

    The folder is that of the head's session, which each node of a cluster has under the same path.

    Args:
        client: The job server.
        channel: auto: a file where the dashboard tells its folder, else the log.
        name: Part of the file's name, unique in the cluster.

    Raises:
        InvalidFieldError: A file is asked for, and the dashboard does not report where.
    """
    if channel == "log":
        return None
    folder = head_log_folder(client)
    if folder is None:
        if channel == "file":
            reason = "is `file`, but the dashboard does not report Ray's folder"
            raise InvalidFieldError("message_channel", reason, "leave it out, so that messages travel in the job's log")
        return None
    return f"{folder}/dagster-pipes-{name}.jsonl"


def head_log_folder(client: RayJobClient) -> str | None:
    """Return the log folder of the head's session, which each node has under this path; None if it is not told."""
    deadline = Deadline(_HEAD_SECONDS)
    heads = _heads(client)
    while heads == [] and deadline.sleep(_PAUSE_SECONDS):  # a head that has just started is not in its own list yet
        heads = _heads(client)
    folders = [head.session_dir for head in heads or [] if head.session_dir]
    return f"{folders[0]}/logs" if folders else None


def _heads(client: RayJobClient) -> list[Node] | None:
    nodes = client.nodes()
    return None if nodes is None else [node for node in nodes if node.is_head]


class PipesRayJobMessageReader(PipesMessageReader):
    """Reads the Pipes messages and the log of one Ray job, each byte once, and writes the log to stdout.

    Messages travel in a file of their own in Ray's log folder, so that no output can tear them. Use one reader for one
    session:

        reader = PipesRayJobMessageReader(client)
        with open_pipes_session(context, PipesEnvContextInjector(), reader) as session:
            job = client.submit(entrypoint=..., runtime_env={"env_vars": dict(session.get_bootstrap_env_vars())})
            session.report_launched({"extras": {"submission_id": job}})

    When the session is left, it waits for the job's end and for its last byte. `PipesRayJobClient` does all this.

    Args:
        client: The job server.
        message_channel: file: a file in Ray's log folder. log: the driver's log, together with its other output.
            auto: the file if the dashboard reports the folder, else the log.
        forward_logs: Whether the driver's log goes to stdout, which Dagster keeps as the compute log of the step.
        patience: How long a server, and the last bytes, are waited for.
        route: Where an agent of the cluster is reached from here, by its URL in the cluster.
        trusts_agents: Whether Ray's token may go to what is reached there. Otherwise it goes only to agents on the
            machine of the dashboard.
        file: Where the job writes its messages, if that is decided already; empty: its log.
        delivered: Log messages that were delivered before, by an earlier attempt of the step.
    """

    def __init__(
        self,
        client: RayJobClient,
        *,
        message_channel: MessageChannel = "auto",
        forward_logs: bool = True,
        patience: Patience | None = None,
        route: AgentRoute = lambda url: url,
        trusts_agents: bool = False,
        file: str | None = None,
        delivered: Iterable[LogLine] = (),
    ) -> None:
        """Take the job server; nothing is asked yet."""
        self._client, self._forward_logs = client, forward_logs
        self._channel: MessageChannel = message_channel
        self._patience, self._route, self._file = patience or Patience(), route, file
        self._trusts_agents = trusts_agents
        self._delivered = Delivered(delivered)
        self._follower: JobFollower | None = None
        self._handler: PipesMessageHandler | None = None
        self.tail, self.output = Tail(), StepOutput()

    @property
    def follower(self) -> JobFollower:
        """What follows the job; there is one once the job was reported as launched."""
        if self._follower is None:
            advice = "call `session.report_launched` with it, in the extras of the payload"
            raise InvalidFieldError("submission_id", "was not reported", advice)
        return self._follower

    @property
    def file(self) -> str:
        """Where the job writes its messages; empty if they travel in its log."""
        return self._file or ""

    @property
    def opened(self) -> bool:
        """Whether the job has opened its Pipes session."""
        return self._handler is not None and self._handler.received_opened_message

    @property
    def closed(self) -> bool:
        """Whether the job has closed its Pipes session."""
        return self._handler is not None and self._handler.received_closed_message

    @contextmanager
    @override
    def read_messages(self, handler: "PipesMessageHandler") -> "Generator[PipesParams]":
        """Yield where the job must write its messages; at the end, wait for the last of them.

        Raises:
            InvalidFieldError: The reader serves a session already.
            DagsterRayError: The job's end cannot be known.
        """
        if self._handler is not None:
            raise InvalidFieldError("message_reader", "already serves a session", "make one reader for each session")
        self._handler = handler
        if self._file is None:
            self._file = message_file(self._client, self._channel, uuid.uuid4().hex[:16]) or ""
        try:
            yield {PipesDefaultMessageWriter.FILE_PATH_KEY: self._file} if self._file else dict(STDIO)
            self._finish()
        finally:
            if self._follower is not None:
                self._follower.close()

    @override
    def on_launched(self, launched_payload: "PipesLaunchedData") -> None:
        """Begin to follow the job whose `submission_id` is in the payload's extras.

        Raises:
            InvalidFieldError: The payload names none.
        """
        submission_id: Any = launched_payload.get("extras", {}).get("submission_id")
        if not isinstance(submission_id, str):
            raise InvalidFieldError("submission_id", "is missing in the extras of the launched payload", "add it there")
        if self._follower is not None or self._handler is None:
            return
        files = self._files(submission_id, self._handler)
        self._follower = JobFollower(
            self._client, files, self._patience, self._route, trusts_agents=self._trusts_agents
        )
        self._follower.start(submission_id)

    def _files(self, submission_id: str, handler: "PipesMessageHandler") -> dict[str, Sink]:
        taker = MessageTaker(handler, self._delivered, self.output, self._problem(handler))
        write: Callable[[str], None] = self.output.write if self._forward_logs else _discard
        log = log_name(submission_id)
        if not self._file:
            return {log: MessageSink(taker, write, self.tail)}
        return {
            PurePosixPath(self._file).name: MessageSink(taker, self.output.write, Tail(), dedicated=True),
            log: LogSink(write, self.tail),
        }

    def _problem(self, handler: "PipesMessageHandler") -> Callable[[Exception], None]:
        def report(error: Exception) -> None:
            handler.report_pipes_framework_exception("PipesRayJobMessageReader", sys.exc_info())
            del error

        return report

    def _finish(self) -> None:
        """Wait for the job's end and its last byte."""
        if self._follower is None:
            return
        while not self._follower.wait(1.0):
            pass
        self._follower.wait_drained()
        if isinstance(self._follower.error, DagsterRayError):
            raise self._follower.error

    @property
    def expected_writer_count(self) -> int:
        """One writer: the job. Dagster's own property says the same, with a warning that it is a preview."""
        return 1

    @override
    def no_messages_debug_text(self) -> str:
        """Say where messages were looked for."""
        where = f"in {self._file} on the driver's node" if self._file else "in the driver's log"
        unread = "" if self._follower is None or not self._follower.unread else f" ({self._follower.unread})"
        return (
            f"Messages were expected {where}{unread}. The job must call open_dagster_pipes with its default message "
            "writer, and dagster-pipes must be installed in its environment."
        )


def _discard(text: str) -> None:
    del text

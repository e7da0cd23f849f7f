"""What becomes of the bytes of a job's files: text for the compute logs, messages for the Pipes session."""

import json
import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO, cast

from typing_extensions import Protocol

from dagster_ray.core import safe_log
from dagster_ray.pipes._cursor import LineCursor, TextCursor
from dagster_ray.pipes._messages import Delivered, Message, has_message, read_line, stream_text

if TYPE_CHECKING:
    from dagster._core.pipes.context import PipesMessageHandler
    from dagster_pipes import PipesMessage

_log = safe_log(logging.getLogger("dagster_ray"))

LAST_LINES = 20
_SHOWN_CHARACTERS = 4096
_LAST_TEXT = 16384


class Sink(Protocol):
    """Takes a file's bytes, once and in order."""

    @property
    def position(self) -> int:
        """The next byte of the file that is wanted."""
        ...

    def take(self, data: bytes) -> None:
        """Take the bytes at `position`."""
        ...

    def end(self) -> None:
        """Give out what is left; nothing follows."""
        ...


class StepOutput:
    """This process's stdout and stderr, which Dagster captures as the step's compute logs.

    A disk that is full, a stream that is closed here or on its other side, or a character that its encoding lacks
    costs text and ends nothing: the job does not depend on where its log is shown.
    """

    def __init__(self) -> None:
        """Begin without an error."""
        self.error: Exception | None = None
        """Why the first text that is missing could not be written."""

    def write(self, text: str, stream: str = "stdout") -> None:
        """Write text; characters that the stream's encoding lacks are replaced.

        Args:
            text: The text.
            stream: stdout or stderr.
        """
        try:
            target: TextIO = sys.stderr if stream == "stderr" else sys.stdout
            try:
                target.write(text)
            except UnicodeEncodeError:
                encoding = target.encoding or "ascii"
                target.write(text.encode(encoding, "replace").decode(encoding))
            target.flush()
        except Exception as error:  # noqa: BLE001 - a stream can be of any class: None, closed, replaced by a library
            self.error = self.error or error


class Tail:
    """The last lines of a log, for an error."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._text: deque[str] = deque()
        self._size = 0

    def add(self, text: str) -> None:
        """Add text; what is older than the last lines is forgotten."""
        kept = text[-_LAST_TEXT:]
        self._text.append(kept)
        self._size += len(kept)
        while len(self._text) > 1 and self._size - len(self._text[0]) >= _LAST_TEXT:
            self._size -= len(self._text.popleft())

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines that are not empty, at most 20."""
        found = "".join(self._text).replace("\r", "\n").split("\n")
        return tuple(line[-500:] for line in found if line.strip())[-LAST_LINES:]


class LogSink:
    """Text that goes to the compute logs as it is."""

    def __init__(self, write: Callable[[str], None], tail: Tail) -> None:
        """Take where text goes, and what remembers its end."""
        self._write, self._tail, self._cursor = write, tail, TextCursor()

    @property
    def position(self) -> int:
        """The next byte of the file that is wanted."""
        return self._cursor.position

    def take(self, data: bytes) -> None:
        """Write what may be shown of the bytes at `position`."""
        self._cursor, text = self._cursor.feed(data)
        self._give(text)

    def end(self) -> None:
        """Write what is left."""
        self._cursor, text = self._cursor.end()
        self._give(text if not text or text.endswith("\n") else text + "\n")

    def _give(self, text: str) -> None:
        if text:
            self._tail.add(text)
            self._write(text)


class MessageTaker:
    """Hands messages to the Pipes session, each once."""

    def __init__(
        self,
        handler: "PipesMessageHandler",
        delivered: Delivered,
        output: StepOutput,
        failed: Callable[[Exception], None],
    ) -> None:
        """Take the session's handler, what was delivered before, the step's output, and who is told of failures."""
        self._handler, self._delivered, self._output, self._failed = handler, delivered, output, failed

    def take(self, message: Message) -> None:
        """Deliver a message. One that Dagster refuses does not stop the others."""
        if self._delivered.skips(message):
            return
        if (text := stream_text(message)) is not None:
            self._output.write(*text)  # Dagster writes to the stream itself, and loses what the stream refuses
            return
        try:
            self._handler.handle_message(cast("PipesMessage", message))
        except Exception as error:  # noqa: BLE001 - a message is foreign input, and Dagster checks it in many places
            self._tell(message, error)

    def _tell(self, message: Message, error: Exception) -> None:
        """Report a message that failed; while Dagster's storage is away, that fails as well."""
        try:
            self._failed(error)
        except Exception as refusal:  # noqa: BLE001 - any storage can sit behind it, and the job is still followed
            text = json.dumps(message)[:_SHOWN_CHARACTERS]
            _log.error("Dagster did not accept a Pipes message (%s): %s", type(refusal).__name__, text)


class MessageSink:
    """Lines that hold messages; what else is in them is text for the compute logs.

    Serves the file of messages, and the driver log where messages travel in it.
    """

    def __init__(
        self, taker: MessageTaker, write: Callable[[str], None], tail: Tail, *, dedicated: bool = False
    ) -> None:
        """Take where messages and text go, what remembers the text's end, and whether the file is for messages."""
        self._taker, self._write, self._tail, self._cursor = taker, write, tail, LineCursor()
        self._dedicated = dedicated

    @property
    def position(self) -> int:
        """The next byte of the file that is wanted."""
        return self._cursor.position

    def take(self, data: bytes) -> None:
        """Deliver what is whole of the bytes at `position`."""
        self._cursor, lines = self._cursor.feed(data)
        self._give(lines)

    def end(self) -> None:
        """Deliver what is left."""
        self._cursor, lines = self._cursor.end()
        self._give(lines)

    def _give(self, lines: list[bytes]) -> None:
        text: list[str] = []
        for line in lines:
            if not self._dedicated and not has_message(line):
                text.append(line.decode("utf-8", "replace"))
                continue
            found = read_line(line, dedicated=self._dedicated)
            if found.rest is not None:
                text.append(found.rest)
            for message in found.messages:
                self._taker.take(message)
        if text:
            joined = "\n".join(text) + "\n"
            self._tail.add(joined)
            self._write(joined)

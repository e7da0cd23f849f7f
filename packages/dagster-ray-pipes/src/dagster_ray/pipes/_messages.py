"""Pipes messages in lines of other output. Pure.

`dagster_pipes` writes a message as one JSON object and a newline. On a shared stream other threads write between the
two, so that a line holds a message and foreign text, or several messages (run: up to half of them under stress). Each
object is therefore looked for inside the line and decoded on its own.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

_VERSION_FIELD = "__dagster_pipes_version"
_START = f'{{"{_VERSION_FIELD}"'
_START_BYTES = _START.encode()
_DECODER = json.JSONDecoder()

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadLine:
    """What a line holds.

    Attributes:
        messages: Its Pipes messages, in order.
        rest: The text around them; None if there is none.
    """

    messages: tuple[Message, ...]
    rest: str | None


def has_message(data: bytes) -> bool:
    """Return whether a message may be in some output; cheap."""
    return _START_BYTES in data


def read_line(line: bytes) -> ReadLine:
    """Return the messages of a line, and what else is in it. What cannot be decoded is text."""
    text = line.decode("utf-8", "replace")
    messages: list[Message] = []
    around: list[str] = []
    shown = at = 0
    while (found := text.find(_START, at)) >= 0:
        try:
            value, end = _DECODER.raw_decode(text, found)
        except (ValueError, RecursionError):
            at = found + len(_START)
            continue
        if _is_message(value):
            around.append(text[shown:found])
            messages.append(cast("Message", value))
            shown = end
        at = end
    around.append(text[shown:])
    rest = "".join(around)
    return ReadLine(tuple(messages), rest if rest.strip() or not messages else None)


def _is_message(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    found = cast("dict[str, Any]", value)
    return isinstance(found.get("method"), str) and isinstance(found.get("params"), (dict, type(None)))


_SAME_LEVEL = {"WARN": "WARNING", "FATAL": "CRITICAL"}

LogLine = tuple[str, str]
"""Level and text of a log message."""


def log_line(message: Message) -> LogLine | None:
    """Return what a message of the method `log` says; None for another one."""
    if message["method"] != "log":
        return None
    params = cast("Mapping[str, Any]", message.get("params") or {})
    level = str(params.get("level", "INFO")).upper()
    return _SAME_LEVEL.get(level, level), str(params.get("message", ""))


class Delivered:
    """Log messages that an earlier attempt of the step has delivered; each of them is skipped once."""

    def __init__(self, lines: Iterable[LogLine]) -> None:
        """Take level and text of what is in the event log already."""
        self._left = Counter(lines)

    def skips(self, message: Message) -> bool:
        """Return whether a message was delivered before, and count it."""
        line = log_line(message)
        if line is None or self._left[line] <= 0:
            return False
        self._left[line] -= 1
        return True

"""Pipes messages in lines of other output. Pure.

`dagster_pipes` writes a message as one JSON object and a newline. On a shared stream other threads write between the
two, so that a line holds a message and foreign text, or several messages (run: up to half of them under stress). Each
object is therefore looked for inside the line and decoded on its own. Writers in other languages need not write the
version field, nor the fields for which the protocol has a default.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

_VERSION_FIELD = "__dagster_pipes_version"
_FIELDS = frozenset({_VERSION_FIELD, "method", "params"})
_START = re.compile(r"\{\s*\"(?:__dagster_pipes_version|method|params)\"")
_DECODER = json.JSONDecoder()
_BYTE_ORDER_MARK = "\ufeff"

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Method:
    """The fields of a method's params: those it needs, and those with a default."""

    needs: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] | None = None

    def fits(self, params: Mapping[str, Any]) -> bool:
        """Return whether params are those of the method."""
        return self.needs <= params.keys() <= self.needs | (self.defaults or {}).keys()


# dagster_pipes/__init__.py and dagster/_core/pipes/context.py, 1.12 to 1.13.
_METHODS = {
    "opened": _Method(defaults={"extras": {}}),
    "closed": _Method(defaults={"exception": None}),
    "log": _Method(frozenset({"message"}), {"level": "INFO"}),
    "log_external_stream": _Method(frozenset({"stream", "text"}), {"extras": None}),
    "report_asset_materialization": _Method(frozenset({"asset_key"}), {"metadata": None, "data_version": None}),
    "report_asset_check": _Method(
        frozenset({"asset_key", "check_name", "passed"}), {"severity": "ERROR", "metadata": None}
    ),
    "report_custom_message": _Method(frozenset({"payload"})),
}
_FILLED = ("log", "report_asset_materialization", "report_asset_check")
"""The methods whose params Dagster takes as arguments, without the protocol's defaults."""
_LEVELS = frozenset({"CRITICAL", "FATAL", "ERROR", "WARN", "WARNING", "INFO", "DEBUG"})
_NAMES = tuple(f'"{name}"'.encode() for name in _METHODS)


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
    return b'"method"' in data and any(name in data for name in _NAMES)


def read_line(line: bytes, *, dedicated: bool = False) -> ReadLine:
    """Return the messages of a line, and what else is in it. What cannot be decoded is text.

    Args:
        line: The line, without its end.
        dedicated: Whether the line is from a file that is for messages alone. In such a file every object with a
            method is a message. In a log, only an object that names a method of the protocol and has its fields is
            one, since other programs log objects with methods as well.
    """
    text = line.decode("utf-8", "replace")
    whole = _whole(text)
    if whole is not None:  # one object: it is a message, or text word for word whatever is in it
        return ReadLine((_filled(whole),), None) if _is_message(whole, dedicated=dedicated) else ReadLine((), text)
    messages: list[Message] = []
    around: list[str] = []
    shown = at = 0
    while (start := _START.search(text, at)) is not None:
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            at = start.end()
            continue
        if _is_message(value, dedicated=dedicated):
            around.append(text[shown : start.start()])
            messages.append(_filled(value))
            shown = end
        at = end
    around.append(text[shown:])
    rest = "".join(around)
    return ReadLine(tuple(messages), rest if rest.strip() or not messages else None)


def _whole(text: str) -> Message | None:
    """Return the object that a line is; None if it is anything else."""
    stripped = text.removeprefix(_BYTE_ORDER_MARK).strip()
    if not stripped.startswith("{"):
        return None
    try:
        value: object = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return cast("Message", value) if isinstance(value, dict) else None


def _is_message(value: Any, *, dedicated: bool) -> bool:
    found = cast("Message", value)
    params = found.get("params")
    if not isinstance(found.get("method"), str) or not isinstance(params, (dict, type(None))):
        return False
    if dedicated:
        return True
    is_named = _VERSION_FIELD in found or ("params" in found and found.keys() <= _FIELDS)
    method = _METHODS.get(found["method"])
    return is_named and method is not None and method.fits(cast("Message", params or {}))


def _filled(message: Message) -> Message:
    """Return a message with the fields that its writer left out."""
    given: dict[str, Any] | None = message.get("params")
    method = str(message["method"])
    if method not in _FILLED:
        return {**message, "params": given}
    params: dict[str, Any] = {**(_METHODS[method].defaults or {}), **(given or {})}
    if method == "log" and str(params["level"]).upper() not in _LEVELS:
        params["level"] = "INFO"  # Dagster refuses levels of other languages, and the text would be lost
    return {**message, "params": params}


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


def stream_text(message: Message) -> tuple[str, str] | None:
    """Return the text of a message of the method `log_external_stream`, and its stream; None for another one."""
    if message["method"] != "log_external_stream":
        return None
    params = cast("Mapping[str, Any]", message.get("params") or {})
    text, stream = params.get("text"), params.get("stream")
    return (text, str(stream)) if isinstance(text, str) and stream in {"stdout", "stderr"} else None


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

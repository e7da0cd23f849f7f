"""The lines by which a worker in the cluster tells its step's process what happens. Pure.

Each line is one JSON object with a number `n` that counts from 0, and one of:

    handshake   versions and clock of the worker; the first line
    event       an entry of Dagster's event log, as Dagster's serialization writes it
    problem     why the step cannot run there, before code of the user has run; nothing follows but the end
    end         the last line, written when the resources are torn down
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

Kind = Literal["handshake", "event", "problem", "end"]
_KINDS: tuple[Kind, ...] = ("handshake", "event", "problem", "end")


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says.

    Attributes:
        number: Its number; each line has one more than that before.
        kind: What it holds.
        value: The text of an event; otherwise an object.
    """

    number: int
    kind: Kind
    value: Any


def written(line: Line) -> bytes:
    """Return a line as it stands in the file, with its end."""
    return json.dumps({"n": line.number, line.kind: line.value}, separators=(",", ":")).encode() + b"\n"


def read(data: bytes) -> Line | None:
    """Return what a line of the file says; None if it is not one of ours."""
    try:
        found: Any = json.loads(data)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    fields = cast("Mapping[str, Any]", found)
    number = fields.get("n")
    kind: Kind | None = next((each for each in _KINDS if each in fields), None)
    if kind is None or not isinstance(number, int):
        return None
    value = fields[kind]
    is_sound = isinstance(value, str) if kind == "event" else isinstance(value, dict)
    return Line(number, kind, value) if is_sound else None

"""A watch as a state: bytes and lists go in, events and the next step come out. Pure.

Holds through what a real API server does: bookmarks, streams that end in the middle of a line, versions that have
expired (an ERROR event with code 410 inside an answer 200; run with kube-apiserver 1.36), and events that come twice.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dagster_ray.kuberay._kubernetes.answers import retry_seconds
from dagster_ray.kuberay._kubernetes.fields import at, json_of, mapping, text, whole

EventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

_LINE_LIMIT = 16 * 1024 * 1024
_SHOWN_CHARACTERS = 200
# A stream that was open for this long did its part although nothing happened: idle time-outs of proxies end many.
_LASTING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something happened to an object."""

    type: EventType
    object: Mapping[str, Any]


class WatchUnavailableError(OSError):
    """The server answered, and has no watch for us now; it may have one later."""

    def __init__(self, said: str, retry_after: str | None = None) -> None:
        """Take what the server answered, and its header Retry-After."""
        super().__init__(said)
        self.said, self.retry_after = said, retry_after


class WatchState:
    """What a watch knows.

    Attributes:
        version: The resourceVersion to watch from; None when the objects must be listed first.
        refused: Code and message of an ERROR event that is not about an expired version; None if there was none.
        retry_after: Seconds to wait that an ERROR event asks for, as the header Retry-After would; None if none does.
        foreign: The start of the first line of this stream that is not JSON, such as a login page; None if all are.
    """

    def __init__(self, version: str | None = None, known: Iterable[Mapping[str, Any]] = ()) -> None:
        """Start from a resourceVersion, for example that of a POST's answer, or by a list.

        Args:
            version: The resourceVersion; None for a list.
            known: What existed at that version. Of what is missing here, an end during a break is never told.
        """
        self.version = version
        self.refused: tuple[int, str] | None = None
        self.retry_after: str | None = None
        self.foreign: str | None = None
        self._known: dict[str, Mapping[str, Any]] = {_uid(item): item for item in known}
        self._rest = b""

    def listed(self, items: Iterable[Mapping[str, Any]], version: str) -> list[WatchEvent]:
        """Take in a complete list; return what has changed since what was known."""
        self.version, self._rest = version, b""
        now = {_uid(item): item for item in items}
        events: list[WatchEvent] = [WatchEvent("DELETED", old) for uid, old in self._known.items() if uid not in now]
        for uid, item in now.items():
            old = self._known.get(uid)
            if old is None:
                events.append(WatchEvent("ADDED", item))
            elif _version(old) != _version(item):
                events.append(WatchEvent("MODIFIED", item))
        self._known = now
        return events

    def fed(self, data: bytes) -> list[WatchEvent]:
        """Take in bytes of a stream; return the events of the lines that are complete."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_LIMIT:  # not an API server
            self.ended(lost=True)
        events: list[WatchEvent] = []
        for line in lines:
            event = self._read(line)
            if event is not None:
                events.append(event)
        return events

    def ended(self, *, lost: bool = False) -> None:
        """Note that the stream has ended; half a line is void.

        Args:
            lost: Whether the version cannot be trusted any more, so that a list must come first.
        """
        if not self._rest.lstrip().startswith(b"{"):  # half a line of a watch does
            self._note_foreign(self._rest)
        self._rest = b""
        if lost:
            self.version = None

    def _read(self, line: bytes) -> WatchEvent | None:
        raw = json_of(line)
        if raw is None:
            self._note_foreign(line)
        kind, item = text(raw, "type"), mapping(mapping(raw).get("object"))
        if kind == "ERROR":
            self._refuse(item)
            return None
        version = _version(item)
        if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} or version is None:
            return None
        self.version = version
        return None if kind == "BOOKMARK" else self._take(kind, item)

    def _note_foreign(self, line: bytes) -> None:
        if self.foreign is None and line.strip():
            self.foreign = line.strip()[:_SHOWN_CHARACTERS].decode(errors="replace")

    def _refuse(self, status: Mapping[str, Any]) -> None:
        code, seconds = status.get("code"), whole(status, "details", "retryAfterSeconds")
        self.version = None
        self.retry_after = str(seconds) if seconds > 0 else None
        if code != 410:
            self.refused = int(code) if isinstance(code, int) else 500, str(status.get("message") or "")

    def _take(self, kind: str, item: Mapping[str, Any]) -> WatchEvent | None:
        uid, old = _uid(item), self._known.get(_uid(item))
        if kind == "DELETED":
            self._known.pop(uid, None)
            return WatchEvent("DELETED", item)
        if old is not None and not _is_newer(item, old):
            return None
        self._known[uid] = item
        return WatchEvent("ADDED" if kind == "ADDED" and old is None else "MODIFIED", item)


class Pace:
    """How long a watch pauses before it asks the server again."""

    def __init__(self, rng: random.Random) -> None:
        """Take the source of the jitter."""
        self._rng = rng
        self.useless_rounds = 0
        """How many rounds one after the other have brought nothing."""

    def pause_seconds(self, *, events: int, lasted_seconds: float, retry_after: str | None) -> float:
        """Return the pause after one round of listing and watching.

        A round that brought an event, or whose stream lasted, is followed by the next one at once. All others back
        off, errors and answers that were a success by their status alike: an empty stream, an expired version, a page.

        Args:
            events: How many events the round brought. Bookmarks are none.
            lasted_seconds: How long its stream was open; 0 if there was none.
            retry_after: The seconds that the server asked for, as the text of the header Retry-After.
        """
        useful = events > 0 or lasted_seconds >= _LASTING_SECONDS
        self.useless_rounds = 0 if useful else self.useless_rounds + 1
        if useful and retry_after is None:
            return 0.0
        return retry_seconds(max(1, self.useless_rounds), retry_after, self._rng)


def _uid(item: Mapping[str, Any]) -> str:
    return str(at(item, "metadata", "uid") or f"{at(item, 'metadata', 'namespace')}/{at(item, 'metadata', 'name')}")


def _version(item: Mapping[str, Any]) -> str | None:
    version = at(item, "metadata", "resourceVersion")
    return None if version is None else str(version)


def _is_newer(item: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    new, known = _version(item), _version(old)
    if new is not None and known is not None and new.isdecimal() and known.isdecimal():
        return (len(new), new) > (len(known), known)  # as numbers, of any length
    return new != known

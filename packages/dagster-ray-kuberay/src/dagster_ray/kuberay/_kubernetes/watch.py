"""A watch as a state: bytes and lists go in, events and the next step come out. Pure.

Holds through what a real API server does: bookmarks, streams that end in the middle of a line, versions that have
expired (an ERROR event with code 410 inside an answer 200; run with kube-apiserver 1.36), and events that come twice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import at, json_of, mapping, text

EventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

_LINE_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something happened to an object."""

    type: EventType
    object: Mapping[str, Any]


class WatchState:
    """What a watch knows.

    Attributes:
        version: The resourceVersion to watch from; None when the objects must be listed first.
        refused: Code and message of an ERROR event that is not about an expired version; None if there was none.
    """

    def __init__(self, version: str | None = None) -> None:
        """Start from a resourceVersion, for example that of a POST's answer, or by a list."""
        self.version = version
        self.refused: tuple[int, str] | None = None
        self._known: dict[str, Mapping[str, Any]] = {}
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
        self._rest = b""
        if lost:
            self.version = None

    def _read(self, line: bytes) -> WatchEvent | None:
        raw = json_of(line)  # None for a proxy's word: the stream ends soon
        kind, item = text(raw, "type"), mapping(mapping(raw).get("object"))
        if kind == "ERROR":
            self._refuse(item)
            return None
        version = _version(item)
        if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} or version is None:
            return None
        self.version = version
        return None if kind == "BOOKMARK" else self._take(kind, item)

    def _refuse(self, status: Mapping[str, Any]) -> None:
        code = status.get("code")
        self.version = None
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

"""What has changed, as far back as it is remembered: for watches, and for lists of the past."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]
Key: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history. Its objects are shared and must not be changed."""

    type: ChangeType
    key: Key
    object: Mapping[str, Any]
    version: int
    previous: Mapping[str, Any] | None
    """The object before, for watches with a selector."""


class History:
    """The newest changes, by resourceVersion. Not safe for threads by itself."""

    def __init__(self, size: int, first_version: int) -> None:
        """Remember `size` changes, and nothing of before `first_version`."""
        self._changes: deque[Change] = deque(maxlen=size)
        self.forgotten = first_version
        """Changes up to this version are not known any more."""

    def add(self, change: Change) -> None:
        """Remember a change, in place of the oldest one when there are too many."""
        if len(self._changes) == self._changes.maxlen:
            self.forgotten = self._changes[0].version
        self._changes.append(change)

    def forget(self, version: int) -> None:
        """Forget all changes up to now."""
        self._changes.clear()
        self.forgotten = version

    def since(self, version: int) -> list[Change] | None:
        """Return all changes after a version, oldest first; None if some of them are forgotten."""
        if version < self.forgotten:
            return None
        found: list[Change] = []
        for change in reversed(self._changes):
            if change.version <= version:
                break
            found.append(change)
        return found[::-1]

    def undone(
        self, objects: Mapping[Key, Mapping[str, Any]], plural: str, version: int
    ) -> Mapping[Key, Mapping[str, Any]] | None:
        """Return the objects of a resource as they were at a version; None if that is forgotten."""
        changes = self.since(version)
        if changes is None:
            return None
        past = dict(objects)
        for change in _of(plural, reversed(changes)):
            if change.previous is None:
                past.pop(change.key, None)
            else:
                past[change.key] = change.previous
        return past


def _of(plural: str, changes: Iterable[Change]) -> Iterable[Change]:
    return (change for change in changes if change.key[0] == plural)

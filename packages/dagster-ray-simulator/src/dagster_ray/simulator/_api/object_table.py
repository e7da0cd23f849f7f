"""All objects under one version, with their history and an index of owners. Its user holds the lock. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dagster_ray.simulator._api.history import Change, ChangeType, History, Key
from dagster_ray.simulator._api.object_writes import Object, json_copy, owners

Listener: TypeAlias = Callable[[str, str, Object], None]

# Versions that a client makes up (0, 1, 2) are of the past, as on every real cluster.
_FIRST_VERSION = 100


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Objects of one moment. They are shared: read them, never change them."""

    objects: list[Mapping[str, Any]]
    version: int


class ObjectTable:
    """Objects by resource, namespace and name. What is stored is never changed, only replaced."""

    def __init__(self, history: int) -> None:
        """Start empty, and remember so many changes."""
        self.version = _FIRST_VERSION
        self.history = History(history, _FIRST_VERSION)
        self.listeners: list[Listener] = []
        self._objects: dict[Key, Object] = {}
        self._of_uid: dict[str, Key] = {}
        self._owned: dict[str, dict[Key, None]] = {}

    def get(self, key: Key) -> Object | None:
        """Return an object, not a copy."""
        return self._objects.get(key)

    def put(self, key: Key, obj: Object) -> Object:
        """Store an object under the next version and return it."""
        new, old = self._versioned(obj), self._objects.get(key)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = new
        self._of_uid[new["metadata"]["uid"]] = key
        for owner in owners(new):
            self._owned.setdefault(str(owner.get("uid")), {})[key] = None
        self._note("ADDED" if old is None else "MODIFIED", key, new, old)
        return new

    def pop(self, key: Key, last: Object | None = None) -> Object | None:
        """Take an object out and return it; `last` is its last state, if that was not stored."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
            self._note("DELETED", key, self._versioned(last or old), old)
        return old

    def owned_by(self, uid: str) -> list[Key]:
        """Return what names an owner, in the order in which it was made."""
        return [*self._owned.get(uid, ())]

    def is_alive(self, uid: str) -> bool:
        """Return whether an object with this uid exists."""
        return uid in self._of_uid

    def key_of(self, uid: str) -> Key | None:
        """Return where the object with this uid is."""
        return self._of_uid.get(uid)

    def inside(self, namespace: str) -> list[Key]:
        """Return everything in a namespace."""
        return [key for key in self._objects if key[1] == namespace]

    def at_version(self, plural: str, namespace: str | None, version: int | None) -> Snapshot | None:
        """Return the objects of a resource as they are, or were at a version; None if that is forgotten."""
        past = self._objects if version is None else self.history.undone(self._objects, plural, version)
        if past is None:
            return None
        keys = sorted(key for key in past if key[0] == plural and namespace in {None, key[1]})
        return Snapshot([past[key] for key in keys], self.version if version is None else version)

    def _versioned(self, obj: Object) -> Object:
        self.version += 1
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}

    def _unindex(self, key: Key, old: Object) -> None:
        self._of_uid.pop(old["metadata"]["uid"], None)
        for owner in owners(old):
            owned = self._owned.get(str(owner.get("uid")), {})
            owned.pop(key, None)
            if not owned:
                self._owned.pop(str(owner.get("uid")), None)

    def _note(self, kind: ChangeType, key: Key, obj: Object, previous: Object | None) -> None:
        self.history.add(Change(kind, key, obj, self.version, previous))
        for listener in [*self.listeners]:
            listener(kind, key[0], json_copy(obj))

"""The objects of the simulated cluster: what etcd and the API server's registry do.

One resourceVersion for everything, a history for watches, finalizers, owner references. Safe for threads; objects are
copied on their way in and out.
"""

import random
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from dagster_ray.kuberay._manifest_fields import at, mapping, mappings
from dagster_ray.kuberay.testing._patches import JSON, MERGE, json_patched, merged
from dagster_ray.kuberay.testing._resources import RESOURCES, Resource
from dagster_ray.kuberay.testing._statuses import (
    Refused,
    already_exists,
    has_changed,
    invalid,
    not_found,
    wrong_precondition,
)

__all__ = ["Change", "Refused", "Store"]

Object: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str, str]
Admit: TypeAlias = Callable[[str, Object, Object | None], Object]
Listener: TypeAlias = Callable[[str, str, Object], None]
ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

# The alphabet of names that the API server makes (k8s.io/apimachinery, util/rand).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_FOREGROUND = "foregroundDeletion"
_POD_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the history."""

    type: ChangeType
    plural: str
    object: Object
    version: int
    previous: Object | None
    """The object before, for watches with a selector."""


# Names for annotations: inside the class, `list` is its method.
Changes: TypeAlias = list[Change]
Keys: TypeAlias = list[Key]


def _now() -> datetime:
    return datetime.now(UTC)


class Store:
    """All objects, by resource, namespace and name."""

    def __init__(
        self,
        now: Callable[[], datetime] = _now,
        *,
        admit: Admit | None = None,
        history: int = 20_000,
        rng: random.Random | None = None,
    ) -> None:
        """Start empty.

        Args:
            now: The clock of the cluster.
            admit: Called with kind, object and old object before an object of ray.io is stored; returns what is stored.
            history: How many changes watches can go back.
            rng: Source of generated names.
        """
        self.now = now
        self.admit = admit
        self._objects: dict[Key, Object] = {}
        self._version = 1
        self._changes: deque[Change] = deque(maxlen=history)
        self._forgotten = 0
        self._changed = threading.Condition(threading.RLock())
        self._listeners: list[Listener] = []
        self._rng = rng or random.Random()  # noqa: S311 - names, not secrets

    # Reading

    @property
    def resource_version(self) -> int:
        """The version of the newest change."""
        with self._changed:
            return self._version

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """Return a copy of an object; None if it does not exist."""
        with self._changed:
            return deepcopy(self._objects.get((plural, namespace, name)))

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Return copies of all objects of a resource, by namespace and name."""
        with self._changed:
            keys = sorted(k for k in self._objects if k[0] == plural and namespace in {None, k[1]})
            return [deepcopy(self._objects[key]) for key in keys]

    def events_since(self, plural: str, namespace: str | None, version: int) -> Changes | None:
        """Return the changes of a resource after a version; None if some of them are forgotten."""
        with self._changed:
            if version < self._forgotten:
                return None
            return [
                change
                for change in self._changes
                if change.version > version
                and change.plural == plural
                and namespace in {None, at(change.object, "metadata", "namespace")}
            ]

    def wait_for_change(self, after: int, timeout_seconds: float) -> int:
        """Return the current version, as soon as it is newer than `after` or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._version > after, timeout_seconds)
            return self._version

    def expire_history(self) -> None:
        """Forget the past: watches from older versions are refused with 410."""
        with self._changed:
            self._changes.clear()
            self._forgotten = self._version

    def wake(self) -> None:
        """Wake everybody who waits for a change."""
        with self._changed:
            self._changed.notify_all()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with type, plural and object after each change; it must not block. Returns how to end it."""
        with self._changed:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    # Writing

    def create(self, plural: str, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Store a new object and return it as stored."""
        resource = RESOURCES[plural]
        with self._changed:
            new = deepcopy(dict(obj))
            metadata = new["metadata"] = dict(mapping(new.get("metadata")))
            self._name(resource, metadata)
            if resource.namespaced:
                metadata.setdefault("namespace", "default")
            key = self._key(plural, metadata)
            if (old := self._objects.get(key)) is not None:
                raise already_exists(resource, key[2], terminating="deletionTimestamp" in old["metadata"])
            if resource.group == "ray.io":
                new.pop("status", None)
                new = self._admitted(resource, new, None)
            metadata = new["metadata"]
            for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"):
                metadata.pop(name, None)
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._stamp()}
            if resource.group or plural == "pods":
                metadata["generation"] = 1
            new = {"apiVersion": resource.api_version, "kind": resource.kind} | new
            return deepcopy(new) if dry_run else self._put("ADDED", key, new, None)

    def replace(self, plural: str, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Write an object back; its status stays as it is."""
        resource = RESOURCES[plural]
        with self._changed:
            key, old = self._existing(plural, obj)
            new = deepcopy(dict(obj))
            if resource.group == "ray.io":
                new.pop("status", None)
                new = self._admitted(resource, new, old)
            if "status" in old and (resource.group == "ray.io" or "status" not in new):
                new["status"] = deepcopy(old["status"])
            return self._update(key, old, new, dry_run=dry_run)

    def replace_status(self, plural: str, obj: Mapping[str, Any]) -> Object:
        """Write the status of an object; everything else stays as it is."""
        with self._changed:
            key, old = self._existing(plural, obj)
            new = deepcopy(old)
            new.pop("status", None)
            if obj.get("status") is not None:
                new["status"] = deepcopy(obj["status"])
            return self._update(key, old, new)

    def patch(
        self, plural: str, namespace: str, name: str, body: Any, content_type: str, *, status: bool = False
    ) -> Object:
        """Apply a merge patch or a JSON Patch to an object or its status."""
        resource = RESOURCES[plural]
        with self._changed:
            old = self.get(plural, namespace, name)
            if old is None:
                raise not_found(resource, name)
            new = json_patched(old, body) if content_type == JSON else merged(old, body)
            if content_type == MERGE and at(body, "metadata", "resourceVersion") is None:
                new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if (uid := at(new, "metadata", "uid")) != old["metadata"]["uid"]:
                text = f'Invalid value: "{uid}": field is immutable'
                raise invalid(resource, name, "FieldValueInvalid", "metadata.uid", text)
            return self.replace_status(plural, new) if status else self.replace(plural, new)

    def delete(
        self,
        plural: str,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Object:
        """Delete an object; return it as it was, with a deletionTimestamp if something holds it.

        A pod is held until whatever runs it calls `remove`, unless `grace_seconds` is 0.
        """
        resource = RESOURCES[plural]
        with self._changed:
            old = self.get(plural, namespace, name)
            if old is None:
                raise not_found(resource, name)
            _check(resource, old, uid, resource_version)
            metadata = old["metadata"]
            finalizers = list(metadata.get("finalizers") or [])
            if propagation == "Foreground" and _FOREGROUND not in finalizers:
                finalizers.append(_FOREGROUND)
            held = bool(finalizers) or (plural == "pods" and grace_seconds != 0)
            if propagation == "Orphan":
                self._orphan(metadata["uid"])
            if not held:
                self.remove(plural, namespace, name)
                return old
            if "deletionTimestamp" not in metadata:
                pod_seconds = _POD_GRACE_SECONDS if grace_seconds is None else grace_seconds
                seconds = pod_seconds if plural == "pods" else 0
                terminating = deepcopy(old)
                terminating["metadata"] |= {"deletionTimestamp": self._stamp(), "deletionGracePeriodSeconds": seconds}
                if finalizers:
                    terminating["metadata"]["finalizers"] = finalizers
                terminating["metadata"]["generation"] = metadata.get("generation", 0) + 1
                old = self._put("MODIFIED", self._key(plural, metadata), terminating, old)
            if _FOREGROUND in finalizers:
                self._collect(metadata["uid"])
                self._finish_foreground(plural, namespace, name)
            return self.get(plural, namespace, name) or old

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Take an object out at once, whatever holds it; then what it owns."""
        with self._changed:
            key = (plural, namespace, name)
            old = self._objects.pop(key, None)
            if old is None:
                return
            self._note("DELETED", key, old, old)
            self._collect(old["metadata"]["uid"])
            self._release_owners(old)

    # Inside; all under the lock

    def _stamp(self) -> str:
        return self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _key(self, plural: str, metadata: Mapping[str, Any]) -> Key:
        return plural, str(metadata.get("namespace") or ""), str(metadata["name"])

    def _name(self, resource: Resource, metadata: Object) -> None:
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(self._rng.choices(_ALPHABET, k=5))
            metadata["name"] = str(metadata["generateName"])[:58] + suffix
        if not metadata.get("name"):
            text = "Required value: name or generateName is required"
            raise invalid(resource, "", "FieldValueRequired", "metadata.name", text)

    def _admitted(self, resource: Resource, new: Object, old: Object | None) -> Object:
        return new if self.admit is None else self.admit(resource.kind, new, old)

    def _existing(self, plural: str, obj: Mapping[str, Any]) -> tuple[Key, Object]:
        key = self._key(plural, obj["metadata"])
        old = self._objects.get(key)
        if old is None:
            raise not_found(RESOURCES[plural], key[2])
        version = at(obj, "metadata", "resourceVersion")
        if version and str(version) != old["metadata"]["resourceVersion"]:
            raise has_changed(RESOURCES[plural], key[2])
        return key, old

    def _update(self, key: Key, old: Object, new: Object, *, dry_run: bool = False) -> Object:
        fixed = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
        metadata, before = new["metadata"], old["metadata"]
        for name in (*fixed, "resourceVersion", "namespace"):
            metadata.pop(name, None)
            if name in before:
                metadata[name] = before[name]
        for name in ("labels", "annotations", "finalizers", "ownerReferences"):
            if not metadata.get(name):
                metadata.pop(name, None)
        new = {"apiVersion": old["apiVersion"], "kind": old["kind"]} | new
        if new == old or dry_run:
            return deepcopy(new)
        if "generation" in before and _body(new) != _body(old):
            metadata["generation"] = before["generation"] + 1
        if "deletionTimestamp" in before and not metadata.get("finalizers") and key[0] != "pods":
            self._objects[key] = new
            self.remove(*key)
            return deepcopy(new)
        return self._put("MODIFIED", key, new, old)

    def _put(self, kind: ChangeType, key: Key, new: Object, old: Object | None) -> Object:
        self._objects[key] = new
        self._note(kind, key, new, old)
        return deepcopy(new)

    def _note(self, kind: ChangeType, key: Key, obj: Object, previous: Object | None) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        if len(self._changes) == self._changes.maxlen:
            self._forgotten = self._changes[0].version
        self._changes.append(Change(kind, key[0], deepcopy(obj), self._version, previous))
        for listener in list(self._listeners):
            listener(kind, key[0], deepcopy(obj))
        self._changed.notify_all()

    def _owned_by(self, uid: str) -> Keys:
        return [
            key
            for key, obj in self._objects.items()
            if any(owner.get("uid") == uid for owner in mappings(at(obj, "metadata", "ownerReferences")))
        ]

    def _collect(self, uid: str) -> None:
        """Delete what an object owned."""
        for key in self._owned_by(uid):
            if key in self._objects and "deletionTimestamp" not in self._objects[key]["metadata"]:
                self.delete(*key)

    def _orphan(self, uid: str) -> None:
        for key in self._owned_by(uid):
            obj = deepcopy(self._objects[key])
            owners = [owner for owner in obj["metadata"]["ownerReferences"] if owner.get("uid") != uid]
            obj["metadata"]["ownerReferences"] = owners
            self.replace(key[0], obj)

    def _release_owners(self, gone: Object) -> None:
        """Let owners go that were waiting for this object (foreground deletion)."""
        uids = {owner.get("uid") for owner in mappings(at(gone, "metadata", "ownerReferences"))}
        for key, obj in list(self._objects.items()):
            if obj["metadata"]["uid"] in uids and _FOREGROUND in (obj["metadata"].get("finalizers") or []):
                self._finish_foreground(*key)

    def _finish_foreground(self, plural: str, namespace: str, name: str) -> None:
        obj = self.get(plural, namespace, name)
        if obj is not None and not self._owned_by(obj["metadata"]["uid"]):
            obj["metadata"]["finalizers"] = [f for f in obj["metadata"].get("finalizers", []) if f != _FOREGROUND]
            self.replace(plural, obj)


def _check(resource: Resource, obj: Object, uid: str | None, version: str | None) -> None:
    metadata = obj["metadata"]
    if uid is not None and uid != metadata["uid"]:
        raise wrong_precondition(resource, metadata["name"], "UID", uid, metadata["uid"])
    if version is not None and version != metadata["resourceVersion"]:
        raise wrong_precondition(resource, metadata["name"], "ResourceVersion", version, metadata["resourceVersion"])


def _body(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}

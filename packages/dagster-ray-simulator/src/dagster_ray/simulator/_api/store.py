"""The objects of the simulated cluster: what etcd, the API server's registry and the garbage collector do.

One resourceVersion for everything, a history for watches, finalizers, owner references. Safe for threads; objects are
copied on their way in and out. A stored object is never changed, only replaced.
"""

import random
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.simulator._api.history import Change, Key
from dagster_ray.simulator._api.object_table import Listener, ObjectTable, Snapshot
from dagster_ray.simulator._api.object_writes import (
    FOREGROUND,
    ORPHAN,
    Object,
    check_preconditions,
    created,
    finalizers_of,
    grace_of,
    json_copy,
    new_finalizers,
    owners,
    terminating,
    updated,
)
from dagster_ray.simulator._api.patches import JSON, STRATEGIC, json_patched, merged, strategic_merged
from dagster_ray.simulator._api.statuses import (
    Refused,
    already_exists,
    finalizers_frozen,
    has_changed,
    immutable_uid,
    invalid,
    not_found,
    other_uid,
)
from dagster_ray.simulator._kubelet.resources import KINDS, RESOURCES, Resource

__all__ = ["Change", "Object", "Refused", "Snapshot", "Store"]

Admit: TypeAlias = Callable[[str, Object, Object | None], Object]
Changes: TypeAlias = list[Change]  # inside the class, `list` is its method
Objects: TypeAlias = list[Object]

# The alphabet of names that the API server makes (k8s.io/apimachinery, util/rand).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


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
        self._table = ObjectTable(history)
        self._changed = threading.Condition(threading.RLock())
        self._rng = rng or random.Random()  # noqa: S311 - names, not secrets

    # Reading

    @property
    def resource_version(self) -> int:
        """The version of the newest change."""
        with self._changed:
            return self._table.version

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """Return a copy of an object; None if it does not exist."""
        with self._changed:
            found = self._table.get((plural, namespace, name))
        return json_copy(found)

    def list(self, plural: str, namespace: str | None = None) -> Objects:
        """Return copies of all objects of a resource, by namespace and name."""
        with self._changed:
            found = self._table.at_version(plural, namespace, None)
        return [json_copy(dict(obj)) for obj in found.objects] if found is not None else []

    def snapshot(self, plural: str, namespace: str | None = None, version: int | None = None) -> Snapshot | None:
        """Return all objects of a resource as they are, or were at a version; None if that is forgotten."""
        with self._changed:
            return self._table.at_version(plural, namespace, version)

    def events_since(self, plural: str, namespace: str | None, version: int) -> Changes | None:
        """Return the changes of a resource after a version; None if some of them are forgotten."""
        with self._changed:
            changes = self._table.history.since(version)
        if changes is None:
            return None
        return [change for change in changes if change.key[0] == plural and namespace in {None, change.key[1]}]

    @property
    def oldest_version(self) -> int:
        """The oldest version that a watch can start from."""
        with self._changed:
            return self._table.history.forgotten

    def wait_for_change(self, after: int, timeout_seconds: float) -> int:
        """Return the current version when it is newer than `after`, the time is over, or somebody called `wake`."""
        with self._changed:
            if self._table.version <= after:
                self._changed.wait(timeout_seconds)
            return self._table.version

    def expire_history(self) -> None:
        """Forget the past: watches and lists of older versions are refused with 410."""
        with self._changed:
            self._table.history.forget(self._table.version)

    def wake(self) -> None:
        """Wake everybody who waits for a change."""
        with self._changed:
            self._changed.notify_all()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with type, plural and object after each change; it must not block. Returns how to end it."""
        with self._changed:
            self._table.listeners.append(listener)

        def unsubscribe() -> None:
            with self._changed:
                if listener in self._table.listeners:
                    self._table.listeners.remove(listener)

        return unsubscribe

    # Writing

    def create(self, plural: str, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Store a new object and return it as stored."""
        resource = RESOURCES[plural]
        with self._changed:
            new = json_copy(dict(obj))
            metadata = new["metadata"] = self._named(resource, dict(mapping(new.get("metadata"))))
            key = self._key(plural, metadata)
            if (old := self._table.get(key)) is not None:
                raise already_exists(resource, key[2], terminating="deletionTimestamp" in old["metadata"])
            if resource.group == "ray.io":
                new.pop("status", None)
                new = self._admitted(resource, new, None)
            new = created(resource, new, str(uuid.uuid4()), self._stamp())
            if dry_run:
                return json_copy(new)
            stored = json_copy(self._put(key, new))
            self._collect_new(key, stored)
            return stored

    def replace(self, plural: str, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Write an object back; its status stays as it is."""
        resource = RESOURCES[plural]
        with self._changed:
            key, old = self._existing(plural, obj)
            new = json_copy(dict(obj))
            if resource.group == "ray.io":
                new.pop("status", None)
                new = self._admitted(resource, new, json_copy(old))
            if "status" in old and (resource.group == "ray.io" or "status" not in new):
                new["status"] = old["status"]
            return self._update(key, old, new, dry_run=dry_run)

    def replace_status(self, plural: str, obj: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """Write the status of an object; everything else stays as it is."""
        with self._changed:
            key, old = self._existing(plural, obj)
            new = {name: value for name, value in old.items() if name != "status"}
            if obj.get("status") is not None:
                new["status"] = json_copy(obj["status"])
            return self._update(key, old, new, dry_run=dry_run)

    def patch(
        self,
        plural: str,
        namespace: str,
        name: str,
        body: Any,
        content_type: str,
        *,
        status: bool = False,
        dry_run: bool = False,
        judge: Callable[[Object, Object], Object] | None = None,
    ) -> Object:
        """Apply a JSON Patch, or what is merged, to an object or its status.

        Args:
            plural: The resource.
            namespace: The object's namespace.
            name: The object's name.
            body: The patch.
            content_type: Of a JSON Patch or a strategic merge patch; anything else is a merge patch.
            status: Whether the status is patched, and nothing else.
            dry_run: Whether only the answer is wanted.
            judge: Called with the patched and the old object; returns what is written, or raises `Refused`.
        """
        resource = RESOURCES[plural]
        with self._changed:
            old = self.get(plural, namespace, name)
            if old is None:
                raise not_found(resource, name)
            apply = {JSON: json_patched, STRATEGIC: strategic_merged}.get(content_type, merged)
            new = apply(old, body)
            if content_type != JSON and at(body, "metadata", "resourceVersion") is None:
                new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if (uid := at(new, "metadata", "uid")) != old["metadata"]["uid"]:
                raise immutable_uid(resource, name, uid)
            if (version := at(new, "metadata", "resourceVersion")) and version != old["metadata"]["resourceVersion"]:
                raise has_changed(resource, name)
            if status:
                return self.replace_status(plural, new, dry_run=dry_run)
            return self.replace(plural, new if judge is None else judge(new, old), dry_run=dry_run)

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

        A pod that runs is held until whatever runs it calls `remove`, unless `grace_seconds` is 0.
        """
        resource, key = RESOURCES[plural], (plural, namespace, name)
        with self._changed:
            old = self._table.get(key)
            if old is None:
                raise not_found(resource, name)
            check_preconditions(resource, old, uid, resource_version)
            finalizers = finalizers_of(old)
            if "deletionTimestamp" in old["metadata"] and (finalizers or grace_seconds != 0):
                return json_copy(old)
            asked = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation)
            finalizers += [asked] if asked is not None and asked not in finalizers else []
            seconds = grace_of(plural, old, grace_seconds)
            if not finalizers and not seconds:
                self._remove(key)
                return json_copy(old)
            held = terminating(old, self._stamp(seconds), seconds, finalizers)
            answer = json_copy(self._put(key, held))
            self._finalize(key)
            return answer

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Take an object out at once, whatever holds it; then what it owns."""
        with self._changed:
            self._remove((plural, namespace, name))

    # Inside; all under the lock

    def _stamp(self, later_seconds: int = 0) -> str:
        moment = self.now().astimezone(UTC) + timedelta(seconds=later_seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _key(self, plural: str, metadata: Mapping[str, Any]) -> Key:
        return plural, str(metadata.get("namespace") or ""), str(metadata["name"])

    def _named(self, resource: Resource, metadata: Object) -> Object:
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(self._rng.choices(_ALPHABET, k=5))
            metadata["name"] = str(metadata["generateName"])[:58] + suffix
        if not metadata.get("name"):
            text = "Required value: name or generateName is required"
            raise invalid(resource, "", "FieldValueRequired", "metadata.name", text)
        if resource.namespaced:
            metadata.setdefault("namespace", "default")
        else:
            metadata.pop("namespace", None)
        return metadata

    def _admitted(self, resource: Resource, new: Object, old: Object | None) -> Object:
        return new if self.admit is None else self.admit(resource.kind, new, old)

    def _existing(self, plural: str, obj: Mapping[str, Any]) -> tuple[Key, Object]:
        resource, key = RESOURCES[plural], self._key(plural, obj["metadata"])
        old = self._table.get(key)
        if old is None:
            raise not_found(resource, key[2])
        uid, version = at(obj, "metadata", "uid"), at(obj, "metadata", "resourceVersion")
        if uid and uid != old["metadata"]["uid"]:
            raise other_uid(resource, key[2], uid, old["metadata"]["uid"])
        if version and str(version) != old["metadata"]["resourceVersion"]:
            raise has_changed(resource, key[2])
        return key, old

    def _update(self, key: Key, old: Object, new: Object, *, dry_run: bool) -> Object:
        if "deletionTimestamp" in old["metadata"] and (more := new_finalizers(old, new)):
            raise finalizers_frozen(RESOURCES[key[0]], key[2], more)
        new = updated(old, new)
        if new == old or dry_run:
            return json_copy(new)
        if "deletionTimestamp" in old["metadata"] and not new["metadata"].get("finalizers") and key[0] != "pods":
            self._remove(key, new)
            return json_copy(new)
        return json_copy(self._put(key, new))

    def _put(self, key: Key, new: Object) -> Object:
        stored = self._table.put(key, new)
        self._changed.notify_all()
        return stored

    def _remove(self, key: Key, last: Object | None = None) -> None:
        old = self._table.pop(key, last)
        if old is None:
            return
        self._changed.notify_all()
        self._collect(old["metadata"]["uid"], "Background")
        if key[0] == "namespaces":
            for inside in self._table.inside(key[2]):
                if self._table.get(inside) is not None:
                    self.delete(*inside)
        for owner in owners(old):
            if (owner_key := self._table.key_of(str(owner.get("uid")))) is not None:
                self._finalize(owner_key)

    # Garbage collection

    def _collect(self, uid: str, propagation: str) -> None:
        """Delete what an object owned; what has another owner that lives only loses this one."""
        for key in self._table.owned_by(uid):
            obj = self._table.get(key)
            if obj is None or "deletionTimestamp" in obj["metadata"]:
                continue
            others = [str(owner.get("uid")) for owner in owners(obj) if owner.get("uid") != uid]
            if any(self._table.is_alive(other) for other in others):
                self._disown(key, uid)
            else:
                self.delete(*key, propagation=propagation)

    def _collect_new(self, key: Key, obj: Object) -> None:
        """Delete a new object whose owners do not exist; owners of kinds that are not served count as existing."""
        refs = owners(obj)
        known = all((ref.get("apiVersion"), ref.get("kind")) in KINDS for ref in refs)
        if refs and known and not any(self._table.is_alive(str(ref.get("uid"))) for ref in refs):
            self.delete(*key)

    def _disown(self, key: Key, uid: str) -> None:
        obj = self._table.get(key)
        if obj is not None:
            left = [owner for owner in owners(obj) if owner.get("uid") != uid]
            self.replace(key[0], {**obj, "metadata": {**obj["metadata"], "ownerReferences": left}})

    def _finalize(self, key: Key) -> None:
        """Do what the finalizers of the garbage collector ask for, and take them away when it is done."""
        obj = self._table.get(key)
        if obj is None or "deletionTimestamp" not in obj["metadata"]:
            return
        uid, finalizers = obj["metadata"]["uid"], finalizers_of(obj)
        if ORPHAN in finalizers:
            for owned in self._table.owned_by(uid):
                self._disown(owned, uid)
            self._drop_finalizer(key, ORPHAN)
        elif FOREGROUND in finalizers:
            self._collect(uid, "Foreground")
            if not any(self._blocks(owned, uid) for owned in self._table.owned_by(uid)):
                self._drop_finalizer(key, FOREGROUND)

    def _blocks(self, key: Key, uid: str) -> bool:
        refs = owners(self._table.get(key) or {})
        return any(owner.get("uid") == uid and owner.get("blockOwnerDeletion") for owner in refs)

    def _drop_finalizer(self, key: Key, name: str) -> None:
        obj = self._table.get(key)
        if obj is not None and name in (left := finalizers_of(obj)):
            left.remove(name)
            self.replace(key[0], {**obj, "metadata": {**obj["metadata"], "finalizers": left}})

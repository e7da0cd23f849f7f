"""Serve a watch: changes of the store as lines of a chunked stream."""

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dagster_ray.simulator._api.answers import matcher_of, represented
from dagster_ray.simulator._api.bodies import sent_number
from dagster_ray.simulator._api.faults import Faults
from dagster_ray.simulator._api.history import Change
from dagster_ray.simulator._api.routes import Route
from dagster_ray.simulator._api.selectors import Matcher
from dagster_ray.simulator._api.statuses import Refused, expired
from dagster_ray.simulator._api.store import Store

_WAIT_SECONDS = 0.5
_DEFAULT_SECONDS = 1800
# Bookmarks come once a minute, and about once a second in the last two (k8s.io/apiserver, storage/cacher).
_BOOKMARK_SECONDS = 60.0
_LAST_SECONDS = 2.0
_LAST_BOOKMARK_SECONDS = 1.2


class CutError(Exception):
    """The watch breaks off in the middle of a line."""


def line(kind: str, obj: Mapping[str, Any]) -> bytes:
    """Return one line of a watch."""
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def seen_as(change: Change, matches: Matcher) -> tuple[str, Mapping[str, Any]] | None:
    """Return what a change is for a watch with a selector, and the object that it shows; None if it is nothing.

    An object that stops to match is DELETED for that watch: the object as it was, with the resourceVersion of the
    change (run with kube-apiserver 1.36).
    """
    now = change.type != "DELETED" and matches(change.object)
    if change.previous is None or not matches(change.previous):
        return ("ADDED", change.object) if now else None
    if now:
        return "MODIFIED", change.object
    if change.type == "DELETED":
        return "DELETED", change.object
    metadata = {**change.previous["metadata"], "resourceVersion": change.object["metadata"]["resourceVersion"]}
    return "DELETED", {**change.previous, "metadata": metadata}


class Watch:
    """One watch of one client."""

    def __init__(self, store: Store, faults: Faults, route: Route, connection: socket.socket, accept: str) -> None:
        """Take what is watched, and the connection, whose end ends the watch.

        Raises:
            Refused: 400, the query cannot be read.
        """
        self._store, self._faults, self._route, self._connection = store, faults, route, connection
        self._accept, self._matches = accept, matcher_of(route)
        self._dropped, self._cut, self._expired = faults.watch_epoch, faults.cut_epoch, faults.expired_epoch
        self._initial = route.query.get("sendInitialEvents") == "true"
        self._bookmarks = route.query.get("allowWatchBookmarks") == "true"
        self._seconds = sent_number(route.query, "timeoutSeconds") or _DEFAULT_SECONDS

    def start(self) -> int | None:
        """Return the version to start from; None for one that lists all objects first.

        Raises:
            Refused: 500, the version cannot be read.
        """
        version = self._route.query.get("resourceVersion", "")
        if version and not version.isdecimal():
            text = f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
            raise Refused(500, "", f"resourceVersion: {text}")
        return None if version in {"", "0"} or self._initial else int(version)

    def lines(self, start: int | None) -> Iterator[bytes]:
        """Yield lines until the time is over, the client has gone, or a fault ends it.

        Raises:
            CutError: The connection must break now.
        """
        end = time.monotonic() + self._seconds
        version = start
        if version is None:
            first = self._store.snapshot(self._route.resource.plural, self._route.namespace)
            version = 0 if first is None else first.version
            yield from self._beginning([] if first is None else first.objects, version)
        bookmark = _next_bookmark(time.monotonic(), end)
        while (left := end - time.monotonic()) > 0 and self._goes_on():
            current = self._store.resource_version
            changes = self._store.events_since(self._route.resource.plural, self._route.namespace, version)
            if changes is None or self._faults.expired_epoch != self._expired:
                text = f"too old resource version: {version} ({self._store.oldest_version})"
                yield line("ERROR", expired(text).body())
                return
            for change in changes:
                if (seen := seen_as(change, self._matches)) is not None:
                    yield line(seen[0], self._shown(seen[1]))
            version = max([version, current, *(change.version for change in changes)])
            if self._bookmarks and time.monotonic() >= bookmark:
                yield self._bookmark(version)
                bookmark = _next_bookmark(time.monotonic(), end)
            due = max(0.0, bookmark - time.monotonic()) if self._bookmarks else _WAIT_SECONDS
            self._store.wait_for_change(version, min(left, due, _WAIT_SECONDS))

    def _beginning(self, objects: list[Mapping[str, Any]], version: int) -> Iterator[bytes]:
        for obj in objects:
            if self._matches(obj):
                yield line("ADDED", self._shown(obj))
        if self._initial and self._bookmarks:
            yield self._bookmark(version, {"annotations": {"k8s.io/initial-events-end": "true"}})

    def _bookmark(self, version: int, more: Mapping[str, Any] | None = None) -> bytes:
        resource = self._route.resource
        metadata = {"resourceVersion": str(version), **(more or {})}
        return line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})

    def _shown(self, obj: Mapping[str, Any]) -> Mapping[str, Any]:
        return represented(self._route, obj, self._accept, self._store)

    def _goes_on(self) -> bool:
        if self._faults.cut_epoch != self._cut:
            raise CutError
        if self._faults.watch_epoch != self._dropped:
            return False
        readable, _, _ = select.select([self._connection], [], [], 0)
        return not readable  # a client of a watch says nothing more; it only goes


def _next_bookmark(now: float, end: float) -> float:
    if end - now <= _LAST_SECONDS:
        return now + min(_LAST_BOOKMARK_SECONDS, (end - now) / 2)
    return min(now + _BOOKMARK_SECONDS, end - _LAST_SECONDS)

"""Serve a watch: changes of the store as lines of a chunked stream."""

import json
import select
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from dagster_ray.kuberay.testing._answers import as_served, matcher_of
from dagster_ray.kuberay.testing._faults import Faults
from dagster_ray.kuberay.testing._routes import Route
from dagster_ray.kuberay.testing._selectors import Matcher
from dagster_ray.kuberay.testing._statuses import Refused, expired
from dagster_ray.kuberay.testing._store import Change, Store

_WAIT_SECONDS = 0.5
_DEFAULT_SECONDS = 1800


def line(kind: str, obj: Mapping[str, Any]) -> bytes:
    """Return one line of a watch."""
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def seen_as(change: Change, matches: Matcher) -> str | None:
    """Return what a change is for a watch with a selector; None if it is nothing.

    An object that stops to match is DELETED for that watch, with the new object (run with kube-apiserver 1.36).
    """
    now = change.type != "DELETED" and matches(change.object)
    before = change.previous is not None and matches(change.previous)
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


class Watch:
    """One watch of one client."""

    def __init__(self, store: Store, faults: Faults, route: Route, connection: socket.socket) -> None:
        """Take what is watched, and the connection, whose end ends the watch."""
        self._store, self._faults, self._route, self._connection = store, faults, route, connection
        self._matches = matcher_of(route)
        self._epochs = faults.watch_epoch, faults.expired_epoch

    def start(self) -> int | None:
        """Return the version to start from; None for one that lists all objects first.

        Raises:
            Refused: 500, the version cannot be read.
        """
        version = self._route.query.get("resourceVersion", "")
        if version in {"", "0"}:
            return None
        if not version.isdecimal():
            raise Refused(500, "", f'strconv.ParseUint: parsing "{version}": invalid syntax')
        return int(version)

    def lines(self, start: int | None) -> Iterator[bytes]:
        """Yield lines until the time is over, the client has gone, or a fault ends it."""
        query = self._route.query
        end = time.monotonic() + float(query.get("timeoutSeconds") or _DEFAULT_SECONDS)
        version = self._store.resource_version if start is None else start
        if start is None:
            for obj in self._store.list(self._route.resource.plural, self._route.namespace):
                if self._matches(obj):
                    yield line("ADDED", as_served(self._route, obj))
        while (left := end - time.monotonic()) > 0 and self._goes_on():
            current = self._store.wait_for_change(version, min(left, _WAIT_SECONDS))
            changes = self._store.events_since(self._route.resource.plural, self._route.namespace, version)
            if changes is None or self._faults.expired_epoch != self._epochs[1]:
                text = f"too old resource version: {version} ({self._store.resource_version})"
                yield line("ERROR", expired(text).body())
                return
            for change in changes:
                kind = seen_as(change, self._matches)
                if kind is not None:
                    yield line(kind, as_served(self._route, change.object))
            version = max([current, version, *(change.version for change in changes)])
        if query.get("allowWatchBookmarks") == "true" and self._goes_on():
            resource = self._route.resource
            metadata = {"resourceVersion": str(version), "creationTimestamp": None}
            yield line("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})

    def _goes_on(self) -> bool:
        if self._faults.watch_epoch != self._epochs[0]:
            return False
        readable, _, _ = select.select([self._connection], [], [], 0)
        return not readable  # a client of a watch says nothing more; it only goes

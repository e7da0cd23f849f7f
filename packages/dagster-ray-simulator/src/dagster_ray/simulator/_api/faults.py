"""What goes wrong on purpose: answers, connections, watches, rights, clocks."""

import re
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dagster_ray.simulator._api.access import Access
from dagster_ray.simulator._api.routes import route_of
from dagster_ray.simulator._api.store import Store


@dataclass(slots=True)
class Fault:
    """What happens to some requests instead of, or after, what should.

    Attributes:
        method: Only requests of this method. None: all.
        path: A regular expression that the path with its query must match somewhere.
        verb: Only requests with this verb, as a Role names it: `list`, `watch`, `create`... None: all.
        resource: Only requests on this resource, as a Role names it: `rayjobs`, `pods/log`... None: all.
        status: Answer this status; nothing is done. None: do not answer by a status.
        retry_after: Seconds in the header Retry-After of that answer.
        reset: Break the connection before anything is done.
        lose_answer: Do the work, then break the connection.
        delay_seconds: Wait before anything else.
        times: How many requests; None: until the fault is removed. It counts down.
        seconds: For how long, from the moment that the fault is added; None: until it is removed.
        hits: How many requests have met the fault.
    """

    method: str | None = None
    path: str = ""
    verb: str | None = None
    resource: str | None = None
    status: int | None = None
    retry_after: int | None = None
    reset: bool = False
    lose_answer: bool = False
    delay_seconds: float = 0.0
    times: int | None = None
    seconds: float | None = None
    hits: int = field(default=0, init=False)

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is meant."""
        if self.method not in {None, method} or re.search(self.path, path) is None or self.times == 0:
            return False
        if self.verb is None and self.resource is None:
            return True
        route = route_of(method, path)
        if route is None:
            return False
        return self.verb in {None, route.verb} and self.resource in {None, route.access_resource}


class Faults:
    """The faults of one simulator. Safe for threads."""

    def __init__(self, store: Store, access: Access) -> None:
        """Begin without any."""
        self._store, self._access = store, access
        self._faults: list[tuple[Fault, float | None]] = []
        self._lock = threading.Lock()
        self._true_time, self._clock_offset_seconds = store.now, 0.0
        self.watch_epoch = 0
        """Watches of an older epoch end."""
        self.cut_epoch = 0
        """Watches of an older epoch break in the middle of a line."""
        self.expired_epoch = 0
        """Watches of an older epoch end with 410."""
        self.without_crds = False
        """Whether KubeRay's CRDs are not installed."""

    def add(self, fault: Fault | None = None, **fields: Any) -> Fault:
        """Let a fault happen, given as an object or by its fields; return it for `remove`."""
        fault = fault or Fault(**fields)
        end = None if fault.seconds is None else time.monotonic() + fault.seconds
        with self._lock:
            self._faults.append((fault, end))
        return fault

    def remove(self, fault: Fault) -> None:
        """End a fault."""
        with self._lock:
            self._faults = [entry for entry in self._faults if entry[0] is not fault]

    def clear(self) -> None:
        """End all faults and give all rights back."""
        with self._lock:
            self._faults.clear()
        self._access.denied.clear()
        self.without_crds = False
        self.clock_offset_seconds = 0.0

    @property
    def clock_offset_seconds(self) -> float:
        """How far the API server's clock is ahead of this machine's: its header Date, and the times that it writes.

        The operator and the node keep their own clocks.
        """
        return self._clock_offset_seconds

    @clock_offset_seconds.setter
    def clock_offset_seconds(self, seconds: float) -> None:
        self._clock_offset_seconds = seconds
        self._store.now = lambda: self._true_time() + timedelta(seconds=seconds)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, and count it."""
        now = time.monotonic()
        with self._lock:
            for fault, end in self._faults:
                if (end is None or now < end) and fault.matches(method, path):
                    fault.hits += 1
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    @contextmanager
    def outage(self, *, status: int | None = 503) -> Generator[Fault]:
        """Refuse every request, by a status or (None) by breaking the connection; watches end."""
        fault = self.add(status=status, reset=status is None)
        self.drop_watches()
        try:
            yield fault
        finally:
            self.remove(fault)

    def drop_watches(self) -> None:
        """End every open watch, as a restarted API server does."""
        self.watch_epoch += 1
        self._store.wake()

    def cut_watches(self) -> None:
        """Break every open watch in the middle of a line."""
        self.cut_epoch += 1
        self._store.wake()

    def expire_watches(self) -> None:
        """Forget the past, so that open watches get 410 and must list again."""
        self._store.expire_history()
        self.expired_epoch += 1
        self._store.wake()

    def deny(self, verb: str, resource: str) -> None:
        """Take a right away from everybody: a verb on a resource, as `pods/log`."""
        self._access.denied.add((verb, resource))

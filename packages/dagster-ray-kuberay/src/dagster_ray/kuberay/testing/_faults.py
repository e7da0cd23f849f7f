"""What goes wrong on purpose: answers, connections, watches, rights."""

import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay.testing._access import Access
from dagster_ray.kuberay.testing._store import Store


@dataclass(slots=True)
class Fault:
    """What happens to some requests instead of, or after, what should.

    Attributes:
        method: Only requests of this method. None: all.
        path: A regular expression that the path with its query must match somewhere.
        status: Answer this status; nothing is done. None: do not answer by a status.
        retry_after: Seconds in the header Retry-After of that answer.
        reset: Break the connection before anything is done.
        lose_answer: Do the work, then break the connection.
        delay_seconds: Wait before anything else.
        times: How many requests; None: until the fault is removed.
    """

    method: str | None = None
    path: str = ""
    status: int | None = None
    retry_after: int | None = None
    reset: bool = False
    lose_answer: bool = False
    delay_seconds: float = 0.0
    times: int | None = None

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request is meant."""
        return self.method in {None, method} and re.search(self.path, path) is not None and self.times != 0


class Faults:
    """The faults of one simulator. Safe for threads."""

    def __init__(self, store: Store, access: Access) -> None:
        """Begin without any."""
        self._store, self._access = store, access
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.watch_epoch = 0
        """Watches of an older epoch end."""
        self.expired_epoch = 0
        """Watches of an older epoch end with 410."""
        self.without_crds = False
        """Whether KubeRay's CRDs are not installed."""

    def add(self, fault: Fault | None = None, **fields: Any) -> Fault:
        """Let a fault happen, given as an object or by its fields; return it for `remove`."""
        fault = fault or Fault(**fields)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """End a fault."""
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)

    def clear(self) -> None:
        """End all faults and give all rights back."""
        with self._lock:
            self._faults.clear()
        self._access.denied.clear()
        self.without_crds = False

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    @contextmanager
    def outage(self, *, status: int | None = 503) -> Generator[None]:
        """Refuse every request, by a status or (None) by breaking the connection; watches end."""
        fault = self.add(status=status, reset=status is None)
        self.drop_watches()
        try:
            yield
        finally:
            self.remove(fault)

    def drop_watches(self) -> None:
        """End every open watch, as a restarted API server does."""
        self.watch_epoch += 1
        self._store.wake()

    def expire_watches(self) -> None:
        """Forget the past, so that open watches get 410 and must list again."""
        self._store.expire_history()
        self.expired_epoch += 1
        self._store.wake()

    def deny(self, verb: str, resource: str) -> None:
        """Take a right away from everybody: a verb on a resource, as `pods/log`."""
        self._access.denied.add((verb, resource))

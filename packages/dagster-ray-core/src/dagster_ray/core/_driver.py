"""The Ray driver of this process: a process has one, whoever uses it.

Users of a driver that dagster-ray connected are counted, and the last one ends it. A driver that the step's own code
connected is used and never ended.
"""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import importlib
import os
import sys
import threading
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster_ray.core._signals import show_interrupts_to_ray, sigterm_handler_kept
from dagster_ray.core.errors import DriverInUseError

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

CLIENT_SCHEME = "ray://"
Changes = Mapping[str, tuple[str | None, str]]
"""Variables that changed: the value before (None: not set), and the value since."""


@dataclass(frozen=True, slots=True)
class Present:
    """A driver that is connected now."""

    address: str
    """`ray://host:port` of a Ray Client, else the `host:port` of the cluster's GCS."""
    identity: object
    """Equal only to that of the same driver."""


@dataclass(slots=True)
class Connected:
    """A driver that dagster-ray connected."""

    context: "BaseContext"
    job_id: str
    identity: object
    environment: Changes
    """What `ray.init` changed in the environment."""
    auto_connect: bool
    """Whether Ray started a cluster by itself before, where a call found none."""
    users: int = 1


@dataclass(frozen=True, slots=True)
class Connection:
    """One use of a connected driver."""

    context: "BaseContext"
    job_id: str
    """Ray's id of the driver's job, in hexadecimal digits."""
    identity: object
    driver: Connected | None
    """None if the driver is not dagster-ray's; then nobody here ends it."""


def fits(wanted: str, present: str) -> bool:
    """Return whether a driver that is connected to `present` serves somebody who wants `wanted`.

    Args:
        wanted: What `ray.init` takes. "local" and "auto" mean any cluster that the process is a native driver of.
        present: The address of the driver that is connected.
    """
    if wanted in {"local", "auto"}:
        return not present.startswith(CLIENT_SCHEME)
    return wanted.removeprefix(CLIENT_SCHEME).partition("/")[0] == present.removeprefix(CLIENT_SCHEME) and (
        wanted.startswith(CLIENT_SCHEME) == present.startswith(CLIENT_SCHEME)
    )


def present_driver() -> Present | None:
    """Return the driver that this process has now, if any. Asks no server, and does not import ray."""
    if "ray" not in sys.modules:
        return None
    import ray
    from ray._private.worker import global_worker
    from ray.util.client import ray as client

    if client.is_connected():
        worker: Any = client.get_context().client_worker
        return Present(f"{CLIENT_SCHEME}{getattr(worker, '_conn_str', '')}", worker)
    if not global_worker.connected:
        return None
    runtime = ray.get_runtime_context()
    return Present(str(runtime.gcs_address), (runtime.get_node_id(), runtime.get_job_id()))


class ProcessDriver:
    """Counts the users of this process' driver."""

    def __init__(self) -> None:
        """Begin without a driver."""
        self._lock = threading.Lock()
        self._connected: Connected | None = None

    def join(self, target: str, address: str) -> Connection | None:
        """Use the driver that is connected already; return None if there is none.

        Raises:
            DriverInUseError: It is connected to another cluster.
        """
        with self._lock:
            present = present_driver()
            if present is None:
                return None
            if not fits(address, present.address):
                raise DriverInUseError(target, present.address)
            known = self._connected
            if known is not None and known.identity == present.identity:
                known.users += 1
                return Connection(known.context, known.job_id, known.identity, known)
            return _foreign(present)

    def connected(self, context: "BaseContext", job_id: str, environment: Changes) -> Connection:
        """Take the driver that was just connected, with its first user."""
        with self._lock:
            present = present_driver()
            identity = object() if present is None else present.identity
            self._connected = Connected(context, job_id, identity, environment, _let_ray_start_itself(allowed=False))
            # A client waits in Python, where an interrupt is one already.
            show_interrupts_to_ray(shown=present is None or not present.address.startswith(CLIENT_SCHEME))
            return Connection(context, job_id, identity, self._connected)

    def leave(self, connection: Connection) -> None:
        """End one use. The last one ends the driver, if it is still there, and restores the environment."""
        driver = connection.driver
        if driver is None:
            return
        with self._lock:
            driver.users -= 1
            if driver.users:
                return
            if self._connected is driver:
                self._connected = None
            try:
                self._end(driver)
            finally:
                show_interrupts_to_ray(shown=False)
                _let_ray_start_itself(allowed=driver.auto_connect)
                restore(driver.environment)

    def _end(self, driver: Connected) -> None:
        """Disconnect, unless the step's own code has done so; what it connected since is its own."""
        present = present_driver()
        if present is not None and present.identity != driver.identity:
            return
        import ray

        ray.shutdown()


process_driver = ProcessDriver()
"""The one of this process."""


def is_connected(connection: Connection) -> bool:
    """Return whether the driver is still connected: the step's own code may have called `ray.shutdown`."""
    present = present_driver()
    return present is not None and present.identity == connection.identity


def _foreign(present: Present) -> Connection:
    """Use a driver that is not dagster-ray's."""
    import ray

    job_id = str(ray.get_runtime_context().get_job_id())
    if not present.address.startswith(CLIENT_SCHEME):
        with sigterm_handler_kept():
            return Connection(
                ray.init(address=present.address, ignore_reinit_error=True), job_id, present.identity, None
            )
    from ray.client_builder import ClientContext
    from ray.util.client import ray as client

    worker: Any = present.identity
    said = worker.connection_info()
    stub: Any = client
    context = ClientContext(
        dashboard_url=stub._get_dashboard_url(),  # noqa: SLF001 - as Ray's own builder does
        python_version=said["python_version"],
        ray_version=said["ray_version"],
        ray_commit=said["ray_commit"],
        _num_clients=said["num_clients"],
        _context_to_restore=None,
    )
    return Connection(context, job_id, present.identity, None)


def _let_ray_start_itself(*, allowed: bool) -> bool:
    """Choose what a call of Ray's API does without a connection; return what was chosen before.

    Ray then starts a cluster on this machine (ray/_private/auto_init_hook.py): a step that has lost its head would go
    on in its own pod, and even the end of the connection would first start one.
    """
    try:
        hook: Any = importlib.import_module("ray._private.auto_init_hook")
    except ImportError:  # a private module, which a later Ray need not have
        return True
    before = bool(hook.enable_auto_connect)
    hook.enable_auto_connect = allowed
    return before


def changes(before: Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """Return the variables that differ from `before`."""
    return {name: (before.get(name), value) for name, value in os.environ.items() if before.get(name) != value}


def restore(changed: Changes) -> None:
    """Give variables their values from before, except those that somebody has set since."""
    for name, (before, given) in changed.items():
        if os.environ.get(name) != given:
            continue
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    reread_auth_mode(changed)


def reread_auth_mode(changed: Container[str]) -> None:
    """Let Ray see another RAY_AUTH_MODE: it reads its configuration once.

    A driver that believes in a token where there is none, or the reverse, cannot talk to its cluster
    (ray/_private/authentication does the same).
    """
    if "RAY_AUTH_MODE" in changed:
        raylet: Any = importlib.import_module("ray._raylet")
        if (config := getattr(raylet, "Config", None)) is not None:
            config.initialize("")

"""The connection of this process to Ray: the only module of this package that imports ray, lazily.

A process has one driver. `connect` therefore joins a driver that is connected already, and `disconnect`
leaves a driver alone that somebody else connected.
"""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import importlib
import importlib.util
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Container, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, cast

from dagster_ray.core._config import RayDataExecutionOptions
from dagster_ray.core._deadline import Deadline, jittered_delays
from dagster_ray.core._signals import interrupts_deferred, sigterm_handler_kept
from dagster_ray.core.errors import ConnectFailedError, NotReadyError, RayNotInstalledError

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

_CLIENT_SCHEME = "ray://"
_DIAL_SECONDS = 2.0
_PING_SECONDS = 10.0
# ray_client.proto: RayletDriver.ClusterInfo with field 1 (type) = 6 (PING). Answered before a client is known.
_PING_METHOD, _PING = "/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06"
# ray/_private/log_monitor.py looks for new log files every 0.5 s and for new lines every 0.1 s.
_QUIET_SECONDS = 0.7
# Two threads of one process that call ray.init at once both "succeed", each with half of the state.
_init_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connected driver."""

    context: "BaseContext"
    job_id: str
    """Ray's id of the driver's job, in hexadecimal digits."""
    ours: bool
    """False if the driver was connected before; then it stays connected."""
    environment: Mapping[str, tuple[str | None, str]]
    """Variables that `ray.init` set: the value before (None: not set), and the value that Ray gave them."""
    auto_connect: bool = True
    """Whether Ray started a cluster by itself before, where a call found none."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What `connect` was asked for."""

    target: str
    address: str
    options: Mapping[str, Any]
    before: Mapping[str, str]
    """The environment at the start."""
    environment: Mapping[str, str]
    """What is added to it."""
    check_cluster: Callable[[], None] | None
    """Raises if another attempt is of no use."""


def require_ray(target: str, install: str) -> None:
    """Raise `RayNotInstalledError` if this Python has no ray. Imports nothing.

    Args:
        target: The resource's display name.
        install: The requirement that brings ray, for the error.
    """
    if importlib.util.find_spec("ray") is None:
        raise RayNotInstalledError(target, install)


def is_transient(error: BaseException) -> bool:
    """Return whether another `ray.init` may succeed.

    Ray raises the builtin ConnectionError and its subclasses for everything from a port that is not open yet
    to a server process that died at its start (ray/util/client/worker.py, proxier.py, _private/services.py),
    but also, as the cause, when the token is missing or wrong; no other attempt cures that. RuntimeError and
    ValueError are for arguments and versions.
    """
    chain: BaseException | None = error
    while chain is not None:
        if type(chain).__name__ == "AuthenticationError":  # ray.exceptions; ray need not be imported to ask
            return False
        chain = chain.__cause__ or chain.__context__
    return isinstance(error, ConnectionError)


def connect(
    target: str,
    address: str,
    options: Mapping[str, Any],
    deadline: Deadline,
    *,
    environment: Mapping[str, str] | None = None,
    check_cluster: Callable[[], None] | None = None,
) -> Connection:
    """Connect this process to the cluster at `address`, trying again until the deadline.

    An address with a port is dialled by TCP first: an early `ray.init` would back off inside gRPC and come
    back seconds after the port has opened. Then a server of Ray Client is asked for a sign of life, because
    `ray.init` knows no deadline: on a server that takes connections and stays silent, as a frozen head does, it
    hangs for three minutes (run with Ray 2.60).

    Args:
        target: The resource's display name, for errors.
        address: What `ray.init` takes; "local" starts a cluster in this process.
        options: More keyword arguments of `ray.init`.
        deadline: Ends the attempts.
        environment: Variables that `ray.init` reads. They are set while the driver is connected.
        check_cluster: Called after each failed attempt; raises if no other attempt can succeed, for example
            because the cluster is gone.

    Raises:
        NotReadyError: The port of the address did not open, or its server did not answer, before the deadline.
        ConnectFailedError: Ray refused, or the deadline ended the attempts.
    """
    wanted = _Wanted(
        target, address, options, {**os.environ}, environment or {}, check_cluster
    )  # the import alone sets variables
    if not _init_lock.acquire(timeout=deadline.remaining_seconds()):
        raise NotReadyError(target, deadline.budget_seconds, "another thread of this process is connecting")
    try:
        if (place := _host_and_port(address)) is not None:
            _dial(target, place, deadline)
            if address.startswith(_CLIENT_SCHEME):
                _ping(wanted, place, deadline)
        return _init_until(wanted, deadline)
    finally:
        _init_lock.release()


def _host_and_port(address: str) -> tuple[str, int] | None:
    """Return where a `ray://host:port` or `host:port` listens; None for words such as local."""
    host, _, port = address.removeprefix(_CLIENT_SCHEME).partition("/")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def _dial(target: str, place: tuple[str, int], deadline: Deadline) -> None:
    for delay in jittered_delays():
        seconds = max(0.1, min(_DIAL_SECONDS, deadline.remaining_seconds()))
        try:
            socket.create_connection(place, timeout=seconds).close()
        except OSError as error:
            if not deadline.sleep(delay):
                raise NotReadyError(target, deadline.budget_seconds, f"{place[0]}:{place[1]}: {error}") from error
        else:
            return


def _ping(wanted: _Wanted, place: tuple[str, int], deadline: Deadline) -> None:
    """Return when a server of Ray Client has answered anything, be it that it wants a token.

    Not with TLS, whose certificates only Ray knows, and not without grpc, which `ray.init` will miss itself.
    """
    if importlib.util.find_spec("grpc") is None or os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}:
        return
    import grpc

    # As Ray's own channels (ray/_private/ray_constants.py).
    proxied = os.environ.get("RAY_grpc_enable_http_proxy", "0").lower() in {"1", "true"}  # noqa: SIM112 - Ray's name
    host = f"[{place[0]}]" if ":" in place[0] else place[0]
    silent = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    with grpc.insecure_channel(f"{host}:{place[1]}", [("grpc.enable_http_proxy", int(proxied))]) as channel:
        ping = cast("Callable[..., object]", channel.unary_unary(_PING_METHOD))
        for delay in jittered_delays():
            try:
                ping(_PING, timeout=max(0.1, min(_PING_SECONDS, deadline.remaining_seconds())))
            except grpc.RpcError as error:
                code: Any = cast("Any", error).code()
                if code not in silent:
                    return
                if not deadline.sleep(delay):
                    seen = f"{host}:{place[1]} takes connections, but Ray Client's server does not answer: {code.name}"
                    raise NotReadyError(wanted.target, deadline.budget_seconds, seen) from error
                if wanted.check_cluster is not None:
                    wanted.check_cluster()
            else:
                return


def _init_until(wanted: _Wanted, deadline: Deadline) -> Connection:
    import ray

    if ray.is_initialized():
        return _join(wanted.target, wanted.address)
    for attempts, delay in enumerate(jittered_delays(), start=1):
        try:
            return _init(wanted)
        except BaseException as error:
            with interrupts_deferred(redeliver=isinstance(error, Exception)):
                ray.shutdown()  # a failed ray.init leaves a half-open client, or node processes
            if not isinstance(error, Exception):
                raise
            if not is_transient(error) or not deadline.sleep(delay):
                reason = f"{type(error).__name__}: {error}"
                raise ConnectFailedError(wanted.target, wanted.address, attempts, reason) from error
            if wanted.check_cluster is not None:
                wanted.check_cluster()
    raise AssertionError  # jittered_delays has no end


def _init(wanted: _Wanted) -> Connection:
    import ray

    os.environ.update(wanted.environment)
    _reread_auth_mode(wanted.environment)
    try:
        with sigterm_handler_kept():
            context = ray.init(address=wanted.address, **wanted.options)
            job_id = str(ray.get_runtime_context().get_job_id())
    except BaseException:
        _restore(_changes(wanted.before))
        raise
    return Connection(context, job_id, True, _changes(wanted.before), _let_ray_start_itself(allowed=False))


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


def _join(target: str, address: str) -> Connection:
    """Use the driver that is connected already, if it is on the cluster that is wanted."""
    import ray

    runtime = ray.get_runtime_context()
    present = str(runtime.gcs_address)
    if _is_client_connected() or address not in {"local", "auto", present}:
        reason = f"this process is connected to the cluster {present} already, and a process has one driver."
        raise ConnectFailedError(target, address, 1, reason)
    with sigterm_handler_kept():
        context = ray.init(address=present, ignore_reinit_error=True)
    return Connection(context, str(runtime.get_job_id()), ours=False, environment={})


def _is_client_connected() -> bool:
    from ray.util.client import ray as client

    return client.is_connected()


def _changes(before: Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    return {name: (before.get(name), value) for name, value in os.environ.items() if before.get(name) != value}


def _restore(changes: Mapping[str, tuple[str | None, str]]) -> None:
    for name, (before, given) in changes.items():
        if os.environ.get(name) != given:
            continue  # somebody else has set it since
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    _reread_auth_mode(changes)


def _reread_auth_mode(changed: Container[str]) -> None:
    """Let Ray see another RAY_AUTH_MODE: it reads its configuration once.

    A driver that believes in a token where there is none, or the reverse, cannot talk to its cluster
    (ray/_private/authentication does the same).
    """
    if "RAY_AUTH_MODE" in changed:
        raylet: Any = importlib.import_module("ray._raylet")
        if (config := getattr(raylet, "Config", None)) is not None:
            config.initialize("")


def disconnect(connection: Connection) -> None:
    """End the driver and restore the environment that `ray.init` had changed.

    Does nothing if the driver was connected before this resource came.
    """
    if not connection.ours:
        return
    import ray

    try:
        ray.shutdown()
    finally:
        _let_ray_start_itself(allowed=connection.auto_connect)
        _restore(connection.environment)


def limit_ray_data(options: RayDataExecutionOptions) -> None:
    """Set the limits of Ray Data for this driver. Imports `ray.data`, which needs pandas and pyarrow."""
    import ray.data

    execution = ray.data.DataContext.get_current().execution_options
    execution.resource_limits = ray.data.ExecutionResources.for_limits(
        cpu=options.cpu, gpu=options.gpu, object_store_memory=options.object_store_memory
    )
    execution.preserve_order = options.preserve_order
    execution.verbose_progress = options.verbose_progress


class _WatchedStream:
    """A text stream that passes everything on except the line with the mark, and notes what it saw."""

    def __init__(self, stream: TextIO, mark: str, wrote: threading.Event) -> None:
        self._stream, self._mark, self._wrote = stream, mark, wrote
        self._skip_newline = False
        self.marked = False

    def write(self, text: str) -> int:
        self._wrote.set()
        if self._mark in text:
            self.marked = True
            self._skip_newline = not text.endswith("\n")  # print() writes text and newline apart
            return len(text)
        skip, self._skip_newline = self._skip_newline and text == "\n", False
        return len(text) if skip else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _watch_output(mark: str) -> Generator[tuple[_WatchedStream, threading.Event]]:
    """Watch stdout for the mark, and stdout and stderr for anything at all."""
    wrote = threading.Event()
    out, err = sys.stdout, sys.stderr
    watched = _WatchedStream(out, mark, wrote)
    sys.stdout = cast("TextIO", watched)
    sys.stderr = cast("TextIO", _WatchedStream(err, mark, wrote))
    try:
        yield watched, wrote
    finally:
        sys.stdout, sys.stderr = out, err


def drain_task_output(budget_seconds: float) -> bool:
    """Wait until what remote tasks have printed so far has reached this process.

    Ray carries prints to the driver with a delay, and what is under way at `ray.shutdown` is lost. A task
    prints a mark; when the mark is here and nothing more came for as long as Ray takes to look at all its
    log files, everything printed before is here too.

    Args:
        budget_seconds: Longest wait, in seconds.

    Returns:
        Whether everything arrived in time; not if the connection is lost.
    """
    import ray

    if not ray.is_initialized():
        return False
    mark = f"dagster-ray-{uuid.uuid4().hex}"

    def print_mark() -> None:  # nested, so that it travels by value: the cluster has no dagster-ray
        print(mark)  # noqa: T201

    deadline = Deadline(budget_seconds)
    with _watch_output(mark) as (watched, wrote):
        task: Any = ray.remote(num_cpus=0, max_retries=0)(print_mark)
        ray.wait([task.remote()], timeout=deadline.remaining_seconds())
        while not deadline.is_over():
            wrote.clear()
            came = wrote.wait(min(_QUIET_SECONDS, deadline.remaining_seconds()))
            if watched.marked and not came:
                return True
    return False

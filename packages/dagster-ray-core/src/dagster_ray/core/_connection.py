"""Connect this process to Ray, with the token that Ray would send. A driver that is connected already is joined."""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import copy
import importlib.util
import os
import sys
import threading
import types
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from dagster_ray.core._bounded_sockets import dial
from dagster_ray.core._config import RayDataExecutionOptions
from dagster_ray.core._connect_causes import NODE_TIMED_OUT
from dagster_ray.core._deadline import Deadline, jittered_delays
from dagster_ray.core._driver import (
    CLIENT_SCHEME,
    Connection,
    changes,
    process_driver,
    reread_auth_mode,
    restore,
)
from dagster_ray.core._signals import interrupts_deferred, sigterm_handler_kept
from dagster_ray.core.errors import ConnectFailedError, NotReadyError, RayNotInstalledError

_DIAL_SECONDS = 2.0
_PING_SECONDS = 10.0
_BUILDER = "dagster_ray_client"
# ray_client.proto: RayletDriver.ClusterInfo with field 1 (type) = 6 (PING). Answered before a client is known.
_PING_METHOD, _PING = "/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06"
# Two threads of one process that call ray.init at once both "succeed", each with half of the state.
_init_lock = threading.Lock()


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
    on_slow_start: Callable[[str], None] | None = None
    """Told that Ray gave up a start, before the next one."""
    job_name: str | None = None
    """How Ray's dashboard names a client's driver."""


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
    ValueError are for arguments and versions. A local node that is not up after 30 s, a constant of Ray, is given up
    by a plain Exception (ray/_private/node.py); on a busy machine only a new start helps.
    """
    chain: BaseException | None = error
    while chain is not None:
        if type(chain).__name__ == "AuthenticationError":  # ray.exceptions; ray need not be imported to ask
            return False
        chain = chain.__cause__ or chain.__context__
    return isinstance(error, ConnectionError) or NODE_TIMED_OUT in str(error)


def connect(
    target: str,
    address: str,
    options: Mapping[str, Any],
    deadline: Deadline,
    *,
    environment: Mapping[str, str] | None = None,
    check_cluster: Callable[[], None] | None = None,
    on_slow_start: Callable[[str], None] | None = None,
    job_name: str | None = None,
    code_folders: Callable[[], Sequence[str]] = tuple,
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
        on_slow_start: Called with Ray's words when Ray gave up a start on this machine, and it is tried again.
        job_name: What the driver of a Ray Client has as `job_name` in its metadata. A native driver gets its metadata
            by the option `job_config`.
        code_folders: Returns folders where the workers of a native driver find modules besides; asked for no other
            driver. Not with a `working_dir` or `py_modules` in the options, which would be shadowed.

    Raises:
        DriverInUseError: This process has a driver already, on another cluster.
        NotReadyError: The port of the address did not open, or its server did not answer, before the deadline.
        ConnectFailedError: Ray refused, or the deadline ended the attempts.
    """
    variables = {**os.environ}  # before the import of ray, which alone sets some
    options = _with_code_folders(address, options, code_folders)
    wanted = _Wanted(target, address, options, variables, environment or {}, check_cluster, on_slow_start, job_name)
    if not _init_lock.acquire(timeout=deadline.remaining_seconds()):
        raise NotReadyError(target, deadline.budget_seconds, "another thread of this process is connecting")
    try:
        if (joined := process_driver.join(target, address)) is not None:
            return joined
        if (place := _host_and_port(address)) is not None:
            _dial(target, place, deadline, check_cluster)
            if address.startswith(CLIENT_SCHEME):
                _ping(wanted, place, deadline)
        return _init_until(wanted, deadline)
    finally:
        _init_lock.release()


def _with_code_folders(
    address: str, options: Mapping[str, Any], code_folders: Callable[[], Sequence[str]]
) -> Mapping[str, Any]:
    """Add folders to those that Ray gives to the workers of a native driver: its script's and its working directory."""
    if address.startswith(CLIENT_SCHEME) or not (folders := code_folders()):
        return options
    from ray.job_config import JobConfig

    config: Any = copy.copy(options["job_config"]) if options.get("job_config") else JobConfig()
    if {"working_dir", "py_modules"} & {*(options.get("runtime_env") or {}), *(config.runtime_env or {})}:
        return options
    config._py_driver_sys_path = [*config._py_driver_sys_path, *folders]  # noqa: SLF001 - it has no public name
    config._cached_pb = None  # noqa: SLF001 - what was made of it before lacks them
    return {**options, "job_config": config}


def _host_and_port(address: str) -> tuple[str, int] | None:
    """Return where a `ray://host:port` or `host:port` listens; None for words such as local."""
    host, _, port = address.removeprefix(CLIENT_SCHEME).partition("/")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def _dial(
    target: str, place: tuple[str, int], deadline: Deadline, check_cluster: Callable[[], None] | None = None
) -> None:
    for delay in jittered_delays():
        seconds = max(0.1, min(_DIAL_SECONDS, deadline.remaining_seconds()))
        try:
            dial(place, seconds).close()
        except OSError as error:
            if not deadline.sleep(delay):
                raise NotReadyError(target, deadline.budget_seconds, f"{place[0]}:{place[1]}: {error}") from error
            if check_cluster is not None:
                check_cluster()
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

    for attempts, delay in enumerate(jittered_delays(), start=1):
        try:
            return _init(wanted)
        except BaseException as error:
            with interrupts_deferred(redeliver=isinstance(error, Exception)):
                ray.shutdown()  # a failed ray.init leaves a half-open client, or node processes
                _end_failed_node(error)
            if not isinstance(error, Exception):
                raise
            if not is_transient(error) or not deadline.sleep(delay):
                reason = f"{type(error).__name__}: {error}"
                raise ConnectFailedError(wanted.target, wanted.address, attempts, reason) from error
            if NODE_TIMED_OUT in str(error) and wanted.on_slow_start is not None:
                wanted.on_slow_start(str(error))
            if wanted.check_cluster is not None:
                wanted.check_cluster()
    raise AssertionError  # jittered_delays has no end


def _init(wanted: _Wanted) -> Connection:
    import ray

    os.environ.update(wanted.environment)
    reread_auth_mode(wanted.environment)
    try:
        with sigterm_handler_kept(), _named_driver(wanted.address, wanted.job_name) as address:
            context = ray.init(address=address, **wanted.options)
            job_id = str(ray.get_runtime_context().get_job_id())
    except BaseException:
        restore(changes(wanted.before))
        raise
    return process_driver.connected(context, job_id, changes(wanted.before))


@contextmanager
def _named_driver(address: str, job_name: str | None) -> Generator[str]:
    """Yield an address by which `ray.init` makes a driver with this name in its metadata.

    `ray.init` takes no `job_config` for a Ray Client. But the scheme of its address is the module of a builder of
    connections, which may be a subclass (ray/client_builder.py; run with Ray 2.46 and 2.60).
    """
    if (
        job_name is None
        or not address.startswith(CLIENT_SCHEME)
        or importlib.util.find_spec("ray.client_builder") is None
    ):
        yield address
        return
    from ray.client_builder import ClientBuilder

    class NamedBuilder(ClientBuilder):
        def connect(self) -> Any:
            if (config := getattr(self, "_job_config", None)) is not None:  # a private name
                config.set_metadata("job_name", job_name)
            return super().connect()

    module = types.ModuleType(_BUILDER)
    module.ClientBuilder = NamedBuilder  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[_BUILDER] = module
    try:
        yield f"{_BUILDER}://{address.removeprefix(CLIENT_SCHEME)}"
    finally:
        del sys.modules[_BUILDER]


def _end_failed_node(error: BaseException) -> None:
    """End the processes of a node that Ray has started and given up on.

    Ray keeps no reference to such a node, so `ray.shutdown` does not know it: the frames of the error do.
    """
    trace = error.__traceback__
    while trace is not None:
        node: Any = trace.tb_frame.f_locals.get("self")
        if type(node).__module__ == "ray._private.node" and getattr(node, "all_processes", None):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            return
        trace = trace.tb_next


def limit_ray_data(options: RayDataExecutionOptions) -> None:
    """Set the limits of Ray Data for this driver. Imports `ray.data`, which needs pandas and pyarrow."""
    import ray.data

    execution = ray.data.DataContext.get_current().execution_options
    execution.resource_limits = ray.data.ExecutionResources.for_limits(
        cpu=options.cpu, gpu=options.gpu, object_store_memory=options.object_store_memory
    )
    execution.preserve_order = options.preserve_order
    execution.verbose_progress = options.verbose_progress


def token_of_environment(environ: Mapping[str, str]) -> str | None:
    """Return the token that Ray's own clients would send; None unless RAY_AUTH_MODE is `token`.

    Ray looks at RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH and ~/.ray/auth_token, in this order (run with 2.60).
    """
    if environ.get("RAY_AUTH_MODE") != "token":
        return None
    if token := environ.get("RAY_AUTH_TOKEN"):
        return token
    path = environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        file = Path(path) if path else Path.home() / ".ray" / "auth_token"
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, RuntimeError, UnicodeDecodeError):  # no such file, no home folder, or not a text
        return None

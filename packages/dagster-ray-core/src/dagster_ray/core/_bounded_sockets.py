"""Sockets that keep a deadline: whatever a name server, a server or a proxy does, nothing takes longer than it may.

A socket's own timeout holds for one call of the operating system. A server that sends a byte a second never exceeds
it, and the look-up of a name has none: it blocks its thread for as long as the name servers are silent, and Python
hears no signal in that thread meanwhile.
"""

import contextlib
import functools
import importlib
import os
import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeAlias, cast

from dagster_ray.core._deadline import Deadline

Place: TypeAlias = tuple[Any, Any, int, str, Any]
"""What `socket.getaddrinfo` returns of one address."""

_LEAST_SECONDS = 0.05
_DIAL_SECONDS = 60.0


class _LookUp:
    """One look-up of a name by a thread of its own, which nothing can end; all who want the name wait for it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._is_over = threading.Event()
        self._found: list[Place] = []
        self._error: Exception | None = None
        threading.Thread(target=self._run, name=f"look-up of {host}", daemon=True).start()

    def result(self, seconds: float) -> list[Place]:
        """Return the addresses, in the order in which they are tried."""
        if not self._is_over.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise TimeoutError(f"the name {self._host} was not looked up within {seconds:.1f} s")
        if self._error is not None:
            raise self._error
        return self._found

    def _run(self) -> None:
        try:
            self._found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - all wait for it
            self._error = error
        finally:
            with _lock:
                if _look_ups.get((self._host, self._port)) is self:
                    del _look_ups[self._host, self._port]
            self._is_over.set()


_lock = threading.Lock()
_look_ups: dict[tuple[str, int], _LookUp] = {}


def _forget_look_ups() -> None:
    """Begin anew in a forked process, which has none of the threads."""
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.Lock()
    _look_ups.clear()


os.register_at_fork(after_in_child=_forget_look_ups)


def _places(host: str, port: int, seconds: float) -> list[Place]:
    try:
        with contextlib.suppress(OSError):  # it is a name, and no address
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, f"{host!r} cannot be a host name") from error
    with _lock:
        look_up = _look_ups.get((host, port))
        if look_up is None:
            look_up = _look_ups[host, port] = _LookUp(host, port)
    return look_up.result(seconds)


def dial(address: tuple[str, int], seconds: float, options: Iterable[tuple[int, int, Any]] = ()) -> socket.socket:
    """Return a socket that is connected, by the first address of a host that accepts.

    The calling thread hears signals meanwhile.

    Args:
        address: Name or address of the host, and the port.
        seconds: Longest wait for the look-up of the name and for all addresses together. It is the timeout of the
            socket that is returned. A `SocketLimit` that ends earlier counts as well.
        options: What `setsockopt` takes, before the socket is connected.

    Raises:
        OSError: Nothing accepts, the name does not exist, or its look-up took too long.
    """
    limit = SocketLimit.current()
    deadline = Deadline(seconds if limit is None else min(seconds, limit.remaining_seconds()))
    places = _places(*address, max(_LEAST_SECONDS, deadline.remaining_seconds()))
    last: OSError = TimeoutError(f"{address[0]} has no address that could be tried")
    for number, (family, kind, protocol, _, place) in enumerate(places):
        if number and deadline.is_over():
            break
        opened = socket.socket(family, kind, protocol)
        try:
            for option in options:
                opened.setsockopt(*option)
            opened.settimeout(max(_LEAST_SECONDS, deadline.remaining_seconds() / (len(places) - number)))
            opened.connect(place)
            opened.settimeout(seconds)
        except OSError as error:
            opened.close()
            last = error
        except BaseException:
            opened.close()
            raise
        else:
            return watched(opened)
    raise last


def watched(opened: socket.socket) -> socket.socket:
    """Return a socket, which the `SocketLimit` of this thread, if there is one, ends from now on."""
    limit = SocketLimit.current()
    if limit is not None:
        limit.watch(lambda: opened)
    return opened


class SocketLimit:
    """Ends what a block does with sockets once its seconds are over, by shutting the sockets down.

    A block that was ended raises a TimeoutError, whatever its library has made of the broken connection. Sockets that
    outlive the block, for example that of an answer whose body is a stream, are limited no longer.

    Args:
        seconds: Longest time for the block.
    """

    _of_thread = threading.local()

    def __init__(self, seconds: float) -> None:
        """Start nothing yet."""
        self._seconds = max(_LEAST_SECONDS, min(seconds, threading.TIMEOUT_MAX))
        self._deadline = Deadline(self._seconds)
        self._lock = threading.Lock()
        self._sockets: list[Callable[[], socket.socket | None]] = []
        self._is_over = self._has_cut = False
        self._outer: SocketLimit | None = None
        self._timer = threading.Timer(self._seconds, self._end)
        self._timer.daemon = True

    @classmethod
    def current(cls) -> "SocketLimit | None":
        """Return the limit of the block that this thread is in; None if there is none."""
        return getattr(cls._of_thread, "limit", None)

    def remaining_seconds(self) -> float:
        """Return what is left."""
        return self._deadline.remaining_seconds()

    def watch(self, socket_now: Callable[[], socket.socket | None]) -> None:
        """Shut a socket down when the time is over.

        Args:
            socket_now: Returns the socket as it is then, since TLS replaces it. None: there is none.
        """
        with self._lock:
            self._sockets.append(socket_now)
            if self._is_over:
                self._has_cut |= _shut_down(socket_now)

    def __enter__(self) -> "SocketLimit":
        """Start the clock."""
        self._timer.start()  # before this is the thread's limit, as no thread may start any more
        self._outer, SocketLimit._of_thread.limit = SocketLimit.current(), self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the clock.

        Raises:
            TimeoutError: A socket was shut down.
        """
        self._timer.cancel()
        SocketLimit._of_thread.limit = self._outer
        with self._lock:  # from here on no socket is shut down any more
            self._sockets.clear()
            has_cut = self._has_cut
        if has_cut and (error is None or isinstance(error, Exception)):
            raise TimeoutError(f"the answer was not over after {self._seconds:.3g} s") from error

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            for socket_now in self._sockets:
                self._has_cut |= _shut_down(socket_now)


def bound_pools(pools: Any) -> Any:
    """Let the connections of a `PoolManager` of urllib3 keep the `SocketLimit` of their thread; return the manager."""
    bounded = {scheme: _bounded_pool(pool) for scheme, pool in pools.pool_classes_by_scheme.items()}
    pools.pool_classes_by_scheme = bounded
    return pools


@functools.cache
def _bounded_pool(pool: Any) -> Any:
    """Return urllib3's pool, with connections that are dialed and watched."""
    of_urllib3, errors = pool.ConnectionCls, cast("Any", importlib.import_module("urllib3.exceptions"))

    def new_conn(connection: Any) -> socket.socket:
        _watch(connection)
        host, seconds = connection._dns_host, float(connection.timeout or _DIAL_SECONDS)  # noqa: SLF001 - with its last dot
        try:
            return dial((host, connection.port), seconds, connection.socket_options or ())
        except socket.gaierror as error:
            raise errors.NameResolutionError(connection.host, connection, error) from error
        except OSError as error:
            raise errors.NewConnectionError(connection, f"Failed to establish a new connection: {error}") from error

    def putrequest(connection: Any, *args: Any, **options: Any) -> None:
        _watch(connection)
        of_urllib3.putrequest(connection, *args, **options)

    def tunnel(connection: Any) -> None:
        of_urllib3._tunnel(connection)  # noqa: SLF001 - http.client takes a connection that breaks for the head's end
        limit = SocketLimit.current()
        if limit is not None and limit.remaining_seconds() <= 0:
            raise TimeoutError("the proxy did not answer")

    own = {"_new_conn": new_conn, "_tunnel": tunnel, "putrequest": putrequest}
    return type(pool.__name__, (pool,), {"ConnectionCls": type(of_urllib3.__name__, (of_urllib3,), own)})


def _watch(connection: Any) -> None:
    limit = SocketLimit.current()
    if limit is not None:
        limit.watch(lambda: connection.sock)


def _shut_down(socket_now: Callable[[], socket.socket | None]) -> bool:
    """Wake whoever reads from a socket or writes to it; return whether there was one."""
    found = socket_now()
    if found is None:
        return False
    try:
        # Not the method of an SSLSocket, which would let its reader take ciphertext for plain text.
        socket.socket.shutdown(found, socket.SHUT_RDWR)
    except OSError:  # closed, or within a TLS socket by now
        return False
    return True

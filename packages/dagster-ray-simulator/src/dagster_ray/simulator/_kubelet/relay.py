"""Addresses of simulated pods: loopback addresses of their own, whose ports lead to the real ones on this machine."""

import contextlib
import errno
import itertools
import os
import socket
import threading
from collections.abc import Callable, Generator, Iterator

_NETWORK = "127.77"
_CHUNK = 65536
_counter = itertools.count(os.getpid() * 7)
_counter_lock = threading.Lock()


class NoPodAddressError(OSError):
    """No loopback address is free for a pod, or this machine has only 127.0.0.1."""


def _candidates() -> Iterator[str]:
    for _ in range(2000):
        with _counter_lock:
            number = next(_counter) % (254 * 254)
        yield f"{_NETWORK}.{number // 254 + 1}.{number % 254 + 1}"


class Relay:
    """One port of a pod: bound at once, so that nobody else gets it; answers only between `open` and `close`.

    Args:
        address: The pod's loopback address.
        port: The port.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, address: str, port: int) -> None:
        self.port = port
        self._listener = socket.socket()
        self._target: tuple[str, int] | None = None
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((address, port))
        except OSError:
            self._listener.close()
            raise

    def open(self, target: tuple[str, int]) -> None:
        """Accept connections from now on, and lead them to the target."""
        first, self._target = self._target is None, target
        if first:
            self._listener.listen(64)
            self._begin(self._accept, ())

    def close(self) -> None:
        """Refuse connections from now on, and end those that are there."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        with self._lock:
            sockets, threads = list(self._sockets), list(self._threads)
        for connected in sockets:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _begin(self, run: Callable[..., None], arguments: tuple[object, ...]) -> None:
        thread = threading.Thread(target=run, args=arguments, name=f"relay-{self.port}", daemon=True)
        with self._lock:
            self._threads = [known for known in self._threads if known.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._begin(self._connect, (client,))

    def _connect(self, client: socket.socket) -> None:
        assert self._target is not None  # noqa: S101 - open() set it before it started the accepting thread
        with client:
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                return
            with server, self._known(client, server):
                server.settimeout(None)
                back = threading.Thread(target=_pump, args=(server, client), name=f"relay-{self.port}", daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    @contextlib.contextmanager
    def _known(self, *sockets: socket.socket) -> Generator[None]:
        with self._lock:
            self._sockets.update(sockets)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.difference_update(sockets)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class PodAddress:
    """A loopback address with some ports, all of them this pod's own.

    Args:
        ports: The ports that the pod may serve.

    Raises:
        NoPodAddressError: None is free.
    """

    def __init__(self, ports: tuple[int, ...]) -> None:
        self.address, self._relays = _bound(ports)

    def open(self, port: int, target: tuple[str, int]) -> None:
        """Lead connections to this port of the pod to the target."""
        if port in self._relays:
            self._relays[port].open(target)

    def close(self) -> None:
        """Give the address up."""
        for relay in self._relays.values():
            relay.close()


def _bound(ports: tuple[int, ...]) -> tuple[str, dict[int, Relay]]:
    failures: dict[int, OSError] = {}
    for address in _candidates():
        relays: dict[int, Relay] = {}
        for port in ports:
            try:
                relays[port] = Relay(address, port)
            except OSError as error:
                failures[port] = error
                break
        else:
            return address, relays
        for relay in relays.values():
            relay.close()
    port, last = next(iter(failures.items()))
    taken = f": a program that listens on all addresses may have port {port}" if last.errno == errno.EADDRINUSE else ""
    raise NoPodAddressError(f"no address in {_NETWORK}.0.0/16 is free for a pod{taken} ({last})") from last

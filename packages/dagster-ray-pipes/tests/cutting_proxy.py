"""A TCP proxy that breaks each connection after a random number of bytes."""

import contextlib
import random
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager


class CuttingProxy:
    """Forwards connections to a port, and cuts what comes back."""

    def __init__(self, target: tuple[str, int], longest: int, seed: int, *, mostly_short: bool = False) -> None:
        self._target, self._longest, self._rng = target, longest, random.Random(seed)
        self._mostly_short = mostly_short
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.cuts = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        """Accept connections."""
        self._spawn(self._accept)

    def close(self) -> None:
        """End all connections and threads."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)  # started, or `close` could meet one that is not

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target, 10)
            except OSError:
                return
            self._open |= {near, far}
            self._spawn(self._copy, near, far, None)
            self._spawn(self._copy, far, near, self._limit())

    def _limit(self) -> int:
        if self._mostly_short:
            return int(self._longest ** self._rng.random())
        return self._rng.randint(1, self._longest)

    def _copy(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                piece = data if limit is None else data[: max(0, limit - sent)]
                target.sendall(piece)
                sent += len(piece)
                if limit is not None and sent >= limit:
                    self.cuts += 1
                    break
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            self._open.discard(connection)
            connection.close()


@contextmanager
def cutting_proxy(
    target: tuple[str, int], *, longest: int, seed: int, mostly_short: bool = False
) -> Generator[CuttingProxy]:
    """Run a proxy in front of a port; each connection carries at most `longest` bytes back.

    If `mostly_short`, each order of magnitude is as frequent as the next, so that small answers are cut, too.
    """
    proxy = CuttingProxy(target, longest, seed, mostly_short=mostly_short)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()

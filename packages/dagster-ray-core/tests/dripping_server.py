"""A server that sends a byte after the other, and name servers that are silent."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

ENDLESS_HEAD, ENDLESS_BODY = b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
"""The beginning of an answer that goes on in its head, and in its body."""


@contextmanager
def dripping(first: bytes, piece: bytes, tls: ssl.SSLContext | None = None) -> Generator[int]:
    """Yield the port of a server that answers with some bytes and then with others again and again."""
    over, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                with contextlib.suppress(OSError), raw if tls is None else tls.wrap_socket(raw, True) as connected:
                    connected.sendall(first)
                    while not over.wait(0.05):
                        connected.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@contextmanager
def names_hanging() -> Generator[list[str]]:
    """Yield the names that were looked up. No name exists, and that is not said of some before the end of the test."""
    over, asked, real = threading.Event(), list[str](), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, flags: int = 0, **more: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            return real(host, *args, flags=flags, **more)
        asked.append(host)
        if host.startswith("slow"):
            over.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        try:
            yield asked
        finally:
            over.set()

"""A loopback HTTP server that answers from a script, for the calls of the Kubernetes API."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

Reply = Callable[["Handler"], None]


@dataclass(slots=True)
class Seen:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


def answer(status: int, body: object = None, **headers: str) -> Reply:
    """Return a reply with a JSON object or a text; a Status like Kubernetes' where nothing else is given."""
    data = body.encode() if isinstance(body, str) else json.dumps(body or {"kind": "Status"}).encode()

    def reply(handler: "Handler") -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return reply


def reset(handler: "Handler") -> None:
    """Break the connection without an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def stream(*lines: object, then: threading.Event | None = None, cut: bytes = b"") -> Reply:
    """Return a chunked stream of watch lines that ends after them, or when an event is set.

    Args:
        lines: Objects of watch lines.
        then: Keep the stream open until this is set.
        cut: Bytes to send last, for example half a line.
    """

    def reply(handler: "Handler") -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for data in [*(json.dumps(line).encode() + b"\n" for line in lines), *([cut] if cut else [])]:
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()
        if then is not None:
            then.wait(30)
        handler.wfile.write(b"0\r\n\r\n")

    return reply


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ScriptedServer"  # pyright: ignore[reportIncompatibleVariableOverride]

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        self.server.seen.append(
            Seen(self.command, self.path, dict(self.headers.items()), json.loads(raw) if raw else None)
        )
        try:
            self.server.next_reply()(self)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@dataclass
class _Script:
    replies: Iterator[Reply]
    last: Reply = field(default_factory=lambda: answer(500, {"message": "the script is over"}))


class ScriptedServer(ThreadingHTTPServer):
    """Answers with one reply after the other, then with the last one."""

    daemon_threads = True

    def __init__(self, *replies: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Seen] = []
        self._script = _Script(iter(replies))
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_reply(self) -> Reply:
        with self._lock:
            self._script.last = next(self._script.replies, self._script.last)
            return self._script.last

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

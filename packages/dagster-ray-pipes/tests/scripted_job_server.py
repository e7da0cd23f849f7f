"""A job server that answers as a test says."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from dagster_ray.pipes import RayJobClient

Script = Callable[[str, str, bytes], tuple[int, object]]


class Server(ThreadingHTTPServer):
    """Answers as a script says; a status of 0 breaks the connection."""

    script: Script
    has_ranges = True
    """Whether files below `/logs/` are served in ranges, as an agent does."""
    calls: list[tuple[str, str]]
    headers: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append((self.command, self.path))
        self.server.headers.append(dict(self.headers.items()))
        status, answer = self.server.script(self.command, self.path, body)
        if status == 0:
            self.close_connection = True
            return
        text = answer if isinstance(answer, (str, bytes)) else json.dumps(answer)
        data = text if isinstance(text, bytes) else text.encode()
        if status == 200 and self.server.has_ranges and self.path.startswith("/logs/") and "Range" in self.headers:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            data = data[int(first) : int(last) + 1]
            status = 206 if data else 416
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def job_server() -> Generator[Server]:
    """Serve while the block runs, on a port of its own."""
    with Server(("127.0.0.1", 0), Handler) as found:
        found.calls, found.headers = [], []
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def client_of(server: Server, **options: Any) -> RayJobClient:
    return RayJobClient(f"http://127.0.0.1:{server.server_port}", **{"timeout": 3.0, **options})  # pyright: ignore[reportArgumentType]

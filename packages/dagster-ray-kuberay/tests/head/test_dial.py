"""What tells a gRPC server from everything else that may hold a port."""

# grpc has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from dagster_ray.kuberay._head.http2 import FRAME_HEADER_BYTES, PREFACE, looks_like_http2
from dagster_ray.kuberay._head.route import speaks_http2

SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x64"
LONG_SECONDS = 10.0
SHORT_SECONDS = 0.2


@contextlib.contextmanager
def one_connection(serve: Callable[[socket.socket], None]) -> Generator[int]:
    """Yield a port whose first connection is served by a function."""

    def run() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(SETTINGS, True, id="a settings frame is http2"),
        pytest.param(SETTINGS[:FRAME_HEADER_BYTES], True, id="the head of a settings frame is enough"),
        pytest.param(PREFACE[-FRAME_HEADER_BYTES:], True, id="an empty settings frame is http2"),
        pytest.param(SETTINGS[: FRAME_HEADER_BYTES - 1], False, id="less than the head of a frame says nothing yet"),
        pytest.param(b"", False, id="no byte says nothing"),
        pytest.param(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00", False, id="another frame than settings is not the first"),
        pytest.param(b"\x00\x00\x00\x04\x00\x00\x00\x00\x01", False, id="settings belong to no stream"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", False, id="an http1 answer is not http2"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x46\x00\x00", False, id="a tls alert is not http2"),
    ],
)
def test_the_first_bytes_tell_http2(data: bytes, expected: bool) -> None:
    assert looks_like_http2(data) is expected


def test_a_grpc_server_speaks_http2() -> None:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            assert speaks_http2("127.0.0.1", port, LONG_SECONDS)
        finally:
            server.stop(None).wait()


def test_a_port_that_nobody_serves_does_not_speak_http2() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not speaks_http2("127.0.0.1", bound.getsockname()[1], LONG_SECONDS)


def test_a_server_that_sends_one_byte_at_a_time_is_understood() -> None:
    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in SETTINGS[:FRAME_HEADER_BYTES]:
            connection.sendall(bytes([byte]))
        connection.recv(1024)

    with one_connection(serve) as port:
        assert speaks_http2("127.0.0.1", port, LONG_SECONDS)


def test_the_server_gets_a_whole_client_preface() -> None:
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(connection.recv(len(PREFACE), socket.MSG_WAITALL))
        connection.sendall(SETTINGS)

    with one_connection(serve) as port:
        assert speaks_http2("127.0.0.1", port, LONG_SECONDS)
    assert got == [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"]


def answer_http1(connection: socket.socket) -> None:
    connection.recv(len(PREFACE), socket.MSG_WAITALL)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def end_within_the_head(connection: socket.socket) -> None:
    connection.recv(len(PREFACE), socket.MSG_WAITALL)
    connection.sendall(SETTINGS[:4])


def end_at_once(connection: socket.socket) -> None:
    connection.recv(len(PREFACE), socket.MSG_WAITALL)


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(answer_http1, id="an http1 answer"),
        pytest.param(end_within_the_head, id="an end within the first frame"),
        pytest.param(end_at_once, id="an end without an answer"),
    ],
)
def test_other_answers_are_not_http2(serve: Callable[[socket.socket], None]) -> None:
    with one_connection(serve) as port:
        assert not speaks_http2("127.0.0.1", port, LONG_SECONDS)


def test_a_server_that_says_nothing_in_time_does_not_speak_http2() -> None:
    def wait_for_the_client(connection: socket.socket) -> None:
        while connection.recv(1024):
            pass

    with one_connection(wait_for_the_client) as port:
        assert not speaks_http2("127.0.0.1", port, SHORT_SECONDS)


def test_single_bytes_do_not_prolong_the_wait() -> None:
    client_gone = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.settimeout(SHORT_SECONDS / 2)
        for byte in b"\x00\x00\x00\x04\x00\x00\x00\x00":
            try:
                connection.sendall(bytes([byte]))
                while connection.recv(1024):
                    pass
            except TimeoutError:
                continue
            except OSError:
                pass
            client_gone.set()
            return

    with one_connection(serve) as port:
        assert not speaks_http2("127.0.0.1", port, SHORT_SECONDS)
    assert client_gone.is_set()

"""Look-ups of names and answers that never end, and what ends them."""

import http.client
import os
import signal
import socket
import threading
from collections.abc import Generator
from typing import Any

import pytest
from dripping_server import ENDLESS_BODY, ENDLESS_HEAD, dripping, names_hanging

from dagster_ray.core import SocketLimit, dial


@pytest.fixture
def asked() -> Generator[list[str]]:
    with names_hanging() as found:
        yield found


def test_a_look_up_that_hangs_ends_in_time_and_all_who_want_the_name_wait_for_one(asked: list[str]) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError, match="the name slow-1 was not looked up within"):
            dial(("slow-1", 80), 0.1)
    assert asked == ["slow-1"]


class Terminated(BaseException):
    """What the handler of a signal raises."""


def test_a_signal_is_heard_while_a_look_up_hangs(asked: list[str]) -> None:
    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    sender = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    sender.start()
    try:
        with pytest.raises(Terminated):
            dial(("slow-2", 80), 3600.0)
    finally:
        sender.join()
        signal.signal(signal.SIGTERM, before)


def test_a_name_without_an_address_and_one_that_cannot_be_one_are_errors_of_the_system(asked: list[str]) -> None:
    for name in ("nowhere", "nowhere", "x" * 70):
        with pytest.raises(socket.gaierror):
            dial((name, 80), 30.0)
    assert asked == ["nowhere", "nowhere"]


def test_the_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.9", "127.0.0.1")]

        def getaddrinfo(*_: object, **__: object) -> list[Any]:
            return places

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        with dial(("both", port), 10.0) as opened:
            assert opened.getpeername() == ("127.0.0.1", port)
            assert opened.gettimeout() == 10.0


FIRST = {
    "in a header": ENDLESS_HEAD,
    "in the body": ENDLESS_BODY,
    "in a body without a length": b"HTTP/1.1 200 OK\r\n\r\n",
}


def read_within(seconds: float, port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        with SocketLimit(seconds):
            connection.sock = dial(("127.0.0.1", port), 5.0)
            connection.request("GET", "/")
            return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_an_answer_that_drips_ends_in_time(first: bytes) -> None:
    with dripping(first, b"x") as port, pytest.raises(TimeoutError, match=r"not over after 0\.5 s"):
        read_within(0.5, port)


def test_what_is_over_in_time_keeps_its_socket() -> None:
    with dripping(ENDLESS_BODY, b"x") as port:
        with SocketLimit(0.3) as limit:
            opened = dial(("127.0.0.1", port), 5.0)
            opened.recv(1)
        limit._end()  # pyright: ignore[reportPrivateUsage]
        assert opened.recv(1)
        opened.close()
    assert SocketLimit.current() is None

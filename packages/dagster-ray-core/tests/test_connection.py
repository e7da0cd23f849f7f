"""The parts of the connection that need no Ray: real sockets, an own clock and the process's environment."""

# The public way to these functions leads through Ray.
# pyright: reportPrivateUsage=false

import contextlib
import importlib.util
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator

import pytest

from dagster_ray.core import Deadline
from dagster_ray.core._connection import _dial, _host_and_port, connect, is_transient, require_ray
from dagster_ray.core._driver import changes, restore
from dagster_ray.core.errors import NotReadyError, RayNotInstalledError

needs_grpc = pytest.mark.skipif(importlib.util.find_spec("grpc") is None, reason="Ray Client needs grpc")


class AuthenticationError(Exception):
    """It has the name of the one in `ray.exceptions`."""


def caused_by(cause: Exception) -> ConnectionError:
    error = ConnectionError("no")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("ray://head:10001", ("head", 10001), id="a client address"),
        pytest.param("ray://head:10001/namespace", ("head", 10001), id="a client address with a path"),
        pytest.param("ray://[::1]:10001", ("::1", 10001), id="a client address of IPv6"),
        pytest.param("10.0.0.1:6379", ("10.0.0.1", 6379), id="the address of a GCS"),
        pytest.param("ray://head", None, id="an address without a port"),
        pytest.param("local", None, id="a word"),
        pytest.param("auto", None, id="another word"),
    ],
)
def test_where_an_address_listens(address: str, expected: tuple[str, int] | None) -> None:
    assert _host_and_port(address) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ConnectionError("no"), True, id="what Ray Client raises for a port that is not open yet"),
        pytest.param(ConnectionAbortedError("no"), True, id="what it raises when its server died at the start"),
        pytest.param(ConnectionRefusedError("no"), True, id="a refused connection"),
        pytest.param(RuntimeError("version mismatch"), False, id="versions that do not fit"),
        pytest.param(ValueError("num_cpus"), False, id="wrong arguments"),
        pytest.param(TimeoutError("no"), False, id="a timeout of Ray's own, which has waited long already"),
        pytest.param(KeyboardInterrupt(), False, id="an interrupt"),
        pytest.param(caused_by(AuthenticationError()), False, id="a connection that failed for a wrong token"),
        pytest.param(caused_by(OSError()), True, id="a connection that failed for another cause"),
    ],
)
def test_is_transient(error: BaseException, expected: bool) -> None:
    assert is_transient(error) is expected


class Clock:
    """Seconds that pass when somebody sleeps; then something may happen."""

    def __init__(self, when_slept: Callable[[int], None]) -> None:
        self.now, self.sleeps, self.when_slept = 0.0, 0, when_slept

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        self.when_slept(self.sleeps)


@pytest.fixture
def closed() -> Generator[socket.socket]:
    """A port that is ours and refuses connections, until `listen`."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        yield port


def place_of(port: socket.socket) -> tuple[str, int]:
    return "127.0.0.1", port.getsockname()[1]


def test_dial_returns_when_the_port_opens(closed: socket.socket) -> None:
    clock = Clock(lambda sleeps: closed.listen() if sleeps == 3 else None)
    deadline = Deadline(1000, clock, clock.sleep)
    _dial("Plain cluster", place_of(closed), deadline)
    assert clock.sleeps == 3
    closed.settimeout(5)
    accepted, _ = closed.accept()
    accepted.close()


def test_dial_asks_after_each_failure_what_became_of_the_cluster(closed: socket.socket) -> None:
    def check() -> None:
        if clock.sleeps == 2:
            raise NotReadyError("Plain cluster", 1000, "it was deleted")

    clock = Clock(lambda _sleeps: None)
    with pytest.raises(NotReadyError, match="it was deleted"):
        _dial("Plain cluster", place_of(closed), Deadline(1000, clock, clock.sleep), check)
    assert clock.sleeps == 2


def test_dial_gives_up_at_the_deadline_and_says_what_it_saw(closed: socket.socket) -> None:
    clock = Clock(lambda _sleeps: None)
    deadline = Deadline(4, clock, clock.sleep)
    with pytest.raises(NotReadyError) as caught:
        _dial("Plain cluster", place_of(closed), deadline)
    assert (caught.value.target, caught.value.budget_seconds) == ("Plain cluster", 4)
    host, port = place_of(closed)
    assert caught.value.last_seen.startswith(f"{host}:{port}: ")
    assert "refused" in caught.value.last_seen
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert clock.now == pytest.approx(4)


class FrozenServer:
    """Takes connections and greets as HTTP/2 does, as a machine whose process is frozen may; answers no call."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"ray://127.0.0.1:{self.listener.getsockname()[1]}"
        self.taken: list[socket.socket] = []
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self.listener.accept()
                self.taken.append(taken)
                taken.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for taken in self.taken:
            taken.close()


@pytest.fixture
def frozen() -> Generator[FrozenServer]:
    server = FrozenServer()
    yield server
    server.close()


@needs_grpc
def test_a_server_that_takes_connections_and_stays_silent_ends_at_the_deadline(frozen: FrozenServer) -> None:
    """`ray.init` itself would hang on it for minutes, whatever the deadline says."""
    with pytest.raises(NotReadyError, match="takes connections, but Ray Client's server does not answer"):
        connect("Plain cluster", frozen.address, {}, Deadline(0.3))


@needs_grpc
def test_a_cluster_that_is_gone_ends_the_wait_for_a_silent_server(
    frozen: FrozenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise LookupError("deleted by somebody else")

    monkeypatch.setattr("dagster_ray.core._connection._PING_SECONDS", 0.1)
    with pytest.raises(LookupError):
        connect("Plain cluster", frozen.address, {}, Deadline(60), check_cluster=gone)


@pytest.mark.parametrize(
    ("before", "given", "now", "expected"),
    [
        pytest.param(None, "token", "token", None, id="a variable that Ray set is removed"),
        pytest.param("mine", "token", "token", "mine", id="a variable that Ray changed gets its old value"),
        pytest.param("mine", "token", "other", "other", id="a value that somebody set since stays"),
        pytest.param("mine", "token", None, None, id="a variable that somebody removed since stays away"),
    ],
)
def test_restore(
    monkeypatch: pytest.MonkeyPatch, before: str | None, given: str, now: str | None, expected: str | None
) -> None:
    name = "DAGSTER_RAY_TEST_VARIABLE"
    monkeypatch.setenv(name, now or "")
    if now is None:
        monkeypatch.delenv(name)
    restore({name: (before, given)})
    assert os.environ.get(name) == expected


def test_changes_are_the_variables_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_RAY_TEST_OLD", "old")
    monkeypatch.setenv("DAGSTER_RAY_TEST_SAME", "same")
    before = dict(os.environ)
    monkeypatch.setenv("DAGSTER_RAY_TEST_OLD", "changed")
    monkeypatch.setenv("DAGSTER_RAY_TEST_NEW", "new")
    assert changes(before) == {
        "DAGSTER_RAY_TEST_OLD": ("old", "changed"),
        "DAGSTER_RAY_TEST_NEW": (None, "new"),
    }


def test_a_python_without_ray_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with pytest.raises(RayNotInstalledError, match=r"pip install 'ray\[client\]'"):
        require_ray("Plain cluster", "ray[client]")

"""The process that holds a shared cluster, without Ray: who is counted, who is answered, when it ends."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagster_ray.local._holder import LEAVE, STAYS, Holder

ANSWER = b'{"address": "here"}\n'
PATIENCE_SECONDS = 20.0


class Held:
    """A holder that serves in a thread."""

    def __init__(self, path: Path, keep_seconds: float) -> None:
        self.path = path
        self.holder = Holder(path, keep_seconds)
        self.last: socket.socket | None = None
        self._claims = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self.last = self.holder.serve(ANSWER)

    def claim(self) -> socket.socket:
        claim = self._claims.enter_context(socket.socket(socket.AF_UNIX))
        claim.settimeout(PATIENCE_SECONDS)
        claim.connect(str(self.path))
        assert claim.recv(100) == ANSWER
        return claim

    def close(self) -> None:
        self.holder.close()
        self._claims.close()

    def ended(self, seconds: float = PATIENCE_SECONDS) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp") as path:  # a socket's path is 107 bytes at most
        yield Path(path)


def test_the_last_to_leave_ends_it_and_the_others_are_told_that_it_stays(folder: Path) -> None:
    held = Held(folder / "s", keep_seconds=0)
    first, second = held.claim(), held.claim()
    first.sendall(LEAVE)
    assert first.recv(100) == STAYS
    second.sendall(LEAVE)
    assert held.ended()
    assert held.last is not None
    held.last.close()  # as the end of the process does
    assert second.recv(100) == b""
    held.close()


def test_a_claim_whose_process_died_is_gone_without_a_word(folder: Path) -> None:
    held = Held(folder / "s", keep_seconds=0)
    first, second = held.claim(), held.claim()
    first.close()
    third = held.claim()
    second.close()
    third.close()
    assert held.ended()
    assert held.last is None
    held.close()


def test_whoever_comes_while_it_is_kept_finds_it(folder: Path) -> None:
    held = Held(folder / "s", keep_seconds=PATIENCE_SECONDS)
    first = held.claim()
    first.sendall(LEAVE)
    assert first.recv(100) == STAYS
    second = held.claim()
    assert not held.ended(seconds=0)
    second.sendall(LEAVE)
    assert second.recv(100) == STAYS
    assert held.ended(2 * PATIENCE_SECONDS)
    held.close()


def test_whoever_comes_too_late_is_not_answered_and_sees_the_end(folder: Path) -> None:
    held = Held(folder / "s", keep_seconds=0)
    held.claim().close()
    assert held.ended()
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(str(held.path))
        held.close()
        late.settimeout(PATIENCE_SECONDS)
        with pytest.raises(ConnectionResetError):
            late.recv(100)
    assert not held.path.exists()

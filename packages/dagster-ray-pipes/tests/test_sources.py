"""Reading a whole file piece by piece: every byte once, however a connection cuts it."""

import random
from typing import Any, cast

import pytest
import requests

from dagster_ray.pipes import _sources
from dagster_ray.pipes._job_server import JobServer
from dagster_ray.pipes._sources import WholeFileSource

CONTENT = bytes(random.Random(1).randbytes(50_000))


class Raw:
    """A body that arrives in pieces of any size, never more than is asked for."""

    def __init__(self, seed: int) -> None:
        self._random, self._at = random.Random(seed), 0

    def read1(self, most: int) -> bytes:
        """Return some of the next bytes."""
        size = min(most, self._random.randint(1, 3_000))
        piece = CONTENT[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def shutdown(self) -> None:
        """Do nothing."""


class Response:
    """An answer whose body is not read yet."""

    def __init__(self, seed: int) -> None:
        self.raw = Raw(seed)

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("start", [0, 1, 4_096, 49_999, 50_000])
def test_a_file_longer_than_a_read_loses_no_byte(monkeypatch: pytest.MonkeyPatch, seed: int, start: int) -> None:
    opened: list[int] = []

    def logs(*_: object) -> requests.Response:
        opened.append(seed)
        return cast("Any", Response(seed))

    monkeypatch.setattr(_sources, "_logs", logs)
    source, found = WholeFileSource(cast("JobServer", None), "node", "job.log"), b""
    while data := source.read(start + len(found), 4_096):
        assert len(data) <= 4_096
        found += data
    assert found == CONTENT[start:]
    assert len(opened) == 1, "a long file crosses the network once"


def test_what_is_skipped_has_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a long log without an agent comes after all of its beginning, each time that it is asked for."""

    def logs(*_: object) -> requests.Response:
        return cast("Any", Response(1))

    monkeypatch.setattr(_sources, "_logs", logs)
    monkeypatch.setattr(_sources, "_CALL_SECONDS", 0.0)
    monkeypatch.setattr(_sources, "_SLOWEST_BYTES", 1)
    found = WholeFileSource(cast("JobServer", None), "node", "job.log").read(49_000, 4_096)
    assert found == CONTENT[49_000:]

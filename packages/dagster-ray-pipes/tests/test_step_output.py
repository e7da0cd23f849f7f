"""The step's output on a disk that is full for a while."""

import errno
import io
import sys

import pytest
from typing_extensions import override

from dagster_ray.pipes._sinks import StepOutput


class Disk(io.StringIO):
    """Takes text unless it is full."""

    full = False

    @override
    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_text_is_written_again_when_there_is_room_and_the_first_error_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, output = Disk(), StepOutput()
    monkeypatch.setattr(sys, "stdout", disk)
    output.write("one\n")
    assert output.error is None
    disk.full = True
    output.write("two\n")
    first = output.error
    output.write("three\n")
    disk.full = False
    output.write("four\n")
    assert disk.getvalue() == "one\nfour\n"
    assert output.error is first
    assert first is not None
    assert first.errno == errno.ENOSPC

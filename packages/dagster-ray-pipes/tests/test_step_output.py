"""The step's output on streams that refuse text: the job goes on, and what can be written is written."""

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ray_like_server import RayLike
from typing_extensions import override

from dagster_ray.pipes import PipesRayJobClient
from dagster_ray.pipes._sinks import StepOutput

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


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


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def closed_stream() -> io.TextIOWrapper:
    stream = ascii_stream()
    stream.close()
    return stream


def broken_pipe() -> io.TextIOWrapper:
    reading, writing = os.pipe()
    os.close(reading)
    return io.TextIOWrapper(io.FileIO(writing, "w"), encoding="utf-8", write_through=True)  # pyright: ignore[reportArgumentType]


class Foreign:
    """A stream of a library."""

    encoding = None

    def write(self, text: str) -> int:
        raise RuntimeError(text)


BROKEN: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "closed here": (closed_stream, ValueError),
    "closed on the other side": (broken_pipe, BrokenPipeError),
    "missing, as without a console": (lambda: None, AttributeError),
    "a library's": (Foreign, RuntimeError),
}


@pytest.mark.parametrize(("make", "error"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_broken_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[], Any], error: type[Exception]
) -> None:
    stream = make()
    output = StepOutput()
    monkeypatch.setattr(sys, name, stream)
    output.write("one\n", name)
    output.write("two\n", name)
    assert isinstance(output.error, error)
    if hasattr(stream, "buffer"):
        stream.buffer.close()


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "?? ?\n"), ("latin-1", "\u00fc? ?\n")])
def test_a_character_that_the_stream_lacks_is_replaced(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    stream, output = io.TextIOWrapper(io.BytesIO(), encoding=encoding), StepOutput()
    monkeypatch.setattr(sys, "stdout", stream)
    output.write("\u00fc\u2713 \U0001f389\n")
    stream.seek(0)
    assert stream.read() == shown
    assert output.error is None, "nothing is missing"


LOUD = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    print("\u2713 in the log", flush=True)
    pipes._message_channel.write_message({"method": "log_external_stream", "params": {
        "stream": "stdout", "text": "\u2713 of a stream\\n", "extras": {}}})
    pipes.report_custom_message("\u2713")
"""


def test_a_job_goes_on_if_the_steps_stdout_is_ascii(
    ray: RayLike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text(LOUD, encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")  # for the job, not for this process
    stream, said = ascii_stream(), list[Any]()

    @dg.op
    def submits(context: dg.OpExecutionContext) -> None:
        job = {"entrypoint": f"{sys.executable} {tmp_path / 'script.py'}"}
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            said.extend(PipesRayJobClient(ray.url).run(context=context, ray_job=job).get_custom_messages())

    @dg.job  # pyright: ignore[reportUnknownMemberType]
    def one_op() -> None:
        submits()

    assert one_op.execute_in_process().success
    assert said == ["\u2713"]
    stream.seek(0)
    assert sorted(stream.read().splitlines()) == ["? in the log", "? of a stream"]

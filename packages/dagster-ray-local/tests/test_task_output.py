import io
import random
from pathlib import Path

import pytest

from dagster_ray.core import Deadline
from dagster_ray.local._task_output import Amount, TaskOutput, WorkerFile

JOB = "01000000"


@pytest.mark.parametrize(
    ("name_job", "content", "lines", "characters"),
    [
        pytest.param(
            JOB, b":job_id:01000000\n:task_name:f\none\ntwo\n", 2, 6, id="what tells Ray something is not printed"
        ),
        pytest.param("ffffffff", b":job_id:01000000\none\n", 1, 3, id="a worker that got its job later"),
        pytest.param("ffffffff", b"one\n", 0, 0, id="a worker without a job"),
        pytest.param(JOB, b"one\n:job_id:02000000\ntwo\n", 1, 3, id="a worker that another job got"),
        pytest.param(JOB, b"one\nhalf", 2, 7, id="an unfinished line counts"),
        pytest.param(JOB, b"one\n:task_na", 1, 3, id="what may become a mark of Ray does not count yet"),
        pytest.param(JOB, b"50%\r:task_name:g\ntwo\n", 2, 6, id="a mark after a progress bar"),
        pytest.param(JOB, b"half:job_id:02000000\ntwo\n", 1, 4, id="a worker that another job got, after half a line"),
        pytest.param(JOB, b"one\r\n\r\n", 2, 3, id="line ends of Windows, and an empty line"),
        pytest.param(JOB, b"\xff\xfe\n\n", 2, 0, id="bytes that are no text, and an empty line"),
    ],
)
def test_printed_by_a_worker(name_job: str, content: bytes, lines: int, characters: int) -> None:
    file = WorkerFile(name_job, JOB)
    file.feed(content)
    found = file.printed_so_far()
    assert (found.lines, found.ascii) == (lines, characters)
    assert file.printed_so_far() == found


@pytest.mark.parametrize("seed", range(20))
def test_the_cuts_between_reads_do_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    content = b":job_id:01000000\n" + b"".join(b"line %d\n" % number for number in range(100))
    file = WorkerFile("", JOB)
    while content:
        cut = rng.randint(1, 40)
        file.feed(content[:cut])
        content = content[cut:]
        file.printed_so_far()
    assert file.printed == Amount(100, sum(len(f"line {number}") for number in range(100)))


def published(content: bytes, rng: random.Random) -> list[str]:
    """What Ray's log monitor makes of a file that grows while it looks: `readline` until the end, each time."""
    pieces: list[str] = []
    position = 0
    while position < len(content):
        seen = io.BytesIO(content[: position + rng.randint(1, 30)])
        seen.seek(position)
        pieces += [line.decode("utf-8", "replace").rstrip("\r\n") for line in seen]
        position = seen.tell()
    return pieces


TEXT = "progress 10%\rprogress 20%\rdone\nGrüße aus Köln\n日本語\n\nlast line without an end".encode()


@pytest.mark.parametrize("seed", range(50))
def test_pieces_of_unfinished_lines_are_never_taken_for_all_of_them(tmp_path: Path, seed: int) -> None:
    """Each piece arrives as a line, so counted lines said "all is here" while the last one was under way."""
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(TEXT)
    pieces = published(TEXT, random.Random(seed))
    output = TaskOutput()
    for piece in pieces[:-1]:
        output.take({"pid": "77", "is_err": False, "lines": [piece]})
    assert not output.wait_for_all(tmp_path, JOB, over())
    output.take({"pid": "77", "is_err": False, "lines": pieces[-1:]})
    assert output.wait_for_all(tmp_path, JOB, over())


def over() -> Deadline:
    return Deadline(0.0)


def test_nothing_printed_means_no_wait(tmp_path: Path) -> None:
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(b":job_id:01000000\n:task_name:f\n")
    (tmp_path / "raylet.out").write_bytes(b"noise\n")
    assert TaskOutput().wait_for_all(tmp_path, JOB, over())


def test_lines_that_have_not_arrived_are_missed(tmp_path: Path) -> None:
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(b"one\ntwo\n")
    output = TaskOutput()
    output.take({"pid": "77", "is_err": False, "lines": ["one"]})
    assert not output.wait_for_all(tmp_path, JOB, over())


def test_each_stream_of_each_worker_counts_for_itself(tmp_path: Path) -> None:
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(b"one\n")
    (tmp_path / f"worker-ab12-{JOB}-77.err").write_bytes(b"two\n")
    output = TaskOutput()
    output.take({"pid": "77", "is_err": False, "lines": ["one", "two"]})
    assert not output.wait_for_all(tmp_path, JOB, over())
    output.take({"pid": "77", "is_err": True, "lines": ["two"]})
    assert output.wait_for_all(tmp_path, JOB, over())

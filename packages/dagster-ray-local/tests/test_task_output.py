import random
from pathlib import Path

import pytest

from dagster_ray.core import Deadline
from dagster_ray.local._task_output import TaskOutput, WorkerFile

JOB = "01000000"


@pytest.mark.parametrize(
    ("name_job", "content", "expected"),
    [
        pytest.param(
            JOB, b":job_id:01000000\n:task_name:f\none\ntwo\n", 2, id="what tells Ray something is not printed"
        ),
        pytest.param("ffffffff", b":job_id:01000000\none\n", 1, id="a worker that got its job later"),
        pytest.param("ffffffff", b"one\n", 0, id="a worker without a job"),
        pytest.param(JOB, b"one\n:job_id:02000000\ntwo\n", 1, id="a worker that another job got"),
        pytest.param(JOB, b"one\nhalf", 1, id="an unfinished line does not count yet"),
        pytest.param(JOB, b"\xff\xfe\n\n", 2, id="bytes that are no text, and an empty line"),
    ],
)
def test_printed_lines_of_a_worker(name_job: str, content: bytes, expected: int) -> None:
    file = WorkerFile(name_job, JOB)
    file.feed(content)
    assert file.printed == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_cuts_between_reads_do_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    content = b":job_id:01000000\n" + b"".join(b"line %d\n" % number for number in range(100))
    file = WorkerFile("", JOB)
    while content:
        cut = rng.randint(1, 40)
        file.feed(content[:cut])
        content = content[cut:]
    assert file.printed == 100


def over() -> Deadline:
    return Deadline(0.0)


def test_nothing_printed_means_no_wait(tmp_path: Path) -> None:
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(b":job_id:01000000\n:task_name:f\n")
    (tmp_path / "raylet.out").write_bytes(b"noise\n")
    assert TaskOutput().wait_for_all(tmp_path, JOB, over())


def test_lines_that_have_not_arrived_are_missed(tmp_path: Path) -> None:
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(b"one\ntwo\n")
    output = TaskOutput()
    output.arrived["77", False] = 1
    assert not output.wait_for_all(tmp_path, JOB, over())


def test_each_stream_of_each_worker_counts_for_itself(tmp_path: Path) -> None:
    (tmp_path / f"worker-ab12-{JOB}-77.out").write_bytes(b"one\n")
    (tmp_path / f"worker-ab12-{JOB}-77.err").write_bytes(b"two\n")
    output = TaskOutput()
    output.arrived["77", False] = 2
    assert not output.wait_for_all(tmp_path, JOB, over())
    output.arrived["77", True] = 1
    assert output.wait_for_all(tmp_path, JOB, over())

"""The parts of a step in the cluster that need no run: lines, verdicts, and what a job is submitted with."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
from typing_extensions import override

from dagster_ray.core import Deadline
from dagster_ray.core.cluster_step.host_facts import HostFacts
from dagster_ray.core.cluster_step.lines import Line, read, written
from dagster_ray.core.cluster_step.reference import StepReference, Versions, own_versions, unpacked
from dagster_ray.core.cluster_step.worker import StepProblem, load_step
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._step_driver.code import DriverOptions, runtime_env_of
from dagster_ray.pipes._step_driver.delivery import Delivery
from dagster_ray.pipes._step_driver.received import ReceivedLines
from dagster_ray.pipes._step_driver.verdict import Told, judged


class SlowDelivery(Delivery):
    """Holds some events back, and stores each in a second."""

    def __init__(self, held: int) -> None:
        self.now, self._held = 0.0, [cast("Any", n) for n in range(held)]
        self.stored: list[object] = []

    @override
    def _store(self, entry: Any) -> Iterator[Any]:
        self.now += 1.0
        self.stored.append(entry)
        yield from ()


def test_events_that_were_held_back_are_stored_within_the_time_of_the_end_and_those_that_are_lost_counted() -> None:
    delivery = SlowDelivery(5)
    assert delivery.let_go(Deadline(2.5, lambda: delivery.now)) == 2
    assert delivery.stored == [0, 1, 2]
    assert delivery.let_go(Deadline(2.5, lambda: delivery.now)) == 0
    in_time = SlowDelivery(2)
    assert in_time.let_go(Deadline(2.5, lambda: in_time.now)) == 0
    assert in_time.stored == [0, 1]


LINES = [Line(0, "handshake", {"python": "3.11"}), Line(1, "event", '{"a": "ä\\n"}'), Line(2, "end", {})]


@pytest.mark.parametrize("size", [pytest.param(1, id="byte by byte"), pytest.param(7, id="in pieces")])
def test_lines_come_out_as_they_were_written_wherever_they_are_cut(size: int) -> None:
    data, received = b"".join(written(line) for line in LINES), ReceivedLines()
    for at in range(0, len(data), size):
        assert received.position == at
        received.take(data[at : at + size])
    received.end()
    assert [received.next() for _ in range(4)] == [*LINES, None]
    assert received.broken is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(written(LINES[1]), id="the first line is missing"),
        pytest.param(b"foreign\n", id="not JSON"),
        pytest.param(b'{"n": 0, "event": {}}\n', id="an event that is no text"),
    ],
)
def test_a_file_that_is_not_the_workers_is_noticed(data: bytes) -> None:
    received = ReceivedLines()
    received.take(data)
    assert received.next() is None
    assert received.broken is not None


def test_a_line_that_holds_nothing_of_ours_is_none() -> None:
    assert [read(text) for text in (b"", b"[]", b'{"n": 1}', b'{"event": "x"}')] == [None] * 4


def details(status: str, **fields: Any) -> JobDetails:
    return JobDetails("job", status, **fields)


@pytest.mark.parametrize(
    ("job", "told", "lines", "code", "words"),
    [
        pytest.param(
            details("FAILED"), Told({}, {"sentence": "no", "permanent": True}), (), "driver-start", "no", id="code"
        ),
        pytest.param(details("FAILED"), Told({}, {"sentence": "db"}), (), "driver-setup", "db", id="a resource"),
        pytest.param(
            details("FAILED"),
            Told(),
            ("Traceback", "ModuleNotFoundError: No module named 'dagster_ray'"),
            "driver-start",
            "has no module dagster_ray",
            id="nothing of ours in the image",
        ),
        pytest.param(
            details("FAILED"), Told(), ("/bin/sh: 1: python: not found",), "driver-start", "`python`", id="no Python"
        ),
        pytest.param(
            details("FAILED", exit_code=-9, message="killed"), Told({}), ("x",), "ray-job-failed", "-9", id="killed"
        ),
        pytest.param(
            details("FAILED"),
            Told({}),
            ("No module named 'mine'",),
            "ray-job-failed",
            "mine",
            id="the body's own failed import is none of the start",
        ),
        pytest.param(details("SUCCEEDED"), Told({}), ("x",), "driver-events-missing", "SUCCEEDED", id="it left"),
        pytest.param(details("SUCCEEDED"), Told(), (), "driver-events-missing", "never wrote", id="nothing at all"),
    ],
)
def test_why_a_step_has_no_end(job: JobDetails, told: Told, lines: tuple[str, ...], code: str, words: str) -> None:
    error: Any = judged("job", job, told, "", lines)
    assert (error.code, words in str(error)) == (code, True)


def reference(versions: Versions | None = None) -> StepReference:
    step = {"run_config": "canary-4711"}
    return StepReference("job-0", "/logs/file", "Ray", "step", step, HostFacts(), versions or own_versions())


def test_a_reference_survives_its_package() -> None:
    one = reference()
    assert unpacked(one.packed()) == one
    assert one.packed() == reference().packed()


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        pytest.param(Versions("1.0.0", own_versions().dagster_ray), "1.0.0 in the step's process", id="dagster"),
        pytest.param(Versions(own_versions().dagster, "0.0.1"), "0.0.1 in the step's process", id="dagster-ray"),
    ],
)
def test_other_software_in_the_cluster_is_told_before_any_code_is_loaded(versions: Versions, words: str) -> None:
    with pytest.raises(StepProblem, match=words):
        load_step(reference(versions))


@pytest.mark.parametrize(
    ("given", "options", "wanted"),
    [
        pytest.param({}, DriverOptions(), {"env_vars": {"PYTHONPATH": "/app"}}, id="the image's code"),
        pytest.param(
            {"env_vars": {"PYTHONPATH": "/mine"}, "pip": ["a"]},
            DriverOptions(pip=["b"]),
            {"env_vars": {"PYTHONPATH": "/mine"}, "pip": ["a", "b"]},
            id="what the user says counts",
        ),
        pytest.param(
            {"pip": {"packages": ["a"], "pip_check": False}},
            DriverOptions(pip=["b"]),
            {"env_vars": {"PYTHONPATH": "/app"}, "pip": {"packages": ["a", "b"], "pip_check": False}},
            id="pip with options",
        ),
    ],
)
def test_the_runtime_environment_of_the_worker(
    given: Mapping[str, Any], options: DriverOptions, wanted: Mapping[str, Any], tmp_path: Path
) -> None:
    found = runtime_env_of(given, "/app", reference(), options, tmp_path)
    (package,) = found.pop("py_modules")
    assert found == wanted
    assert package.name == "step-job-0"
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("given", "options", "pip"),
    [
        pytest.param({}, DriverOptions("upload"), [f"dagster=={version('dagster')}"], id="the step's own dagster"),
        pytest.param(
            {"pip": ["a"]}, DriverOptions("upload"), ["a", f"dagster=={version('dagster')}"], id="after what is given"
        ),
        pytest.param({}, DriverOptions("upload", pip=["dagster"]), ["dagster"], id="what the user says"),
        pytest.param({}, DriverOptions("upload", pip=[]), None, id="the image has all"),
        pytest.param({}, DriverOptions("image"), None, id="nothing is uploaded"),
    ],
)
def test_uploaded_code_brings_dagster_to_an_image_without_it(
    given: Mapping[str, Any], options: DriverOptions, pip: list[str] | None, tmp_path: Path
) -> None:
    found = runtime_env_of(given, None, reference(), options, tmp_path)
    assert found.get("pip") == pip
    sent = {package.name.partition("-")[0] for package in found["py_modules"]}
    assert ("dagster_ray" in sent, "working_dir" in found) == (options.code == "upload",) * 2


def test_what_a_driver_takes_is_what_rays_job_api_calls_it() -> None:
    assert DriverOptions().config({}).of_job == {}
    found = DriverOptions(cpus=0.5, gpus=1, memory=2**30, resources={"tpu": 1}).config({}).of_job
    assert found == {
        "entrypoint_num_cpus": 0.5,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 2**30,
        "entrypoint_resources": {"tpu": 1},
    }

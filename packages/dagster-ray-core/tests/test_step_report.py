"""Figures of a step's cluster: samples of the dashboard, and a report that never fails a step."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import contextlib
import json
import logging
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import pytest
from dripping_server import ENDLESS_BODY, ENDLESS_HEAD, dripping
from plain_cluster import PlainCluster

from dagster_ray.core import DagsterContext, Deadline, run_phases
from dagster_ray.core.step_report.around import Figure, StepReport, metadata_of
from dagster_ray.core.step_report.dashboard import DashboardReader
from dagster_ray.core.step_report.progress_watch import Job, ProgressWatch
from dagster_ray.core.step_report.sampling import UsageMeasurement, UsageSampler
from dagster_ray.core.step_report.usage import Usage, sample_of

ENDLESS_LAST = ENDLESS_BODY.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
"""After it the connection has no socket any more, only its answer has."""

GIB = 2**30
LONG_SECONDS = 30.0


def ended() -> Deadline:
    """Return a deadline that is over."""
    return Deadline(0.0)


def node(cpu: float, cpus: int, used_gib: float, *, state: str = "ALIVE", gpus: tuple[float, ...] = ()) -> Any:
    """Return a node as Ray's dashboard reports it."""
    return {
        "cpu": cpu,
        "cpus": [cpus, cpus],
        "mem": [16 * GIB, (16 - used_gib) * GIB, 100 * used_gib / 16, used_gib * GIB],
        "gpus": [{"utilizationGpu": percent, "memoryUsed": 1, "memoryTotal": 2} for percent in gpus],
        "raylet": {"state": state},
    }


def answer(*nodes: Any) -> dict[str, Any]:
    return {"result": True, "msg": "", "data": {"summary": [*nodes]}}


SAMPLES: dict[str, tuple[list[object], dict[str, float | int]]] = {
    "nothing": ([], {}),
    "an answer without nodes": ([answer()], {}),
    "something else": ([None, [], {"data": None}, {"data": {"summary": [3]}}], {}),
    "a node that was not measured yet": ([answer({"raylet": {"state": "ALIVE"}})], {}),
    "nodes count by their CPUs": (
        [answer(node(100, 3, 2), node(0, 1, 1))],
        {"cpu_used_share": 0.75, "peak_memory_gib": 3, "usage_samples": 1},
    ),
    "the mean of the samples, and the peak of their sums": (
        [answer(node(100, 2, 2), node(100, 2, 6)), answer(node(0, 2, 5), node(0, 2, 1))],
        {"cpu_used_share": 0.5, "peak_memory_gib": 8, "usage_samples": 2},
    ),
    "a node that is dead": (
        [answer(node(100, 2, 2), node(100, 2, 6, state="DEAD"))],
        {"cpu_used_share": 1, "peak_memory_gib": 2, "usage_samples": 1},
    ),
    "GPUs": (
        [answer(node(50, 2, 2, gpus=(100, 0)))],
        {"cpu_used_share": 0.5, "gpu_used_share": 0.5, "peak_memory_gib": 2, "usage_samples": 1},
    ),
    "a GPU whose use is not known counts as idle": (
        [answer({**node(0, 1, 1), "gpus": [{"utilizationGpu": None}]})],
        {"cpu_used_share": 0, "gpu_used_share": 0, "peak_memory_gib": 1, "usage_samples": 1},
    ),
}


@pytest.mark.parametrize(("answers", "figures"), SAMPLES.values(), ids=SAMPLES)
def test_samples_become_figures(answers: list[object], figures: dict[str, float | int]) -> None:
    usage = Usage()
    for each in answers:
        if (found := sample_of(each)) is not None:
            usage.add(found)
    assert usage.figures() == figures


def test_numbers_become_numbers_that_dagster_plots() -> None:
    found = metadata_of({"cpu_hours": 1.5, "usage_samples": 3, "shared": True, "hours_unknown": "why"})
    assert [type(value) for value in found.values()] == [
        dg.FloatMetadataValue,
        dg.IntMetadataValue,
        dg.BoolMetadataValue,
        dg.TextMetadataValue,
    ]
    assert next(iter(found)) == "dagster_ray/cpu_hours"


@contextmanager
def dashboard(
    body: bytes, status: int = 200, pause_seconds: float = 0
) -> Generator[tuple[str, list[tuple[str, str | None]]]]:
    """Yield the URL of a dashboard that answers everything alike, and what was asked with which credentials.

    With a pause it sends one byte after the other.
    """
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not pause_seconds:
                self.wfile.write(body)
                return
            with contextlib.suppress(OSError):  # nobody reads any more
                for one in body:
                    self.wfile.write(bytes([one]))
                    threading.Event().wait(pause_seconds)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - of the library
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_answer_that_drips_is_given_up_at_its_deadline() -> None:
    with dashboard(b"[" + b" " * 40 + b"1]", pause_seconds=0.05) as (url, asked):
        reader = DashboardReader(lambda: (url, None))
        found = reader.get("/a", 0.2)
        reader.close()
    assert (found, len(asked)) == (None, 1)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(ENDLESS_HEAD, id="in its head"),
        pytest.param(ENDLESS_BODY, id="in its body"),
        pytest.param(ENDLESS_LAST, id="in the body of the last one of a connection"),
    ],
)
def test_an_answer_that_never_ends_is_given_up(first: bytes) -> None:
    with dripping(first, b"x") as port:
        reader = DashboardReader(lambda: (f"http://127.0.0.1:{port}", None))
        assert reader.get("/a", 0.2) is None
        reader.close()


def test_the_dashboard_is_asked_with_the_clusters_token() -> None:
    with dashboard(b"[1]") as (url, asked):
        reader = DashboardReader(lambda: (url, "secret"))
        assert [reader.get("/a", 5), reader.get("/b", 5)] == [[1], [1]]
        reader.close()
    assert asked == [("/a", "Bearer secret"), ("/b", "Bearer secret")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"<html>", 200, id="a page"),
        pytest.param(b"[1]", 503, id="an error"),
        pytest.param(b"[" * 100_000, 200, id="nested too deep"),
    ],
)
def test_an_answer_that_is_none_says_nothing(body: bytes, status: int) -> None:
    with dashboard(body, status) as (url, _):
        reader = DashboardReader(lambda: (url, None))
        assert reader.get("/a", 5) is None
        reader.close()


def test_a_dashboard_that_is_not_there_says_nothing() -> None:
    with dashboard(b"[1]") as (url, _):
        pass
    assert DashboardReader(lambda: (url, None)).get("/a", 5) is None
    assert DashboardReader(lambda: (None, None)).get("/a", 5) is None


def test_a_short_step_is_sampled_at_its_end() -> None:
    with dashboard(json.dumps(answer(node(50, 2, 1))).encode()) as (url, asked):
        sampler = UsageSampler(lambda: (url, None))
        try:
            assert sampler.figures(ended()) == {}
            assert sampler.figures(Deadline(LONG_SECONDS)) == {
                "cpu_used_share": 0.5,
                "peak_memory_gib": 1,
                "usage_samples": 1,
            }
        finally:
            sampler.close(Deadline(LONG_SECONDS))
    assert asked == [("/nodes?view=summary", None)]
    assert not [one for one in threading.enumerate() if one.name == "dagster-ray usage"]


def test_nobody_waits_for_a_dashboard_longer_than_he_wants() -> None:
    """The lookup of a name has no timeout of its own."""
    is_over, waited_out = threading.Event(), list[bool]()

    def looked_up() -> tuple[None, None]:
        waited_out.append(not is_over.wait(LONG_SECONDS))
        return None, None

    sampler = UsageSampler(looked_up)
    watch = ProgressWatch(Job(DashboardReader(looked_up), lambda: "01000000"), logging.getLogger("test"))
    try:
        assert sampler.figures(Deadline(0.05)) == {}
        assert watch.tables(Deadline(0.05)) == {}
        sampler.close(Deadline(0.05))
        watch.close(Deadline(0.05))
        assert waited_out == []
    finally:
        is_over.set()


class Measured:
    """A cluster whose measurement may raise at any point."""

    display_name, is_measured = "a cluster", True

    def __init__(self, raises: str = "") -> None:
        self._raises, self.calls, self.deadlines = raises, list[str](), list[Deadline]()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self._raises:
            raise ValueError(f"{name} does not work")

    def measure(self, context: Any) -> "Measured":
        self._call("measure")
        return self

    def read(self, deadline: Deadline) -> Mapping[str, Figure]:
        self.deadlines.append(deadline)
        self._call("read")
        return {"cpu_hours": 1.0}

    def close(self, deadline: Deadline) -> None:
        self.deadlines.append(deadline)
        self._call("close")


@pytest.mark.parametrize("raises", ["measure", "read", "close"])
def test_a_measurement_that_raises_fails_no_step(raises: str) -> None:
    measured = Measured(raises)
    report = StepReport(measured, dg.build_init_resource_context())
    report.begin()
    assert ("dagster_ray/cpu_hours" in report.metadata()) is (raises == "close")
    report.end()
    assert report.metadata() == {}


def test_figures_are_read_again_at_the_end_and_not_for_each_output() -> None:
    measured = Measured()
    report = StepReport(measured, dg.build_init_resource_context())
    report.begin()
    for _ in range(100):
        report.metadata()
    report.end()
    assert measured.calls == ["measure", "read", "read", "close"]


def test_the_figures_and_the_end_of_the_threads_share_one_deadline() -> None:
    measured = Measured()
    report = StepReport(measured, dg.build_init_resource_context())
    report.begin()
    report.end()
    read, closed = measured.deadlines
    assert read is closed
    assert not closed.is_over()


class MeasuredCluster(PlainCluster):
    """A cluster whose figures a dashboard knows."""

    is_measured = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def measure(self, context: DagsterContext) -> UsageMeasurement:
        return UsageMeasurement(lambda: (self._url, None), {})


@pytest.mark.parametrize(
    ("error", "asks"),
    [
        pytest.param(ValueError("of the step"), True, id="a step that failed"),
        pytest.param(KeyboardInterrupt(), False, id="Ctrl-C"),
        pytest.param(dg.DagsterExecutionInterruptedError(), False, id="a termination by Dagster"),
    ],
)
def test_the_dashboard_is_asked_nothing_after_an_interrupt(error: BaseException, asks: bool) -> None:
    with dashboard(json.dumps(answer(node(50, 2, 1))).encode()) as (url, asked):
        cluster = MeasuredCluster(url)
        with pytest.raises(type(error)), run_phases(cluster, dg.build_init_resource_context()):
            raise error
    assert cluster.calls[-1].startswith("cleanup")
    assert [path for path, _ in asked] == (["/nodes?view=summary"] if asks else [])


def test_a_step_that_succeeded_is_sampled() -> None:
    with dashboard(json.dumps(answer(node(50, 2, 1))).encode()) as (url, asked):
        with run_phases(MeasuredCluster(url), dg.build_init_resource_context()):
            pass
        assert [path for path, _ in asked] == ["/nodes?view=summary"]

"""Tables and lines of Ray Data and Ray Train, in states that the recorded answers do not show, and who asks for them.

The answers here are written: they have the fields that the sources of Ray 2.46.0, 2.53.0 and 2.60.0 write, which are
`register_dataset` in ray/data/_internal/stats.py, `_get_state_dict` in
ray/data/_internal/execution/streaming_executor.py, `get_datasets` in ray/dashboard/modules/data/data_head.py, and
`TrainRun` in ray/train/v2/_internal/state/schema.py. `test_recorded_progress` has recorded ones.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType
from typing import Any

import dagster as dg
import pytest

from dagster_ray.core import Deadline, Lifecycle, safe_log
from dagster_ray.core._startup import Progress
from dagster_ray.core.cluster_step import inside
from dagster_ray.core.step_report import progress_watch
from dagster_ray.core.step_report.config import ProgressConfig
from dagster_ray.core.step_report.dashboard import DashboardReader
from dagster_ray.core.step_report.progress import (
    dataset_rows,
    dataset_table,
    has_state_of,
    progress_line,
    train_rows,
    train_table,
)
from dagster_ray.core.step_report.progress_watch import Job, ProgressWatch

JOB = "02000000"
METRICS = {"ray_data_output_rows": {"max": 0}, "ray_data_current_bytes": {"value": 0, "max": 0}}


def operator(label: str, number: int, state: str, progress: int, total: int, **more: Any) -> dict[str, Any]:
    found = {"operator": f"{label}{number}", "state": state, "progress": progress, "total": total, "queued_blocks": 0}
    return {**found, **more, **METRICS}


def dataset(state: str, operators: list[dict[str, Any]], end: float | None = None, **more: Any) -> dict[str, Any]:
    found = {"dataset": "dataset_1_0", "job_id": JOB, "state": state, "progress": 3, "total": 4, "total_rows": 4000}
    return {**found, "start_time": 1000.0, "end_time": end, "operators": operators, **more, **METRICS}


MAP = "MapBatches(embed)"
# 2.46 begins with RUNNING, later releases with PENDING; each knows the operator's name after the first update only.
ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "2.46.0, at the start": (
        {"datasets": [dataset("RUNNING", [operator(MAP, 1, "RUNNING", 0, 0)], progress=0, total=0, total_rows=0)]},
        "dataset_1_0: 0/0 tasks",
        "| **dataset_1_0** | running | 0/0 | 0 |  |\n| - MapBatches(embed)1 | running | 0/0 |  |  |",
    ),
    "2.46.0, in progress": (
        {"datasets": [dataset("RUNNING", [operator(MAP, 1, "RUNNING", 3, 4, name=MAP, total_rows=4000)])]},
        "dataset_1_0: 3/4 tasks",
        "| **dataset_1_0** | running | 3/4 | 4,000 |  |\n| - MapBatches(embed) | running | 3/4 | 4,000 |  |",
    ),
    "2.53.0, waiting": (
        {"datasets": [dataset("PENDING", [operator(MAP, 1, "PENDING", 0, 0)], progress=0, total=0, total_rows=0)]},
        "",
        "| **dataset_1_0** | pending | 0/0 | 0 |  |\n| - MapBatches(embed)1 | pending | 0/0 |  |  |",
    ),
    "2.53.0, at the end": (
        {"datasets": [dataset("FINISHED", [operator(MAP, 1, "FINISHED", 4, 4, name=MAP)], 1012.34, progress=4)]},
        "",
        "| **dataset_1_0** | finished | 4/4 | 4,000 | 12.3 |\n| - MapBatches(embed) | finished | 4/4 |  |  |",
    ),
    "2.60.0, an estimate that is not known": (
        {"datasets": [dataset("RUNNING", [], total=None, total_rows=None)]},
        "dataset_1_0: 3 tasks",
        "| **dataset_1_0** | running | 3 |  |  |",
    ),
    "2.60.0, a name with a bar": (
        {"datasets": [dataset("FAILED", [operator("a|b", 1, "FAILED", 1, 2, name="a|b")], 1001.0)]},
        "",
        "| **dataset_1_0** | failed | 3/4 | 4,000 | 1.0 |\n| - a\\|b | failed | 1/2 |  |  |",
    ),
}


@pytest.mark.parametrize(("answer", "line", "rows"), ANSWERS.values(), ids=ANSWERS)
def test_datasets_become_a_line_and_a_table(answer: dict[str, Any], line: str, rows: str) -> None:
    found = dataset_rows(answer)
    assert progress_line(found, []) == line
    head = "| dataset or operator | state | tasks | rows | seconds |\n|---|---|---|---|---|\n"
    assert dataset_table(found) == head + rows


def run(status: str, end: int | None, workers: list[int], **more: Any) -> dict[str, Any]:
    attempts = [{"attempt_id": "a", "workers": [{"world_rank": n} for n in range(count)]} for count in workers]
    found: dict[str, Any] = {"id": "1", "name": "fit", "job_id": JOB, "status": status, "start_time_ns": 10**9}
    return {**found, "end_time_ns": end, "attempts": attempts, "job_details": None, **more}


RUNS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "2.46.0, running": ([run("RUNNING", None, [2])], "fit: running, 2 workers", "| fit | running | 1 | 2 |  |"),
    "2.53.0, at the end": ([run("FINISHED", 8 * 10**9, [4, 4])], "", "| fit | finished | 2 | 4 | 7.0 |"),
    "2.60.0, with its settings": (
        [run("RESTARTING", None, [], run_settings={"datasets": ["train"]}, framework_versions={"ray": "2.60.0"})],
        "fit: restarting, 0 workers",
        "| fit | restarting | 0 | 0 |  |",
    ),
}


@pytest.mark.parametrize(("runs", "line", "row"), RUNS.values(), ids=RUNS)
def test_training_runs_become_a_line_and_a_table(runs: list[dict[str, Any]], line: str, row: str) -> None:
    found = train_rows({"train_runs": [*runs, run("RUNNING", None, [1], job_id="another")]}, JOB)
    assert progress_line([], found) == line
    assert train_table(found).splitlines()[2:] == [row]


@pytest.mark.parametrize("answer", [None, [], {}, {"datasets": 3}, {"datasets": [3]}, {"train_runs": [None]}])
def test_an_answer_of_another_shape_is_no_error(answer: object) -> None:
    assert progress_line(dataset_rows(answer), train_rows(answer, JOB)) == ""
    assert train_table(train_rows(answer, JOB)) == ""


def actors(*states: str) -> dict[str, Any]:
    return {
        "result": True,
        "data": {"result": {"total": 1, "result": [{"class_name": "A", "state": s} for s in states]}},
    }


def test_only_an_actor_that_lives_has_states() -> None:
    assert has_state_of(actors("DEAD", "ALIVE"), "A")
    assert not has_state_of(actors("DEAD"), "A")
    assert not has_state_of(actors("ALIVE"), "B")


@contextmanager
def dashboard(answer_of: Callable[[str], Any]) -> Generator[tuple[str, list[str]]]:
    """Yield the URL of a dashboard, and which paths were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(answer_of(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

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


def tables_of(url: str, *, may_use: bool = True) -> dict[str, str]:
    job = Job(DashboardReader(lambda: (url, None)), lambda: JOB, lambda: may_use)
    watch = ProgressWatch(job, safe_log(logging.getLogger("test")))
    try:
        return watch.tables(Deadline(30))
    finally:
        watch.close(Deadline(30))


def test_a_cluster_without_ray_data_is_not_made_to_start_its_actor() -> None:
    with dashboard(lambda _: actors()) as (url, asked):
        assert tables_of(url) == {}
    assert [path.split("?")[0] for path in asked] == ["/api/v0/actors", "/api/v0/actors"]


def test_a_step_that_uses_neither_asks_nothing() -> None:
    with dashboard(lambda _: actors()) as (url, asked):
        assert tables_of(url, may_use=False) == {}
    assert asked == []


def test_a_step_with_ray_data_has_a_table() -> None:
    def answer_of(path: str) -> Any:
        if path.startswith("/api/data"):
            return ANSWERS["2.53.0, at the end"][0]
        name = "_StatsActor" if "_StatsActor" in path else "other"
        return {"data": {"result": {"result": [{"class_name": name, "state": "ALIVE"}]}}}

    with dashboard(answer_of) as (url, asked):
        assert [*tables_of(url)] == ["ray_data"]
    assert f"/api/data/datasets/{JOB}" in asked
    assert not [one for one in threading.enumerate() if one.name == "dagster-ray progress"]


class Answers:
    """Answers as a dashboard with some actors does, and notes what each look asks for."""

    def __init__(self, *actors: str) -> None:
        self._actors, self.looks = actors, list[list[str]]()
        self.enough = threading.Event()

    def job_id(self) -> str:
        """Return the driver's id, which each look asks for first."""
        if len(self.looks) == 4:
            self.enough.set()
        self.looks.append([])
        return JOB

    def get(self, path: str, timeout_seconds: float) -> object:
        del timeout_seconds
        words = {"_StatsActor": "data?", "TrainStateActor": "train?", "/api/data": "data", "/api/train": "train"}
        self.looks[-1].append(next(kind for word, kind in words.items() if word in path))
        if path.startswith("/api/v0/actors"):
            found = [{"class_name": name, "state": "ALIVE"} for name in self._actors if f"={name}&" in path]
            return {"data": {"result": {"result": found}}}
        return ANSWERS["2.53.0, waiting"][0] if path.startswith("/api/data") else None

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("actors", "looks"),
    [
        pytest.param((), [["data?"], ["train?"], ["data?"], ["train?"]], id="neither is used"),
        pytest.param(("_StatsActor",), [["data?", "data"], *[["data?", "data", "train?"]] * 3], id="data is used"),
    ],
)
def test_where_nobody_knows_what_a_job_uses_it_is_asked_in_turn(
    monkeypatch: pytest.MonkeyPatch, actors: tuple[str, ...], looks: list[list[str]]
) -> None:
    monkeypatch.setattr(progress_watch, "_INTERVAL_SECONDS", 0.001)
    answers = Answers(*actors)
    watch = ProgressWatch(Job(answers, answers.job_id), safe_log(logging.getLogger("test")))
    assert answers.enough.wait(30)
    watch.close(Deadline(30))
    assert answers.looks[:4] == looks


@pytest.mark.parametrize(
    ("is_imported", "uses", "expected"),
    [
        pytest.param([False] * 3, None, [5, 5, 5, 5], id="that does not import them"),
        pytest.param([True] * 6, None, [5, 10, 20, 40, 60, 60, 60], id="that imports them only"),
        pytest.param([False, True, True, True], 2, [5, 5, 10, 60, 60], id="that imports and uses them later"),
    ],
)
def test_the_dashboard_is_asked_soon_after_an_import_and_then_less_often(
    is_imported: list[bool], uses: int | None, expected: list[float]
) -> None:
    imported = iter(is_imported)
    watch = ProgressWatch(Job(Answers(), lambda: None, lambda: next(imported)), safe_log(logging.getLogger("test")))
    watch.close(Deadline(30))
    pauses, found = watch._pauses(), list[float]()  # pyright: ignore[reportPrivateUsage]
    for n in range(len(expected)):
        watch._is_used = uses is not None and n > uses  # pyright: ignore[reportPrivateUsage]
        found.append(next(pauses))
    assert found == expected


class Cold(Answers):
    """A dashboard that answers about Ray Data after some seconds only, the first time or the next."""

    def __init__(self, *seconds: float) -> None:
        super().__init__("_StatsActor")
        self._seconds = list(seconds)

    def get(self, path: str, timeout_seconds: float) -> object:
        answer = super().get(path, timeout_seconds)
        if path.startswith("/api/data") and self._seconds and self._seconds.pop(0) > timeout_seconds:
            return None
        return answer


@pytest.mark.parametrize(
    ("cold", "looks_before"),
    [
        pytest.param((5.0,), 0, id="a first answer that takes its time"),
        pytest.param((0.0, 99.0), 1, id="a last answer that does not come, after others"),
    ],
)
def test_a_slow_dashboard_costs_no_table(
    monkeypatch: pytest.MonkeyPatch, cold: tuple[float, ...], looks_before: int
) -> None:
    monkeypatch.setattr(progress_watch, "_FIRST_SECONDS", 60.0)
    answers = Cold(*cold)
    watch = ProgressWatch(Job(answers, answers.job_id), safe_log(logging.getLogger("test")))
    for _ in range(looks_before):
        watch._thread.ask_now(Deadline(30))  # pyright: ignore[reportPrivateUsage]
    assert "ray_data" in watch.tables(Deadline(30))
    watch.close(Deadline(30))


def test_after_an_interrupt_there_is_no_table_even_of_what_is_known() -> None:
    answers = Answers("_StatsActor")
    watch = ProgressWatch(Job(answers, answers.job_id), safe_log(logging.getLogger("test")))
    watch._thread.ask_now(Deadline(30))  # pyright: ignore[reportPrivateUsage]
    assert watch.tables(Deadline(0.0)) == {}
    watch.close(Deadline(30))


class Inside:
    """What a resource with a driver in the cluster has for the worker."""

    lifecycle, progress, driver_in_cluster = Lifecycle(connect=False), "report", True
    job_id, dashboard_url = JOB, ""

    def __init__(self, url: str) -> None:
        self.dashboard_url = url

    def driver_environment(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize("is_interrupted", [pytest.param(False, id="ends"), pytest.param(True, id="is interrupted")])
def test_a_body_in_the_cluster_asks_for_a_table_unless_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, is_interrupted: bool
) -> None:
    monkeypatch.setattr(inside, "_interrupted", threading.Event())
    monkeypatch.setitem(sys.modules, "ray.data", ModuleType("ray.data"))
    here, context = inside.Inside("a cluster", "10.0.0.1:6379"), dg.build_init_resource_context()
    with dashboard(lambda _: actors()) as (url, asked):
        resource: Any = Inside(url)
        with inside.connected_inside(resource, here, Progress(), context):
            if is_interrupted:
                inside.note_interrupt()
        assert bool(asked) is not is_interrupted


def test_bars_and_colors_are_off_and_training_is_tracked_unless_somebody_has_said_otherwise() -> None:
    quiet, tracked = (
        {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_COLOR_PREFIX": "0"},
        {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"},
    )

    def found(progress: Any, environ: dict[str, str]) -> dict[str, str]:
        return ProgressConfig(progress=progress).progress_environment(environ)

    assert found("report", {}) == quiet | tracked
    assert found("report", dict.fromkeys([*quiet, *tracked], "own")) == {}
    assert found("off", {"RAY_COLOR_PREFIX": "1"}) == {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    assert found("bars", {}) == {}

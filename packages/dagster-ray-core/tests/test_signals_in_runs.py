"""SIGTERM and SIGINT in each phase of real runs, sent to the run's process as Dagster's run launchers do."""

# Dagster's instance is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from probe_clusters import Line, journal_lines
from probe_jobs import probe_config

pytestmark = pytest.mark.many_processes  # make test runs them
HERE = Path(__file__).parent
PHASES = ["create", "wait", "connect"]
EXECUTORS: dict[str, dict[str, Any]] = {
    "in_process": {"in_process": {}},
    "multiprocess": {"multiprocess": {"start_method": {"forkserver": {}}}},
}
SIGNALS = [signal.SIGTERM, signal.SIGINT]


def until(condition: Callable[[], object], what: str) -> None:
    """Return when the condition holds."""
    never = threading.Event()
    for _ in range(3000):
        if condition():
            return
        never.wait(0.02)
    raise AssertionError(f"not within 60 s: {what}")


def processes_of_session(session: int) -> list[int]:
    found: list[int] = []
    for pid in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]:
        try:
            if os.getsid(pid) == session and "Z" not in (Path("/proc") / str(pid) / "stat").read_text().split()[2]:
                found.append(pid)
        except OSError:
            continue  # it has ended meanwhile
    return found


@dataclass
class Worker:
    """A process that executes runs."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self, job: str, run_config: dict[str, Any], home: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"job": job, "run_config": run_config, "home": home}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer: "):
                return line.removeprefix("answer: ").strip()
        raise AssertionError("the worker has ended")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One process for all runs of this module, in a session of its own."""
    log = tmp_path_factory.mktemp("worker") / "stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "run_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": f"{HERE / 'stand_in'}:{HERE}"},
        )
    yield Worker(process)
    process.communicate()
    assert process.returncode == 0
    until(lambda: not processes_of_session(process.pid), "no process of a run is left")


@dataclass
class Run:
    """One run under way in the worker."""

    worker: Worker
    instance: dg.DagsterInstance
    journal: str
    executor: str

    def start(self, job: str, configs: dict[str, Any], **more: Any) -> None:
        execution = {"execution": {"config": EXECUTORS[self.executor]}}
        config = {"resources": configs, **execution, **more} if configs else {**execution, **more}
        self.worker.start(job, config, self.instance.root_directory)

    def lines(self) -> list[Line]:
        return journal_lines(self.journal)

    def did(self) -> list[str]:
        return [line["did"] for line in self.lines()]

    def until_in(self, place: str) -> None:
        until(lambda: place in self.did(), f"the run reaches {place}; it did {self.did()}")

    def interrupt(self, signum: int) -> None:
        os.kill(self.worker.pid, signum)

    def go_on(self, label: str = "ray_cluster") -> None:
        Path(f"{self.journal}.{label}.go_on").touch()

    @property
    def run_id(self) -> str:
        return next(line["run_id"] for line in self.lines() if "run_id" in line)

    def status(self) -> str:
        run = self.instance.get_run_by_id(self.run_id)
        assert run is not None
        return run.status.value

    def log(self) -> str:
        return "\n".join(entry.to_json() for entry in self.instance.all_logs(self.run_id))

    def end(self) -> str:
        """Wait for the end; the processes of the steps are gone then."""
        answer = self.worker.answer()
        steps = {line["pid"] for line in self.lines()} - {self.worker.pid}
        until(lambda: not steps & set(processes_of_session(self.worker.pid)), "the processes of the steps end")
        return answer


@pytest.fixture(params=EXECUTORS)
def run(request: pytest.FixtureRequest, worker: Worker, instance: dg.DagsterInstance, journal: str) -> Run:
    return Run(worker, instance, journal, request.param)


def cluster(run: Run, **more: object) -> dict[str, Any]:
    return {"ray_cluster": probe_config(run.journal, "ray_cluster", "on_exception", **more)}


@pytest.mark.parametrize(
    "canceling", [pytest.param(False, id="a stray signal"), pytest.param(True, id="a termination by the user")]
)
def test_what_dagster_does_without_us(run: Run, canceling: bool) -> None:
    config = {"journal": run.journal, "label": "none", "hangs_in": "step"}
    run.start("without_ray", {}, ops={"hanging": {"config": config}})
    run.until_in("step")
    if canceling:
        terminate(run)
    else:
        run.interrupt(signal.SIGTERM)
    assert run.end() == "done"
    assert run.status() == ("CANCELED" if canceling else "FAILURE")


def terminate(run: Run) -> None:
    """Do as Dagster's launchers: announce the cancellation, then signal."""
    stored = run.instance.get_run_by_id(run.run_id)
    assert stored is not None
    run.instance.report_run_canceling(stored)
    run.interrupt(signal.SIGTERM)


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
@pytest.mark.parametrize("place", [*PHASES, "step"])
def test_a_cluster_is_deleted_when_a_signal_comes_in(run: Run, place: str, signum: int) -> None:
    run.start("one_success", cluster(run, hangs_in=place))
    run.until_in(place)
    run.interrupt(signum)
    assert run.end() == "done"
    reached = [*PHASES, "step"]
    assert run.did() == [*reached[: reached.index(place) + 1], "delete", "cleanup"]
    assert run.lines()[-1]["outcome"] == "interrupted"
    assert run.status() == "FAILURE"
    assert "DagsterExecutionInterruptedError" in run.log()


@pytest.mark.parametrize("place", ["create", "step"])
def test_a_backend_that_only_conforms_is_cleaned_up_as_well(run: Run, place: str) -> None:
    run.start("one_plain_success", cluster(run, hangs_in=place))
    run.until_in(place)
    terminate(run)
    assert run.end() == "done"
    assert run.did()[-2:] == ["delete", "cleanup"]
    assert run.lines()[-1]["outcome"] == "interrupted"
    assert run.status() == "CANCELED"


@pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
def test_a_signal_during_the_cleanup_of_a_success_waits_for_the_delete(run: Run, signum: int) -> None:
    configs = {"ray_cluster": probe_config(run.journal, "ray_cluster", "always", hangs_in="delete")}
    run.start("one_success", configs)
    run.until_in("delete")
    run.interrupt(signum)
    if run.executor == "multiprocess":
        until(lambda: "forwarding to active child processes" in run.log(), "the signal is passed on")
    run.go_on()
    assert run.end() == "done"
    assert run.did() == [*PHASES, "step", "delete", "delete went on", "cleanup"]
    assert run.lines()[-1]["outcome"] == "succeeded"
    assert run.status() == "FAILURE"


@pytest.mark.parametrize("second", SIGNALS, ids=lambda signum: f"second {signum.name}")
def test_a_second_signal_during_cleanup_changes_nothing(run: Run, second: int) -> None:
    """The step fails by the first signal, which reaches a hanging step; the second finds the delete call."""
    run.start("one_hanging_step", cluster(run, hangs_in="delete"))
    run.until_in("hanging")
    run.interrupt(signal.SIGTERM)
    run.until_in("delete")
    run.interrupt(second)
    run.go_on()
    assert run.end() == "done"
    assert run.did() == [*PHASES, "step", "hanging", "delete", "delete went on", "cleanup"]
    assert run.lines()[-1]["outcome"] == "interrupted"
    assert run.status() == "FAILURE"


def test_a_signal_between_the_step_and_its_teardown_leaves_no_cluster(run: Run) -> None:
    """Dagster then never resumes the resource; the interrupt shows only when Python ends its generator."""
    configs = {"ray_cluster": probe_config(run.journal, "ray_cluster", "always")}
    run.start("interrupted_after_success", configs, loggers={"interrupting": {}})
    assert run.end() == "done"
    assert run.did() == [*PHASES, "step", "delete", "cleanup"]
    assert run.status() == "FAILURE"


def test_a_signal_during_the_cleanup_of_one_cluster_leaves_no_other(run: Run) -> None:
    configs = {
        "ray_cluster": probe_config(run.journal, "ray_cluster", "always"),
        "second": probe_config(run.journal, "second", "always", hangs_in="delete"),
    }
    run.start("two_clusters", configs)
    run.until_in("delete")
    run.interrupt(signal.SIGTERM)
    if run.executor == "multiprocess":
        until(lambda: "forwarding to active child processes" in run.log(), "the signal is passed on")
    run.go_on("second")
    assert run.end() == "done"
    deleted = [line["cluster"] for line in run.lines() if line["did"] == "delete"]
    assert deleted == ["second", "ray_cluster"]
    assert run.status() == "FAILURE"

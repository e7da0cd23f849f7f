"""A job server whose jobs are workers of steps, forked from a process that has Dagster loaded: milliseconds each."""

import multiprocessing
import os
import shlex
import signal
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from ray_like_server import NODE, RayLike
from scripted_job_server import Server
from typing_extensions import override

FORKS = multiprocessing.get_context("forkserver")
FORKED_STEPS: dict[str, Any] = {
    "execution": {"config": {"multiprocess": {"start_method": {"forkserver": {"preload_modules": ["warm_worker"]}}}}}
}
"""Run configuration of the multiprocess executor: its processes come from the same warm one."""


def start_fork_server(*more: str, folder: str = "") -> None:
    """Start the process that workers are forked from; it finds modules by the environment only (Python 3.11).

    Args:
        more: Modules that it imports beside those of `warm_worker`.
        folder: Where these are.
    """
    FORKS.set_forkserver_preload(["warm_worker", *more])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *([folder] if folder else ())]))
        forkserver.ensure_running()


def as_process(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """Call a function of an importable module in a forked process."""
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    return process


@contextmanager
def forked(target: Callable[..., object], *arguments: object) -> Generator[BaseProcess]:
    """Call a function of an importable module in a forked process, which does not outlive the block."""
    process = as_process(target, *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def work(entrypoint: str, paths: list[str], cwd: str, log: str, variables: Mapping[str, str]) -> None:
    """Be a worker, as Ray's job supervisor starts one."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.update(variables)
    os.chdir(cwd)
    sys.path[:0] = [cwd, *paths]  # as `python -m` and Ray do
    words = shlex.split(entrypoint)
    status = dagster_command(words[words.index("api") :]) if "api" in words else _step_worker(words[-1])
    sys.stdout.flush()
    os._exit(status)


def _step_worker(folder: str) -> int:
    from dagster_ray.core.step_worker import main

    return main(folder)


def dagster_command(arguments: list[str]) -> int:
    """Run `dagster` with arguments, and return its exit code."""
    from dagster._cli import create_dagster_cli

    try:
        create_dagster_cli()(arguments, auto_envvar_prefix="DAGSTER_CLI")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a process ends so
        traceback.print_exc()
        return 1
    return 0


class _Process:
    """Looks like a Popen."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> None:
        self._process.join()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class ForkedWorkers(RayLike):
    """`RayLike` for workers of steps."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder, server)
        self.folder = folder
        self.bodies: list[Mapping[str, Any]] = []
        self.stored: dict[str, Path] = {}
        self.has_room = True
        """Whether a node has what jobs request; else they stay PENDING."""

    @override
    def _package(self, method: str, parts: Any, _body: bytes) -> tuple[int, object]:
        if method == "PUT":
            name = parts.path.rpartition("/")[2]
            file = self.folder / name
            file.write_bytes(_body)
            target = self.folder / f"{name}.unpacked"
            with zipfile.ZipFile(file) as package:
                package.extractall(target)
            self.stored[name] = target
        return super()._package(method, parts, _body)

    @override
    def submit(self, body: Mapping[str, Any]) -> tuple[int, object]:
        name = str(body["submission_id"])
        if name in self.jobs:
            return 500, f"Traceback\nRuntimeError: Job with submission_id {name} already exists"
        self.jobs[name] = {**body, "status": "PENDING"}  # as Ray does, before anything else
        self.bodies.append(body)
        if not self.has_room:
            return 200, {"submission_id": name}
        env: Mapping[str, Any] = body.get("runtime_env", {})
        paths = [str(self.stored[uri.removeprefix("gcs://")]) for uri in env.get("py_modules", ())]
        cwd = env.get("working_dir")
        place = Path.cwd() if cwd is None else self.stored[cwd.removeprefix("gcs://")]
        log = self.logs / f"job-driver-{name}.log"
        log.touch()
        arguments = (body["entrypoint"], paths, str(place), str(log), env.get("env_vars", {}))
        self.processes[name] = _Process(as_process(work, *arguments))  # pyright: ignore[reportArgumentType]
        self.jobs[name] = {**body, "status": "RUNNING", "driver_node_id": NODE, "driver_agent_http_address": self.agent}
        return 200, {"submission_id": name}

    @override
    def look(self, name: str) -> dict[str, Any]:
        return super().look(name) if name in self.processes else self.jobs[name]

    @override
    def stop(self, name: str) -> bool:
        """Stop as Ray does: SIGTERM, and SIGKILL after three seconds, or after those that the job's variable says."""
        if self.look(name)["status"] != "RUNNING":
            return False
        self.jobs[name]["asked"] = True
        self.processes[name].send_signal(signal.SIGTERM)
        variables: Mapping[str, str] = self.jobs[name].get("runtime_env", {}).get("env_vars", {})
        seconds = float(variables.get("RAY_JOB_STOP_WAIT_TIME_S", "3"))
        threading.Thread(target=self._kill_after, args=(name, seconds), daemon=True).start()
        return True

    def restart(self) -> None:
        """Be a head that was lost, and whose successor knows none of its jobs."""
        for name in self.jobs:
            self.end(name)
        self.jobs.clear()

    def _kill_after(self, name: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.processes[name].poll() is None and time.monotonic() < until:
            time.sleep(0.02)  # noqa: TID251
        if self.processes[name].poll() is None:
            self.end(name)

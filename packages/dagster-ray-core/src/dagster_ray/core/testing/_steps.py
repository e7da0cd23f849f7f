"""What the kit's steps do with their cluster. They take notes; the tests judge them later."""

import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import RayResource, StepOutcome
from dagster_ray.core.testing._backend import BackendUnderTest, Capability
from dagster_ray.core.testing._plan import Notes, Plan, Script, read_notes

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeliberateError(Exception):
    """The kit's own failure of a step or a set-up."""


def take_step(
    context: dg.AssetExecutionContext, resource: RayResource, plan: Plan, backend: type[BackendUnderTest]
) -> None:
    """Do what the plan says, and leave notes whatever comes of it."""
    notes = Notes()
    file = Path(plan.directory) / f"{context.retry_number}.json"
    notes.note("pid", os.getpid)
    notes.note("lifecycle", lambda: lifecycle_of(resource))
    notes.note("timeout", lambda: getattr(resource, "timeout", None))
    try:
        match plan.script:
            case Script.READ:
                note_connection(notes, resource)
            case Script.CALL_PHASES:
                _call_phases(notes, context, resource, backend)
            case _:
                look(notes, resource, plan, backend)
        if plan.script is Script.MEET:
            _meet(notes, plan, backend)
    finally:
        notes.save(file)
    _end(context, plan)


def _end(context: dg.AssetExecutionContext, plan: Plan) -> None:
    match plan.script:
        case Script.FAIL:
            raise DeliberateError("the step fails, as planned")
        case Script.RETRY if context.retry_number == 0:
            raise dg.RetryRequested(max_retries=1)
        case Script.STAY:
            threading.Event().wait()  # until the signal
        case _:
            pass


def lifecycle_of(resource: RayResource) -> dict[str, Any]:
    """Return the lifecycle of a resource as plain data."""
    on = resource.lifecycle
    return {"create": on.create, "wait": on.wait, "connect": on.connect, "cleanup": on.cleanup}


def note_connection(notes: Notes, resource: RayResource) -> None:
    """Note the type of `context` and the job id, or with which errors they are refused."""
    notes.note("context", lambda: None if resource.context is None else type(resource.context).__name__)  # pyright: ignore[reportUnnecessaryComparison]
    notes.note("job_id", lambda: resource.job_id)


def look(notes: Notes, resource: RayResource, plan: Plan, backend: type[BackendUnderTest]) -> None:
    """Note everything that can be read from a connected resource."""
    note_connection(notes, resource)
    notes.note("address", lambda: resource.address)
    notes.note("display_name", lambda: resource.display_name)
    notes.note("dashboard_url", lambda: resource.dashboard_url)
    if notes.note("cluster", lambda: backend.cluster_id(resource)):
        notes.note("exists", lambda: backend.cluster_exists(notes.values["cluster"]))
    if backend.promises(Capability.REMOTE_TASKS) and "context" in notes.values:
        notes.note("sum", lambda: _remote_sum(plan.mark))
        notes.note("driver", _driver)


def _ray() -> Any:
    # Core has one module that imports ray; a backend without ray can use the kit, too.
    return importlib.import_module("ray")


def _remote_sum(mark: str) -> int:
    def add(left: int, right: int) -> int:  # nested, so that it travels by value: the cluster has no dagster-ray
        print(mark)  # noqa: T201
        return left + right

    ray = _ray()
    task: Any = ray.remote(num_cpus=0.1, max_retries=0)(add)
    return ray.get(task.remote(20, 22), timeout=60)


def _driver() -> str:
    return str(_ray().get_runtime_context().get_job_id())


def _call_phases(
    notes: Notes, context: dg.AssetExecutionContext, resource: RayResource, backend: type[BackendUnderTest]
) -> None:
    before = Notes()
    note_connection(before, resource)
    notes.values["before"] = asdict(before)
    handlers = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    phases: Mapping[str, Callable[[], None]] = {
        "create": lambda: resource.create(context),
        "wait": lambda: resource.wait(context),
        "connect": lambda: resource.connect(context),
    }
    if not all(notes.note(name, call) for name, call in phases.items()):
        return
    notes.values["replaced_handlers"] = [s.name for s in _SIGNALS if signal.getsignal(s) is not handlers[s]]
    note_connection(notes, resource)
    if notes.note("cluster", lambda: backend.cluster_id(resource)):
        notes.note("exists", lambda: backend.cluster_exists(notes.values["cluster"]))
    notes.note("cleanup", lambda: resource.cleanup(context, StepOutcome.SUCCEEDED))
    if backend.promises(Capability.CLEANUP) and "cluster" in notes.values:
        notes.note("deleted", lambda: backend.is_gone(notes.values["cluster"]))
    notes.note("second cleanup", lambda: resource.cleanup(context, StepOutcome.SUCCEEDED))
    after = Notes()
    note_connection(after, resource)
    notes.values["after"] = asdict(after)


def _meet(notes: Notes, plan: Plan, backend: type[BackendUnderTest]) -> None:
    directory = Path(plan.directory) / "other"
    directory.mkdir()
    other = replace(plan, script=Script.LOOK, directory=str(directory))
    finished = subprocess.run(  # noqa: S603 - our own module
        child_command(other),
        env=child_environment(),
        timeout=backend.run_seconds,
        capture_output=True,
        text=True,
        check=False,
    )
    seen = read_notes(directory)
    notes.values["other"] = asdict(seen[-1]) if seen else None
    notes.values["other_output"] = finished.stdout + finished.stderr
    if "cluster" in notes.values:
        notes.note("exists after the other", lambda: backend.cluster_exists(notes.values["cluster"]))
    if backend.promises(Capability.REMOTE_TASKS):
        notes.note("sum after the other", lambda: _remote_sum(plan.mark))


def child_command(plan: Plan) -> list[str]:
    """Return the command that carries out a plan in a process of its own."""
    return [sys.executable, "-m", "dagster_ray.core.testing._child", str(plan.save())]


def child_environment() -> dict[str, str]:
    """Return the environment of such a process: it finds every module that this one finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

"""Steps beside the executor: which ones need no Ray, and their end from outside."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest

from dagster_ray.core import RayIOManager
from dagster_ray.pipes._executor import step_processes
from dagster_ray.pipes._executor.step_processes import StepProcesses, needs_ray

STOPS_WITH_THE_OTHER = """
import signal, sys, time
from pathlib import Path
own, other = map(Path, sys.argv[1:])
def stop(*_):
    own.touch()
    for _ in range(200):
        if other.exists():
            sys.exit(0)
        time.sleep(0.1)
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(600)
"""


class Wrapping(dg.ConfigurableIOManager):
    inner: dg.ResourceDependency[dg.IOManager]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self.inner.handle_output(context, obj)

    def load_input(self, context: dg.InputContext) -> Any:
        return self.inner.load_input(context)


@dg.op(out=dg.Out(io_manager_key="in_ray"))
def makes() -> int:
    return 1


@dg.op(out=dg.Out(io_manager_key="wrapped"))
def makes_wrapped() -> int:
    return 1


@dg.op(out=dg.Out(io_manager_key="in_files"))
def takes(number: int) -> int:
    return number


@dg.op(out=dg.Out(io_manager_key="in_files"))
def is_plain(number: int) -> int:
    return number


RESOURCES: dict[str, Any] = {
    "in_ray": RayIOManager(),
    "wrapped": Wrapping(inner=Wrapping(inner=RayIOManager())),
    "in_files": dg.FilesystemIOManager(),
}


@dg.job(resource_defs=RESOURCES)
def several() -> None:
    is_plain(takes(makes()))
    makes_wrapped()


def test_a_step_whose_output_or_input_is_in_the_object_store_needs_ray() -> None:
    job: Any = several
    from dagster._core.execution.api import create_execution_plan

    plan = create_execution_plan(job)
    steps = {step.key: Mock(step=step, execution_plan=plan) for step in plan.get_steps_to_execute_in_topo_order()}
    for step in steps.values():
        step.job.get_definition.return_value = job
    assert {key: needs_ray(step) for key, step in steps.items()} == {
        "makes": True,
        "makes_wrapped": True,
        "takes": True,
        "is_plain": False,
    }


def test_all_processes_are_asked_to_stop_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(tmp_path / name) for name in ("one", "other")]
    handler, found = StepProcesses(), dict[str, subprocess.Popen[bytes]]()
    for own, other in (files, files[::-1]):
        command = [sys.executable, "-c", STOPS_WITH_THE_OTHER, own, other]
        found[own] = subprocess.Popen(command, stdout=subprocess.PIPE)
        output = found[own].stdout
        assert output is not None
        assert output.readline() == b"ready\n"
    monkeypatch.setattr(handler, "_running", found)
    monkeypatch.setattr(step_processes, "attempts_in_log", Mock(return_value={}))
    for own in files:
        context: Any = Mock()
        step = Mock(step=Mock(key=own))
        monkeypatch.setattr(step_processes, "step_of", Mock(return_value=step))
        list(handler.terminate_step(context))
    assert [process.wait() for process in found.values()] == [0, 0]
    for process in found.values():
        assert process.stdout is not None
        process.stdout.close()

"""Drivers of one shared cluster, each with its own environment and folder; on real Ray at the end."""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagster_ray.local._step_environment import (
    of_the_cluster,
    remove_dead_steps,
    with_step_environment,
    write_step_environment,
)

STEP = Path(__file__).with_name("step_with_environment.py")
PATIENCE_SECONDS = 240.0
CANARY = "canary-7f3a"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp") as path:  # a socket's path is 107 bytes at most
        yield Path(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PATH", True),
        ("HOME", True),
        ("LC_ALL", True),
        ("RAY_AUTH_MODE", True),
        ("CUDA_VISIBLE_DEVICES", True),
        ("ZE_VISIBLE_DEVICES", True),
        ("https_proxy", True),
        ("PIP_INDEX_URL", True),
        ("RAY_CLIENT_MODE", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("PYTHONPATH", False),
        ("DATABASE_URL", False),
        ("PATHOLOGY", False),
    ],
)
def test_what_the_holder_of_the_cluster_gets(name: str, expected: bool) -> None:
    assert (name in of_the_cluster({name: "x"})) is expected


def test_only_this_user_can_read_the_file(folder: Path) -> None:
    path = write_step_environment(folder, {"KEY": CANARY})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    environ = json.loads(path.read_text())["environ"]
    assert (sorted(environ), environ["KEY"]) == (["KEY", "PATH"], CANARY)


def test_files_of_steps_that_were_killed_are_removed(folder: Path) -> None:
    mine = write_step_environment(folder, {})
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    (folder / f"step-{ended.pid}-0123abcd.json").write_text("{}")
    remove_dead_steps(folder)
    assert [path.name for path in folder.glob("step-*")] == [mine.name]


def run_hook(hook: Any, monkeypatch: pytest.MonkeyPatch, cwd: Path, environ: dict[str, str]) -> dict[str, str]:
    """Run a worker's set-up here, as in a worker that has this environment, and return what it made of it."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr("sys.path", list(sys.path))
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    hook()
    return dict(os.environ)


def test_a_worker_takes_the_environment_of_its_step_and_keeps_what_was_set_for_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = {"PATH": "/bin", "KEY": CANARY, "MODE": "of the step", "OMP_NUM_THREADS": "7", "PYTHONPATH": "/lib/mine"}
    ran: list[str] = []
    path = write_step_environment(folder, step)
    wanted = with_step_environment(
        {"env_vars": {"MODE": "of runtime_env"}, "worker_process_setup_hook": lambda: ran.append("mine")}, path
    )
    assert CANARY not in repr(wanted)
    worker = {"PATH": "/bin", "MODE": "of runtime_env", "OMP_NUM_THREADS": "1", "RAY_JOB_ID": "01"}
    found = run_hook(wanted["worker_process_setup_hook"], monkeypatch, folder, worker)
    assert (found["KEY"], found["MODE"], found["OMP_NUM_THREADS"]) == (CANARY, "of runtime_env", "1")
    assert Path.cwd() == tmp_path
    assert sys.path[1] == "/lib/mine"
    assert ran == ["mine"]


def test_a_folder_that_runtime_env_has_chosen_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = with_step_environment({}, write_step_environment(folder, {}))["worker_process_setup_hook"]
    run_hook(hook, monkeypatch, tmp_path, {})
    assert Path.cwd() == tmp_path


@pytest.mark.many_processes
def test_tasks_of_two_steps_on_one_cluster_see_their_own_step_only(folder: Path) -> None:
    """Before, all of them ran with the environment, the PYTHONPATH and the folder of the step that came first."""
    names = ("first", "second")
    processes: list[subprocess.Popen[bytes]] = []
    for name in names:
        (folder / f"cwd-{name}").mkdir()
        (folder / f"lib-{name}").mkdir()
        (folder / f"lib-{name}" / "mine.py").write_text(f"NAME = {name!r}\n")
        environ = {**os.environ, "MEETING": str(folder), "TMPDIR": str(folder), "RAY_TMPDIR": "/tmp"}
        environ |= {"KEY": f"{CANARY}-{name}", "PYTHONPATH": str(folder / f"lib-{name}"), f"ONLY_{name.upper()}": "1"}
        command = [sys.executable, str(STEP), name, names[1 - names.index(name)]]
        processes.append(subprocess.Popen(command, env=environ, cwd=folder / f"cwd-{name}"))
    assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0, 0]
    said = {name: json.loads((folder / f"{name}.said").read_text()) for name in names}
    assert said["first"]["address"] == said["second"]["address"]
    for name, other in (names, names[::-1]):
        assert said[name]["key"] == f"{CANARY}-{name}"
        assert said[name]["module"] == name
        assert said[name]["cwd"] == str(folder / f"cwd-{name}")
        assert said[name]["only"] == [f"ONLY_{name.upper()}"]
        assert said[name]["mode"] == "of runtime_env"
        assert "serialized_runtime_env" in said[name]["jobs"]
        assert CANARY not in said[name]["jobs"]
        assert CANARY not in said[name]["holder"], other
    assert list(folder.rglob("step-*.json")) == []

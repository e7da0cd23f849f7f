"""A code location that is a file: what its tasks find, and which Python the jobs of its Ray get."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dagster_ray.local._machine import path_of_ray, path_with_python

CODE = """
import json
import os
import pathlib
import shutil

import dagster as dg
import ray

from dagster_ray.core import RayResource
from dagster_ray.local import LocalRay


class Counter:
    def count(self):
        return helper(40)


def helper(number):
    return number + 2


@ray.remote
def told():
    return {"helper": helper(1), "python": shutil.which("python")}


@dg.asset
def counted(ray_cluster: RayResource) -> None:
    counter = ray.remote(Counter).remote()
    said = {**ray.get(told.remote()), "counter": ray.get(counter.count.remote())}
    pathlib.Path(os.environ["SAID"]).write_text(json.dumps(said))


defs = dg.Definitions(assets=[counted], resources={"ray_cluster": LocalRay(num_cpus=1)})
"""


def test_tasks_find_a_code_location_that_is_a_file_and_python_is_the_steps_own(tmp_path: Path) -> None:
    """As by `.venv/bin/dg dev -f project/code.py`, with no environment activated."""
    file, said = tmp_path / "project/located.py", tmp_path / "said.json"
    file.parent.mkdir()
    file.write_text(textwrap.dedent(CODE), encoding="utf-8")
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(file), "--select", "counted"]
    env = {**os.environ, "SAID": str(said), "DAGSTER_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own = str(Path(sys.executable).with_name("python"))
    assert json.loads(said.read_text(encoding="utf-8")) == {"helper": 3, "python": own, "counter": 42}


def executable(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch(0o755)
    return str(folder / name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("other:own", "own:other:own", id="another Python comes first"),
        pytest.param("empty", "own:empty", id="no Python"),
        pytest.param("own:other", "own:other", id="an environment that is activated"),
    ],
)
def test_a_path_leads_to_this_python(tmp_path: Path, path: str, expected: str) -> None:
    executable(tmp_path / "other", "python")
    python = executable(tmp_path / "own", "python")

    def folders(names: str) -> str:
        return os.pathsep.join(str(tmp_path / name) for name in names.split(":") if name)

    assert path_with_python(folders(path), python, is_environment=True) == folders(expected)


def test_the_python_of_a_machine_comes_first_only_where_there_is_none(tmp_path: Path) -> None:
    """Its folder has more programs, which the user's PATH may have put last."""
    other, own = executable(tmp_path / "other", "python"), executable(tmp_path / "own", "python")
    path = str(Path(other).parent)
    assert path_with_python(path, own, is_environment=False) == path
    assert path_with_python("", own, is_environment=False) == os.pathsep.join((str(Path(own).parent), os.defpath))


def test_a_path_stays_where_this_python_has_no_such_name(tmp_path: Path) -> None:
    python = executable(tmp_path / "own", "python3")
    assert path_with_python("/empty", python, is_environment=True) == "/empty"


def test_where_no_path_is_set_ray_gets_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert path_of_ray({}) == os.defpath

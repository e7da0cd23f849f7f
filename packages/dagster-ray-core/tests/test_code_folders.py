"""Which folders of a code location Ray's workers get besides their own."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagster_ray.core._connection import _with_code_folders  # pyright: ignore[reportPrivateUsage]
from dagster_ray.core._dagster_context import code_folders_of


def context_of(file: Path, folder: Path | None = None) -> Any:
    """Return a context of a run whose code location is a file, as far as it is looked at."""
    pointer = SimpleNamespace(python_file=str(file), working_directory=None if folder is None else str(folder))
    origin = SimpleNamespace(repository_origin=SimpleNamespace(code_pointer=pointer))
    return SimpleNamespace(run=SimpleNamespace(job_code_origin=origin))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a code location that Dagster has loaded."""
    module = ModuleType("located_here")
    module.__file__ = str(tmp_path / "project/located_here.py")
    (tmp_path / "project").mkdir()
    Path(module.__file__).touch()
    monkeypatch.setitem(sys.modules, "located_here", module)
    return Path(module.__file__)


def test_the_folder_of_the_file_and_the_working_directory(file: Path, tmp_path: Path) -> None:
    assert code_folders_of(context_of(file, tmp_path)) == (str(file.parent), str(tmp_path))


def test_in_the_cluster_the_file_is_where_it_was_loaded_and_the_steps_folder_says_nothing(
    file: Path, tmp_path: Path
) -> None:
    assert code_folders_of(context_of(Path("/elsewhere/located_here.py"), tmp_path), is_elsewhere=True) == (
        str(file.parent),
    )


def test_what_workers_inherit_is_left_out(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(file.parent), *sys.path])  # as the file itself may do, which no worker does
    assert code_folders_of(context_of(file)) == (str(file.parent),)
    monkeypatch.setenv("PYTHONPATH", str(file.parent))
    assert code_folders_of(context_of(file)) == ()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        pytest.param("secrets.py", False, id="a module of Python's"),
        pytest.param("pytest.py", False, id="a module that is loaded from elsewhere"),
        pytest.param("features.py", True, id="a module of its own"),
        pytest.param("secrets.txt", True, id="no module"),
    ],
)
def test_a_folder_that_would_hide_modules_is_left_out(file: Path, name: str, *, kept: bool) -> None:
    file.with_name(name).touch()
    assert code_folders_of(context_of(file)) == ((str(file.parent),) if kept else ())


def test_a_folder_that_cannot_be_read_is_left_out(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refused)
    assert code_folders_of(context_of(file)) == ()


def test_a_folder_inside_that_may_not_be_entered_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may enter any, so the refusal is acted."""
    (file.parent / "lost+found").mkdir()
    real = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if "lost+found/" in os.fspath(path):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert code_folders_of(context_of(file)) == (str(file.parent),)


def test_a_deleted_working_directory_changes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "left"
    left.mkdir()
    monkeypatch.chdir(left)
    left.rmdir()
    assert code_folders_of(context_of(file)) == (str(file.parent),)


def test_without_a_file_there_is_none() -> None:
    none: Any = SimpleNamespace(run=SimpleNamespace(job_code_origin=None))
    assert code_folders_of(none) == ()


@pytest.mark.parametrize(
    ("address", "options", "expected"),
    [
        pytest.param("local", {}, ["/code"], id="a native driver"),
        pytest.param("ray://head:10001", {}, None, id="Ray Client"),
        pytest.param("local", {"runtime_env": {"working_dir": "."}}, None, id="a working directory"),
        pytest.param("local", {"runtime_env": {"py_modules": ["."]}}, None, id="modules that are sent"),
        pytest.param("local", {"runtime_env": {"env_vars": {"A": "1"}}}, ["/code"], id="variables only"),
    ],
)
def test_native_drivers_give_folders_to_their_workers(
    address: str, options: dict[str, Any], expected: list[str] | None
) -> None:
    pytest.importorskip("ray", reason="Ray's JobConfig carries the folders")
    given = _with_code_folders(address, options, lambda: ("/code",))
    config: Any = given.get("job_config")
    assert (None if config is None else config._py_driver_sys_path) == expected
    assert {name: value for name, value in given.items() if name != "job_config"} == options


def test_for_ray_client_no_folders_are_sought() -> None:
    def sought() -> tuple[str, ...]:
        raise AssertionError

    assert _with_code_folders("ray://head:10001", {"num_cpus": 1}, sought) == {"num_cpus": 1}


def test_a_job_config_of_the_users_is_kept_and_not_changed() -> None:
    job_config = pytest.importorskip("ray.job_config", reason="Ray's JobConfig carries the folders")
    own: Any = job_config.JobConfig(metadata={"a": "b"})
    own._serialize()
    given: Any = _with_code_folders("local", {"job_config": own}, lambda: ("/code",))["job_config"]
    assert (given.metadata, given._py_driver_sys_path, own._py_driver_sys_path) == ({"a": "b"}, ["/code"], [])
    assert b"/code" in given._serialize()
    sent: Any = job_config.JobConfig(runtime_env={"working_dir": "."})
    assert _with_code_folders("local", {"job_config": sent}, lambda: ("/code",)) == {"job_config": sent}

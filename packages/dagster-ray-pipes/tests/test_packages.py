import io
import os
import zipfile
from pathlib import Path
from typing import IO

import pytest

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes._package_files import package_files
from dagster_ray.pipes._packages import upload_runtime_env
from dagster_ray.pipes.errors import PackageTooLargeError


class Store:
    """Packages in memory."""

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}
        self.puts = 0

    def has(self, name: str) -> bool:
        return name in self.packages

    def put(self, name: str, file: IO[bytes]) -> None:
        file.seek(0)
        self.packages[name] = file.read()
        self.puts += 1

    def names(self, uri: object) -> list[str]:
        data = self.packages[str(uri).removeprefix("gcs://")]
        return sorted(zipfile.ZipFile(io.BytesIO(data)).namelist())


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.mark.parametrize(
    ("ignored", "excludes", "left"),
    [
        pytest.param({}, [], ["a.py", "data/big.bin", "data/keep/x.csv", "sub/b.log", "sub/b.py"], id="all"),
        pytest.param({}, ["data"], ["a.py", "sub/b.log", "sub/b.py"], id="excludes"),
        pytest.param(
            {".gitignore": "*.log\n/data/*\n!/data/keep"}, [], ["a.py", "data/keep/x.csv", "sub/b.py"], id="git"
        ),
        pytest.param({"sub/.gitignore": "*.log"}, ["*.bin"], ["a.py", "data/keep/x.csv", "sub/b.py"], id="nested"),
        pytest.param({".rayignore": "sub/"}, ["data/"], ["a.py"], id="ray"),
    ],
)
def test_which_files_go_into_a_package(
    tmp_path: Path, ignored: dict[str, str], excludes: list[str], left: list[str]
) -> None:
    tree(tmp_path, "a.py", "sub/b.py", "sub/b.log", "data/big.bin", "data/keep/x.csv")
    for name, text in ignored.items():
        (tmp_path / name).write_text(text)
    found = [file.name for file in package_files(tmp_path, excludes)]
    assert [name for name in found if not name.endswith("ignore")] == left


def test_a_link_that_leads_back_ends(tmp_path: Path) -> None:
    tree(tmp_path, "a.py")
    (tmp_path / "again").symlink_to(tmp_path)
    assert [file.name for file in package_files(tmp_path, [])] == ["a.py"]


def test_equal_folders_are_one_package_and_uploaded_once(tmp_path: Path, store: Store) -> None:
    first, second = (tree(tmp_path / name, "work.py", "lib/x.py") for name in ("first", "second"))
    os.utime(second / "work.py", (1, 1))
    env = {"working_dir": str(first), "excludes": ["*.pyc"], "pip": ["numpy"]}
    found = upload_runtime_env(env, store)
    assert upload_runtime_env({"working_dir": str(second)}, store)["working_dir"] == found["working_dir"]
    assert (store.puts, store.names(found["working_dir"])) == (1, ["lib/x.py", "work.py"])
    assert found == {"working_dir": found["working_dir"], "pip": ["numpy"]}
    assert env["working_dir"] == str(first)


def test_modules_keep_their_folder_wheels_their_name_and_uris_stay(tmp_path: Path, store: Store) -> None:
    module = tree(tmp_path / "mylib", "__init__.py")
    wheel, single = tmp_path / "x-1-py3-none-any.whl", tmp_path / "one.py"
    wheel.write_bytes(b"PK")
    single.write_text("1")
    modules = [str(module), str(wheel), single, "s3://bucket/lib.zip"]
    folder, named, file, uri = upload_runtime_env({"py_modules": modules}, store)["py_modules"]
    assert store.names(folder) == ["mylib/__init__.py"]
    assert named == "gcs://x-1-py3-none-any.whl"
    assert store.names(file) == ["one.py"]
    assert uri == "s3://bucket/lib.zip"


def test_a_package_over_the_limit_names_its_biggest_files(tmp_path: Path, store: Store) -> None:
    (tmp_path / "big.bin").write_bytes(os.urandom(300_000))
    (tmp_path / "small.py").write_text("1")
    with pytest.raises(PackageTooLargeError) as raised:
        upload_runtime_env({"working_dir": str(tmp_path)}, store, limit_bytes=100_000)
    assert raised.value.biggest == (("big.bin", 300_000), ("small.py", 1))
    assert store.puts == 0


@pytest.mark.parametrize("field", ["working_dir", "py_modules"])
def test_a_path_that_is_nothing_is_named(tmp_path: Path, store: Store, field: str) -> None:
    path = str(tmp_path / "missing")
    with pytest.raises(InvalidFieldError, match="missing"):
        upload_runtime_env({field: path if field == "working_dir" else [path]}, store)


@pytest.mark.parametrize("env", [{"py_modules": "lib"}, {"working_dir": 3}, {"excludes": "*.log"}])
def test_a_value_of_the_wrong_kind_is_refused(store: Store, env: dict[str, object]) -> None:
    with pytest.raises(InvalidFieldError):
        upload_runtime_env(env, store)

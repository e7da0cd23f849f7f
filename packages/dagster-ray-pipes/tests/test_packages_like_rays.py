"""The packages of many shapes of folders, beside those that Ray's own packaging makes of them."""

# Ray's functions are annotated in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import importlib.util
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes._packages import upload_runtime_env

pytest.importorskip("ray", reason="compares with Ray's own packaging")
# Older releases know neither default excludes nor tar files, and drop empty folders.
_newest = importlib.util.find_spec("ray._common.runtime_env_package") is not None
like_the_newest_ray = pytest.mark.skipif(not _newest, reason="this release of Ray packages otherwise than later ones")


class Store:
    """Keeps what is uploaded."""

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}

    def has(self, name: str) -> bool:
        return name in self.packages

    def put(self, name: str, file: IO[bytes]) -> None:
        file.seek(0)
        self.packages[name] = file.read()


@dataclass(frozen=True)
class Shape:
    """A folder, and what is asked of it."""

    name: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Contents by name; a name that ends with `/` is an empty folder, a content that begins with `->` a link."""
    excludes: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    is_module: bool = False
    more: Callable[[Path], None] = lambda _folder: None
    only_ours: frozenset[str] = frozenset()
    only_rays: frozenset[str] = frozenset()
    why: str = ""
    """Why the two differ; then `only_ours` and `only_rays` say in what."""


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def executable(folder: Path) -> None:
    (folder / "run.sh").chmod(0o755)


def latin1(folder: Path) -> None:
    (folder / ".gitignore").write_bytes("# gr\xfc\xdfe\n*.log\n".encode("latin-1"))


CODE = {"a.py": "1", "sub/b.py": "2", "sub/deep/c.txt": "3"}
LOGS = {**CODE, "x.log": "", "sub/y.log": "", "sub/deep/z.log": ""}
GIT = "a trailing slash means the folder itself for git; for Ray it only matches what is below"
SHAPES = [
    Shape("one file", {"a.py": "1"}),
    Shape("files in folders", CODE),
    Shape("an empty file", {"a.py": "1", "__init__.py": ""}),
    Shape("an empty folder", {**CODE, "out/": ""}),
    Shape("nested empty folders", {**CODE, "out/one/": "", "out/two/": ""}),
    Shape("hidden files", {**CODE, ".env": "A=1", ".config/x": "1"}),
    Shape("a name with spaces", {"a b/c d.py": "1"}),
    Shape("a name of another script", {"数据/файл.py": "1"}),
    Shape("names that differ in case", {"Readme": "1", "README": "2"}),
    Shape("a long name", {f"{'d' * 100}/{'f' * 200}.py": "1"}),
    Shape("deep folders", {"/".join("abcdefghijklmnop") + "/x.py": "1"}),
    Shape("binary content", {"a.bin": "\x00\x01", "a.py": "1"}),
    Shape("an executable", {"run.sh": "#!/bin/sh"}, more=executable),
    Shape("a link to a file", {**CODE, "link.py": "->a.py"}),
    Shape("a link to a folder", {**CODE, "link": "->sub"}),
    Shape("an absolute link out of the folder", {**CODE, "hosts": "->/etc/hosts"}),
    Shape("an editor's lock", {**CODE, ".#a.py": "->user@host.4711:1234"}),
    Shape("a virtual environment whose Python is gone", {**CODE, "env/bin/python": "->/nowhere/python3"}),
    Shape("a link to itself", {**CODE, "loop": "->loop"}),
    Shape("git's folder", {**CODE, ".git/config": "", ".git/objects/ab": ""}),
    Shape("git's file of a worktree", {**CODE, ".git": "gitdir: elsewhere"}),
    Shape("a virtual environment", {**CODE, ".venv/lib/x.py": "", "venv/lib/x.py": ""}),
    Shape("bytecode", {**CODE, "__pycache__/a.pyc": "", "sub/__pycache__/b.pyc": ""}),
    Shape("nested virtual environments", {**CODE, "sub/.venv/x.py": "", "sub/venv/y.py": ""}),
    Shape(
        "Ray's default excludes switched off",
        {**CODE, ".venv/x.py": "", "__pycache__/a.pyc": ""},
        environ={"RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": ""},
    ),
    Shape(
        "other default excludes",
        {**CODE, ".venv/x.py": "", "data/x": ""},
        environ={"RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": " data , *.txt"},
    ),
    Shape("a pattern of excludes", LOGS, excludes=("*.log",)),
    Shape("an excluded folder", LOGS, excludes=("sub",)),
    Shape("an excluded path", LOGS, excludes=("sub/deep",)),
    Shape("an anchored pattern", {**LOGS, "sub/x.log": ""}, excludes=("/x.log",)),
    Shape("two stars", LOGS, excludes=("**/deep/*",)),
    Shape("a range of characters", {"a1": "", "a2": "", "b1": ""}, excludes=("a[0-9]",)),
    Shape("an excluded file that is taken back", LOGS, excludes=("*.log", "!x.log")),
    Shape("a gitignore file", {**LOGS, ".gitignore": "*.log\n"}),
    Shape("a gitignore file with comments and empty lines", {**LOGS, ".gitignore": "# logs\n\n*.log\n\\#a\n"}),
    Shape("a gitignore file of Windows", {**LOGS, ".gitignore": "*.log\r\nsub\r\n"}),
    Shape("a gitignore file in a folder", {**LOGS, "sub/.gitignore": "*.log\n"}),
    Shape("a gitignore file that takes back", {**LOGS, ".gitignore": "*.log\n!x.log\n"}),
    Shape("a gitignore file that takes back below", {**LOGS, ".gitignore": "*.log\n", "sub/.gitignore": "!y.log\n"}),
    Shape("a rayignore file", {**LOGS, ".rayignore": "*.log\n"}),
    Shape("both ignore files", {**LOGS, ".rayignore": "*.log\n", ".gitignore": "*.txt\n"}),
    Shape(
        "gitignore files switched off",
        {**LOGS, ".gitignore": "*.log\n", ".rayignore": "*.txt\n"},
        environ={"RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1"},
    ),
    Shape("everything below a folder", {**LOGS, ".gitignore": "sub/*\n"}),
    Shape("a folder with a slash", {**LOGS, ".gitignore": "sub/\n"}),
    Shape("a module", CODE, is_module=True),
    Shape("a module with an empty folder", {**CODE, "out/": ""}, is_module=True),
    Shape("a module with excludes", LOGS, excludes=("*.log",), is_module=True),
    Shape(
        "an empty folder that a pattern with a slash names",
        {**CODE, "out/": "", ".gitignore": "out/\n"},
        only_rays=frozenset({"out/"}),
        why=GIT,
    ),
    Shape(
        "a module with bytecode and history",
        {**CODE, "__pycache__/a.pyc": "", ".git/config": ""},
        is_module=True,
        only_rays=frozenset({"pkg/__pycache__/a.pyc", "pkg/.git/config"}),
        why="neither is code: bytecode would give each machine's package another name",
    ),
]


def made(folder: Path, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = folder / "pkg"
    root.mkdir()
    for name, content in shape.files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
    shape.more(root)
    for name in ("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "RAY_RUNTIME_ENV_IGNORE_GITIGNORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in shape.environ.items():
        monkeypatch.setenv(name, value)
    return root


def contents(package: bytes) -> dict[str, tuple[bytes, bool]]:
    """Return content and whether its owner may execute it, by the name in the package."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return {
            info.filename: (archive.read(info), not info.is_dir() and bool(info.external_attr >> 16 & 0o100))
            for info in archive.infolist()
        }


def request_of(root: Path, shape: Shape) -> dict[str, Any]:
    where: dict[str, Any] = {"py_modules": [str(root)]} if shape.is_module else {"working_dir": str(root)}
    return {**where, "excludes": list(shape.excludes)}


def ours(root: Path, shape: Shape) -> dict[str, tuple[bytes, bool]]:
    store = Store()
    upload_runtime_env(request_of(root, shape), store)
    (package,) = store.packages.values()
    return contents(package)


def rays(root: Path, shape: Shape, scratch: Path) -> dict[str, tuple[bytes, bool]]:
    """Make the package as `JobSubmissionClient` does, without a cluster."""
    from ray._private.runtime_env.packaging import create_package
    from ray._private.runtime_env.py_modules import upload_py_modules_if_needed
    from ray._private.runtime_env.working_dir import upload_working_dir_if_needed

    target = scratch / "rays.zip"
    use_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"

    def upload(path: str, *, excludes: list[str] | None, is_file: bool = False) -> None:
        create_package(
            path, target, include_gitignore=use_gitignore, include_parent_dir=shape.is_module, excludes=excludes
        )

    upload_any: Any = upload_py_modules_if_needed if shape.is_module else upload_working_dir_if_needed
    upload_any(request_of(root, shape), include_gitignore=use_gitignore, upload_fn=upload)
    return contents(target.read_bytes())


@like_the_newest_ray
@pytest.mark.filterwarnings("ignore")  # Ray's own, of the library that matches patterns
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_package_is_like_rays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Shape) -> None:
    root = made(tmp_path, shape, monkeypatch)
    mine, theirs = ours(root, shape), rays(root, shape, tmp_path)
    assert set(mine) - set(theirs) == shape.only_ours, shape.why
    assert set(theirs) - set(mine) == shape.only_rays, shape.why
    assert {name: mine[name] for name in mine if name in theirs} == {
        name: theirs[name] for name in theirs if name in mine
    }


@like_the_newest_ray
@pytest.mark.filterwarnings("ignore")
def test_a_link_back_to_a_folder_above_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray packs the folder again and again, until the system stops it after 40 links."""
    shape = Shape("a link to a folder above", {**CODE, "sub/up": "->.."})
    root = made(tmp_path, shape, monkeypatch)
    assert set(ours(root, shape)) == set(CODE)
    assert "sub/up/sub/up/a.py" in rays(root, shape, tmp_path)


@like_the_newest_ray
@pytest.mark.filterwarnings("ignore")
def test_a_gitignore_file_that_is_not_utf8_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray fails; a comment in another encoding is no reason to fail a step."""
    shape = Shape("a gitignore file that is not UTF-8", LOGS, more=latin1)
    root = made(tmp_path, shape, monkeypatch)
    assert set(ours(root, shape)) == {*CODE, ".gitignore"}
    with pytest.raises(ValueError, match=r"utf-8|must be an existing directory"):
        rays(root, shape, tmp_path)


def test_a_named_pipe_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for somebody to write into it."""
    shape = Shape("a named pipe", CODE, more=fifo)
    assert set(ours(made(tmp_path, shape, monkeypatch), shape)) == set(CODE)


def test_a_name_that_is_not_utf8_is_an_error_that_shows_it(tmp_path: Path) -> None:
    """Neither can Ray package it; it fails with an encoding error that does not name the file."""
    (tmp_path / os.fsdecode(b"gr\xfc\xdfe.py")).touch()
    with pytest.raises(InvalidFieldError, match="its name is not UTF-8"):
        upload_runtime_env({"working_dir": str(tmp_path)}, Store())


@like_the_newest_ray
@pytest.mark.parametrize("name", ["code.zip", "code.tar.gz", "code.tgz", "code.tar.xz"])
def test_an_archive_is_uploaded_as_it_is_with_rays_ending(tmp_path: Path, name: str) -> None:
    from ray._private.runtime_env.packaging import get_uri_for_package

    (tmp_path / name).write_bytes(b"content")
    store = Store()
    found = upload_runtime_env({"working_dir": str(tmp_path / name)}, store)["working_dir"]
    assert list(store.packages.values()) == [b"content"]
    rays_name = str(get_uri_for_package(tmp_path / name))
    assert found.partition(".")[2] == rays_name.partition(".")[2]

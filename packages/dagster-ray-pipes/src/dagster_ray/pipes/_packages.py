"""Local `working_dir` and `py_modules` of a runtime_env: zip them, name them by content, upload them once."""

import hashlib
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from typing_extensions import Protocol

from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes._package_files import PackageFile, content_hash, package_files, unpackable
from dagster_ray.pipes._runtime_env import with_files_read
from dagster_ray.pipes.errors import PackageTooLargeError

LIMIT_BYTES = 100 * 2**20
"""What Ray's job server takes (ray/_private/ray_constants.py)."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BIGGEST = 10
# What a local working_dir may be besides a folder (RUNTIME_ENV_PACKAGE_EXTENSIONS of Ray 2.60), and the end of the
# name under which a cluster keeps it.
_ARCHIVES = {".zip": ".zip", ".tar.gz": ".tar.gz", ".tgz": ".tar.gz", ".tar.xz": ".tar.xz"}
_DEFAULT_EXCLUDES = ".git,.venv,venv,__pycache__"  # ray/_private/ray_constants.py, for a working_dir
_EXCLUDED_FROM_MODULES = (".git", "__pycache__")
_PIECE_BYTES = 2**20
_FOLDER_ATTRIBUTES = (stat.S_IFDIR | 0o755) << 16 | 0x10  # 0x10: a folder for MS-DOS, as zipfile writes it


class PackageStore(Protocol):
    """The packages of a cluster."""

    def has(self, name: str) -> bool:
        """Return whether the cluster has a package."""
        ...

    def put(self, name: str, file: IO[bytes]) -> None:
        """Upload a package."""
        ...


def upload_runtime_env(
    runtime_env: Mapping[str, Any], store: PackageStore, *, limit_bytes: int = LIMIT_BYTES
) -> dict[str, Any]:
    """Return a runtime_env whose local packages were uploaded and stand there as URIs.

    `working_dir` may be a folder or an archive (.zip, .tar.gz, .tgz, .tar.xz), an entry of `py_modules` a folder,
    a `.py` file or a wheel. What is a URI already stays. The argument is not changed.

    Raises:
        InvalidFieldError: A field is of the wrong kind, or names a path that is none of these or cannot be read.
        PackageTooLargeError: A package is over the limit; it was not uploaded.
    """
    found = dict(runtime_env)
    excludes: Any = found.pop("excludes", None) or []
    if not isinstance(excludes, list) or not all(isinstance(pattern, str) for pattern in cast("list[Any]", excludes)):
        raise InvalidFieldError("runtime_env.excludes", "is not a list of patterns", "write a list of texts")
    upload = _Upload(store, cast("list[str]", excludes), limit_bytes)
    if (working_dir := found.get("working_dir")) is not None:
        found["working_dir"] = upload.working_dir(working_dir)
    if (modules := found.get("py_modules")) is not None:
        if isinstance(modules, str) or not isinstance(modules, Sequence):
            reason = "is not a list of paths or URIs"
            raise InvalidFieldError("runtime_env.py_modules", reason, "write a list, also of one entry")
        entries: Sequence[Any] = modules  # pyright: ignore[reportUnknownVariableType]  # foreign input
        found["py_modules"] = [upload.module(entry) for entry in entries]
    return found


def with_content(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Return a runtime_env whose local packages are named by their content; nothing is uploaded.

    Raises:
        InvalidFieldError: A field is of the wrong kind, or names a path that is no package or cannot be read.
    """
    return upload_runtime_env(with_files_read(runtime_env), _EveryPackage())


class _EveryPackage:
    """A store that has every package already."""

    def has(self, name: str) -> bool:
        """Return that the package is there."""
        del name
        return True

    def put(self, name: str, file: IO[bytes]) -> None:
        """Never called."""


class _Upload:
    def __init__(self, store: PackageStore, excludes: Sequence[str], limit_bytes: int) -> None:
        self._store, self._excludes, self._limit = store, excludes, limit_bytes

    def working_dir(self, value: Any) -> str:
        """Return the URI of a working_dir."""
        path = _path("runtime_env.working_dir", value)
        if path is None:
            return str(value)
        if path.is_dir():
            return self._folder(path, "", _default_excludes())
        ending = next((kept for ending, kept in _ARCHIVES.items() if path.name.endswith(ending)), None)
        if ending is not None and path.is_file():
            return self._file(path, ending)
        expected = f"it is neither a folder nor an archive ({', '.join(_ARCHIVES)})"
        raise unpackable("runtime_env.working_dir", str(path), expected)

    def module(self, value: Any) -> str:
        """Return the URI of an entry of py_modules."""
        path = _path("runtime_env.py_modules", value)
        if path is None:
            return str(value)
        if path.is_dir():
            return self._folder(path, f"{path.name}/", _EXCLUDED_FROM_MODULES)
        if path.suffix == ".whl" and path.is_file():
            return self._file(path, ".whl", name=path.name)  # pip reads what a wheel is from its name
        if path.suffix == ".py" and path.is_file():
            status = path.stat()
            return self._zipped([PackageFile(path, path.name, status.st_size, executable=False)], "")
        raise unpackable("runtime_env.py_modules", str(path), "it is not a folder, a Python file or a wheel")

    def _folder(self, path: Path, prefix: str, excludes: Sequence[str]) -> str:
        ignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") == "1"
        files = package_files(path, [*excludes, *self._excludes], use_gitignore=not ignore)
        return self._zipped(files, prefix)

    def _zipped(self, files: Sequence[PackageFile], prefix: str) -> str:
        name = f"_ray_pkg_{content_hash(files, prefix)}.zip"
        if not self._store.has(name):
            with tempfile.TemporaryFile() as file:
                self._zip(files, prefix, file)
                self._store.put(name, file)
        return f"gcs://{name}"

    def _zip(self, files: Sequence[PackageFile], prefix: str, target: IO[bytes]) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
            for file in files:
                entry = zipfile.ZipInfo(prefix + file.name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                if file.is_folder:
                    entry.external_attr = _FOLDER_ATTRIBUTES
                    package.writestr(entry, b"")
                    continue
                entry.external_attr = (0o755 if file.executable else 0o644) << 16
                with file.path.open("rb") as source, package.open(entry, "w", force_zip64=True) as writer:
                    while piece := source.read(_PIECE_BYTES):
                        writer.write(piece)
                        self._check(target.tell(), files)
        self._check(target.seek(0, os.SEEK_END), files)

    def _check(self, size: int, files: Sequence[PackageFile]) -> None:
        if size > self._limit:
            biggest = sorted(files, key=lambda file: -file.size_bytes)[:_BIGGEST]
            shown = tuple((file.name, file.size_bytes) for file in biggest)
            raise PackageTooLargeError(str(files[0].path.parent), self._limit, shown)

    def _file(self, path: Path, suffix: str, name: str | None = None) -> str:
        size = path.stat().st_size
        if size > self._limit:
            raise PackageTooLargeError(str(path), self._limit, ((path.name, size),))
        with path.open("rb") as file:
            uri_name = name or f"_ray_pkg_{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}{suffix}"
            if not self._store.has(uri_name):
                self._store.put(uri_name, file)
        return f"gcs://{uri_name}"


def _default_excludes() -> list[str]:
    """Return what Ray leaves out of each working_dir; its variable changes it."""
    text = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", _DEFAULT_EXCLUDES)
    return [pattern.strip() for pattern in text.split(",") if pattern.strip()]


def _path(field: str, value: Any) -> Path | None:
    """Return a local path; None if the value is a URI."""
    if isinstance(value, os.PathLike):
        return Path(os.fspath(value))  # pyright: ignore[reportUnknownArgumentType]  # foreign input
    if not isinstance(value, str) or not value:
        raise InvalidFieldError(field, f"is {value!r}, which is not a path or a URI", "write one of the two")
    return None if _URI.match(value) else Path(value).expanduser()

"""Where a bundle is written: a folder, or whatever fsspec has a file system for."""

import importlib.util
import os
import threading
from collections.abc import Mapping
from typing import Any

from dagster_ray.core import Deadline
from dagster_ray.kuberay._bundle.redaction import has_credentials, redacted_text
from dagster_ray.kuberay._spec.errors import InvalidSpecError

FIELD = "evidence"
_LOCAL = ("file", "local")


class NotWrittenError(Exception):
    """A bundle could not be written; the text says why, without credentials."""


def checked_place(place: str) -> str:
    """Return the place if a bundle may be written there. Loads fsspec.

    Args:
        place: The path of a folder, or a URL of fsspec's.

    Raises:
        InvalidSpecError: It is empty, contains credentials, or has a protocol that fsspec does not know.
    """
    if not place.strip():
        raise InvalidSpecError(FIELD, "is empty", "give a folder or a URL, or leave it out")
    if has_credentials(place):
        advice = "leave them out: file systems of fsspec find credentials in the environment of the step"
        raise InvalidSpecError(FIELD, "contains credentials, which would appear in logs", advice)
    protocol = _protocol(place)
    if protocol not in _known():
        advice = "use a path, or a protocol that fsspec has a file system for, such as s3, gs or abfs"
        raise InvalidSpecError(FIELD, f"has the protocol {protocol!r}, which fsspec does not know", advice)
    return place


def require_file_system(place: str) -> None:
    """Make sure that this process has the library for a place, before anything is created.

    Raises:
        InvalidSpecError: It is not installed, or as `checked_place`.
    """
    protocol = _protocol(checked_place(place))
    module = str(_known()[protocol]).partition(".")[0]
    if importlib.util.find_spec(module) is None:
        reason = f"has the protocol {protocol!r}, which needs {module}, and that is not installed where the step runs"
        raise InvalidSpecError(FIELD, reason, f"install {module} there")


def _protocol(place: str) -> str:
    from fsspec.utils import get_protocol  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    return str(get_protocol(place))


def _known() -> dict[str, str]:
    """Return the class of each protocol's file system, with its module."""
    from fsspec.registry import known_implementations, registry  # pyright: ignore[reportMissingTypeStubs]

    known: Any = known_implementations
    made: Any = registry
    found = {str(name): str(said["class"]) for name, said in known.items()}
    return found | {str(name): str(kind.__module__) for name, kind in made.items()}


def write(place: str, folders: tuple[str, ...], files: Mapping[str, str], deadline: Deadline) -> str:
    """Write files, the first one first; return the path or URL of the first one.

    A file system may hang, and none of them takes a deadline. So they are written by a thread of their own, which
    ends after the file that it is writing when the deadline has passed.

    Args:
        place: The path of a folder, or a URL of fsspec's.
        folders: The folders below it.
        files: Texts by path below these folders.
        deadline: Ends the wait.

    Raises:
        NotWrittenError: Not all of them were written.
    """
    root = os.path.abspath(place) if "://" not in place and _protocol(place) in _LOCAL else place.rstrip("/")  # noqa: PTH100
    writing = _Writing("/".join((root, *folders)), files, deadline)
    writing.start()
    writing.join(max(0.1, deadline.remaining_seconds()))
    if writing.error is not None:
        said = redacted_text(f"{type(writing.error).__name__}: {writing.error}", ())
        raise NotWrittenError(" ".join(said.split())[:500])
    if writing.left:
        raise NotWrittenError(f"no time was left for {len(writing.left)} of {len(files)} files")
    return f"{writing.folder}/{next(iter(files))}"


class _Writing(threading.Thread):
    """Writes files until the deadline."""

    def __init__(self, folder: str, files: Mapping[str, str], deadline: Deadline) -> None:
        super().__init__(name="dagster-ray-evidence", daemon=True)
        self.folder, self._files, self._deadline = folder, files, deadline
        self.left = list(files)
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            self.error = error

    def _write(self) -> None:
        import fsspec.core  # pyright: ignore[reportMissingTypeStubs]

        core: Any = fsspec.core
        system, root = core.url_to_fs(self.folder)
        for path, text in self._files.items():
            if self._deadline.is_over():
                return
            name, data = f"{root}/{path}", text.encode()
            try:
                system.pipe_file(name, data)
            except FileNotFoundError:  # object stores have no folders, and some want rights of their own to make one
                system.makedirs(name.rpartition("/")[0], exist_ok=True)
                system.pipe_file(name, data)
            self.left.remove(path)


def read(place: str) -> str:
    """Return the text of a file. Raises whatever the file system raises.

    Args:
        place: Its path or URL.
    """
    import fsspec.core  # pyright: ignore[reportMissingTypeStubs]

    core: Any = fsspec.core
    system, path = core.url_to_fs(place)
    return bytes(system.cat_file(path)).decode(errors="replace")

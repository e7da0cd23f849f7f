"""Which files of a folder go into a package, and what the package is called.

The rules are those of Ray 2.60 (ray/_private/runtime_env/packaging.py): patterns in gitignore syntax from the
`excludes` of the runtime_env, from `.gitignore` and from `.rayignore` files, each for its own folder and below. Folders
that are empty count, links that lead nowhere do not. Where Ray's rules differ from git's, git's hold; a test compares
both packagings and lists each difference with its reason.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_ray.core.errors import InvalidFieldError

if TYPE_CHECKING:  # loads with the first package
    from pathspec import GitIgnoreSpec

_IGNORE_FILES = (".gitignore", ".rayignore")
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file of a package, or a folder that is empty.

    Attributes:
        path: Where it is.
        name: Its name in the package, with `/` between the parts; that of a folder ends with one.
        size_bytes: Its size.
        executable: Whether its owner may execute it.
    """

    path: Path
    name: str
    size_bytes: int
    executable: bool

    @property
    def is_folder(self) -> bool:
        """Whether it is an empty folder."""
        return self.name.endswith("/")


@dataclass(frozen=True, slots=True)
class _Rules:
    """Patterns, and the folder that they are relative to."""

    folder: Path
    spec: "GitIgnoreSpec"

    def exclude(self, path: Path, *, is_folder: bool) -> bool:
        """Return whether a path is excluded."""
        name = path.relative_to(self.folder).as_posix()
        return self.spec.match_file(f"{name}/" if is_folder else name)


def _patterns(lines: Sequence[str]) -> "GitIgnoreSpec":
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def package_files(folder: Path, excludes: Sequence[str], *, use_gitignore: bool = True) -> tuple[PackageFile, ...]:
    """Return the files of a folder that go into its package, by name.

    Links to files are followed, links to folders as well unless they lead back to a folder above. A link that leads
    nowhere (an editor's lock, a virtual environment whose Python is gone) is passed over.

    Args:
        folder: The folder.
        excludes: Patterns in gitignore syntax, relative to the folder.
        use_gitignore: Whether `.gitignore` files count; `.rayignore` files always do.

    Raises:
        InvalidFieldError: A file or folder cannot be read, or its name is not UTF-8.
    """
    rules = (_Rules(folder, _patterns(excludes)),)
    try:
        found = list(_walk(folder, folder, rules, (folder.resolve(),), use_gitignore=use_gitignore))
    except OSError as error:
        path, reason = str(error.filename or folder), error.strerror or str(error)
        advice = "let the step's user read it, or leave it out with `excludes` of the runtime_env"
        raise unpackable("runtime_env", path, reason, advice) from error
    return tuple(sorted(found, key=lambda file: file.name))


def unpackable(field: str, path: str, reason: str, advice: str = "") -> InvalidFieldError:
    """Return the error for a file or folder that cannot go into a package."""
    general = "correct the path, or give the URI of a package that the cluster can download"
    return InvalidFieldError(field, f"names {path}, which cannot be packed: {reason}", advice or general)


def _walk(
    root: Path, folder: Path, rules: tuple[_Rules, ...], above: tuple[Path, ...], *, use_gitignore: bool
) -> Iterator[PackageFile]:
    for name in _IGNORE_FILES if use_gitignore else _IGNORE_FILES[1:]:
        file = folder / name
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            rules = (*rules, _Rules(folder, _patterns(lines)))
    entries = sorted(os.scandir(folder), key=lambda found: found.name)
    if not entries and folder != root:
        yield PackageFile(folder, f"{_name(root, folder)}/", 0, executable=True)
    for entry in entries:
        path = Path(entry.path)
        status = _status(entry)
        if status is None:
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        if any(rule.exclude(path, is_folder=is_folder) for rule in rules):
            continue
        if is_folder:
            real = path.resolve()
            if real not in above:
                yield from _walk(root, path, rules, (*above, real), use_gitignore=use_gitignore)
        elif stat.S_ISREG(status.st_mode):  # a socket or a pipe has no content
            executable = bool(status.st_mode & stat.S_IXUSR)
            yield PackageFile(path, _name(root, path), status.st_size, executable)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return what an entry leads to; None if that is nothing: a link to nowhere or in a circle, or just removed."""
    try:
        return entry.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _name(root: Path, path: Path) -> str:
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        advice = "rename it, or leave it out with `excludes` of the runtime_env"
        raise unpackable("runtime_env", repr(str(path)), "its name is not UTF-8", advice) from None
    return name


def content_hash(files: Sequence[PackageFile], prefix: str) -> str:
    """Return a hash of names, modes and contents: equal packages have equal names, wherever they were made."""
    digest = hashlib.sha256()
    for file in files:
        name = f"{prefix}{file.name}".encode()
        digest.update(f"{len(name)}:{int(file.executable)}:{file.size_bytes}:".encode() + name)
        if file.is_folder:
            continue
        with file.path.open("rb") as reader:
            while piece := reader.read(_PIECE_BYTES):
                digest.update(piece)
    return digest.hexdigest()[:32]

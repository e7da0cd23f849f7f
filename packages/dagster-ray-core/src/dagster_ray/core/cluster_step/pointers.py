"""Where a job's code is: pointers of Dagster, as they hold in the folder that a worker is started in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from dagster._core.code_pointer import (
    AutoloadDefsModuleCodePointer,
    CodePointer,
    CustomPointer,
    FileCodePointer,
    ModuleCodePointer,
    PackageCodePointer,
)
from dagster._core.definitions.reconstruct import ReconstructableJob

_Move = Callable[[str], str]


class OutsideError(Exception):
    """A pointer leads out of the folder, or is of a kind that is not known."""


def relative_to_folder(job: ReconstructableJob, folder: Path) -> ReconstructableJob:
    """Return a job whose pointer is relative to a folder, which will be elsewhere in the cluster.

    Raises:
        OutsideError: A file of the pointer is not in the folder, or the pointer is of an unknown kind.
    """
    root = folder.resolve()

    def relative(path: str) -> str:
        try:
            return str((root / path).resolve().relative_to(root))
        except ValueError:
            raise OutsideError(f"its code is in {path}, which is not in the working folder {root}") from None

    return _with_pointer(job, relative)


def inside_folder(job: ReconstructableJob, folder: Path) -> ReconstructableJob:
    """Return a job whose pointer, which is relative, is meant in a folder of this machine."""
    return _with_pointer(job, lambda path: str(folder / path))


def folder_of(job: ReconstructableJob) -> str | None:
    """Return the folder that Dagster finds a job's modules in; None if the pointer names none."""
    pointer: Any = job.repository.pointer
    pointer = getattr(pointer, "reconstructor_pointer", pointer)
    folder = getattr(pointer, "working_directory", None)
    return str(folder) if folder else None


def _with_pointer(job: ReconstructableJob, move: _Move) -> ReconstructableJob:
    return job._replace(repository=job.repository._replace(pointer=_moved(job.repository.pointer, move)))


def _moved(pointer: CodePointer, move: _Move) -> CodePointer:
    match pointer:
        case FileCodePointer():
            return FileCodePointer(move(pointer.python_file), pointer.fn_name, move(pointer.working_directory or "."))
        case ModuleCodePointer():
            return ModuleCodePointer(pointer.module, pointer.fn_name, move(pointer.working_directory or "."))
        case PackageCodePointer():
            return PackageCodePointer(pointer.module, pointer.attribute, move(pointer.working_directory or "."))
        case AutoloadDefsModuleCodePointer():
            folder = move(pointer.working_directory or ".")
            return AutoloadDefsModuleCodePointer(module=pointer.module, working_directory=folder)
        case CustomPointer():
            inner = cast("ModuleCodePointer", _moved(pointer.reconstructor_pointer, move))
            found = cast("Any", pointer)
            return CustomPointer(inner, found.reconstructable_args, found.reconstructable_kwargs)
        case _:
            raise OutsideError(f"its code is found by a {type(pointer).__name__}, which dagster-ray does not know")

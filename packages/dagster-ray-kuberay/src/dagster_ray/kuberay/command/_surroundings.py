"""What this Python environment holds, for `dagster-ray doctor`."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

FAMILY = (
    "dagster-ray",
    "dagster-ray-core",
    "dagster-ray-kuberay",
    "dagster-ray-local",
    "dagster-ray-pipes",
    "dagster-ray-simulator",
)
# Folders and files of dagster-ray 0.4.8 that the packages of today do not have.
_OLD = ("__init__.py", "_base", "configs.py", "io_manager.py", "resources.py")


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def family_versions() -> Mapping[str, str]:
    """Return the versions of the family's installed packages."""
    return {name: version for name in FAMILY if (version := version_of(name)) is not None}


def leftovers(folders: list[str] | None = None) -> list[str]:
    """Return what an older dagster-ray has left in the folders that Python imports from."""
    found: list[str] = []
    for folder in dict.fromkeys(sys.path if folders is None else folders):
        package = Path(folder) / "dagster_ray"
        found += [str(Path(package.name) / name) for name in _OLD if (package / name).exists()]
    return list(dict.fromkeys(found))


def has_ray_client() -> bool:
    """Return whether what Ray Client needs beside ray is installed."""
    return importlib.util.find_spec("grpc") is not None

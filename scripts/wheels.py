"""Check what the built wheels hold: `python scripts/wheels.py dist`."""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

MEMBERS = ("core", "kuberay", "local", "pipes", "simulator")


def problems_of(wheel: Path, member: str | None) -> Iterator[str]:
    """Yield what is wrong with the wheel of a member, or with that of the metapackage (None)."""
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name and name[-1] != "/"]
    if member is None:
        yield from (f"the metapackage ships {name}" for name in names)
        return
    folder = f"dagster_ray/{member}/"
    yield from (f"ships {name}, which is not in {folder}" for name in names if not name.startswith(folder))
    yield from (f"lacks {folder}{name}" for name in ("__init__.py", "py.typed") if folder + name not in names)
    if not any(name.endswith("/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist()):
        yield "lacks its licence"


def main(folder: str) -> int:
    """Print every problem of every wheel; a wheel that is missing is one."""
    found: list[str] = []
    for member in (None, *MEMBERS):
        prefix = "dagster_ray" if member is None else f"dagster_ray_{member}"
        wheels = list(Path(folder).glob(f"{prefix}-*.whl"))
        if len(wheels) != 1:
            found.append(f"{prefix}: {len(wheels)} wheels")
        found += [f"{wheel.name}: {problem}" for wheel in wheels for problem in problems_of(wheel, member)]
    print("\n".join([*found, f"{1 + len(MEMBERS)} wheels, {len(found)} problems"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

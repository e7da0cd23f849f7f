"""Check what the built wheels hold: `python scripts/wheels.py dist`.

`--tag v0.6.0` also checks what only a release needs: the tag's version, and an address of the project.
"""

import argparse
import re
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
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
        yield "lacks its license"
    metadata = metadata_of(wheel)
    yield from (
        f"says nothing in its metadata about {field}" for field in ("Author", "Classifier") if not metadata[field]
    )


def metadata_of(wheel: Path) -> Message:
    """Return what a package index would read from the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8"))


def release_problems_of(wheel: Path, tag: str) -> Iterator[str]:
    """Yield why a wheel cannot be published for the tag."""
    metadata = metadata_of(wheel)
    if f"v{metadata['Version']}" != tag:
        yield f"is of version {metadata['Version']}, and the tag is {tag}"
    if not metadata.get_all("Project-URL"):
        yield "names no address of the project: see [project.urls] in docs/releasing.md"
    for target in relative_links(str(metadata.get_payload())):
        yield f"has a link to {target} in its README, which an index cannot follow"


def relative_links(markdown: str) -> list[str]:
    """Return the targets of links and images that are neither absolute nor within the page. Pure."""
    return re.findall(r"\]\((?!https?://|#|mailto:)([^)\s]+)\)", markdown)


def main(folder: str, tag: str | None) -> int:
    """Print every problem of every wheel; a wheel that is missing is one."""
    found: list[str] = []
    for member in (None, *MEMBERS):
        prefix = "dagster_ray" if member is None else f"dagster_ray_{member}"
        wheels = list(Path(folder).glob(f"{prefix}-*.whl"))
        if len(wheels) != 1:
            found.append(f"{prefix}: {len(wheels)} wheels")
        for wheel in wheels:
            problems = [*problems_of(wheel, member), *(release_problems_of(wheel, tag) if tag else ())]
            found += [f"{wheel.name}: {problem}" for problem in problems]
    print("\n".join([*found, f"{1 + len(MEMBERS)} wheels, {len(found)} problems"]))
    return bool(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--tag")
    options = parser.parse_args()
    sys.exit(main(options.folder, options.tag))

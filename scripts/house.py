"""Print how the house is built: `make house`, or `python scripts/house.py [--lists] [--without-road]`.

The road of a step on the simulator, functions that hand on what an object could hold, imports against the layers,
circles, sizes, and places with the same six lines. `--lists` names what is counted. Figures are measured, never judged:
this fails on nothing.
"""

import argparse
import tomllib
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from house_source import Module, circles, graph_of, handing_on, modules_of, same_lines, upward
from modules import is_pure
from step_road import ROADS, Road, road_of

ROOT = Path(__file__).parents[1]


def contracts(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each package with the layers that its import contract names, from the highest."""
    with (root / "pyproject.toml").open("rb") as opened:
        listed: list[dict[str, Any]] = tomllib.load(opened)["tool"]["importlinter"]["contracts"]
    for contract in listed:
        if contract["type"] == "layers":
            yield from ((container, contract["layers"]) for container in contract["containers"])


def sizes(modules: Sequence[Module]) -> Iterator[str]:
    """Yield files and lines by package."""
    for package, group in groupby(sorted(modules, key=lambda module: module.package), lambda module: module.package):
        found = list(group)
        yield f"{package}: {len(found)} files, {sum(module.lines for module in found):,} lines"
    lines = [module.lines for module in modules if module.is_production]
    small = [sum(1 for count in lines if count < limit) for limit in (60, 30)]
    yield f"production wheels: {len(lines)} files, {sum(lines):,} lines; {small[0]} under 60 lines, {small[1]} under 30"


def counted(title: str, found: Sequence[object], *, lists: bool) -> Iterator[str]:
    """Yield a count, and what is counted if that is asked for."""
    yield f"{title}: {len(found)}"
    if lists:
        yield from (f"    {one}" for one in found)


def source_report(root: Path, *, lists: bool) -> Iterator[str]:
    """Yield what the source shows."""
    modules = modules_of(root)
    graph = graph_of(modules)
    attributes = len(handing_on(modules, attributes=True))
    handing = f"functions that hand on three of (api, deadline, log, context) ({attributes} with attributes)"
    yield from counted(handing, handing_on(modules, attributes=False), lists=lists)
    against = [line for container, layers in contracts(root) for line in upward(graph, container, layers)]
    yield from counted("upward imports, type-only ones included", against, lists=lists)
    groups = [" <-> ".join(group) for group in circles(graph)]
    yield from counted("import circles, type-only ones included", groups, lists=lists)
    yield from counted("pairs of places with the same six lines", same_lines(modules), lists=lists)
    yield from sizes(modules)


def pure_files(root: Path) -> set[str]:
    """Return the files that say they are pure, from `dagster_ray/` on."""
    return {str(Path(*module.path.parts[3:])) for module in modules_of(root) if is_pure(module)}


def road_report(root: Path, name: str, road: Road, *, lists: bool) -> Iterator[str]:
    """Yield what a traced step shows. The file that sends counts once in the frames to the POST."""
    files = [frame.split(":")[0] for frame in road.to_post]
    inner = len(files) - 1 - max((n for n, file in enumerate(files) if file != files[-1]), default=-1)
    impure = [file for file in road.control_flow if file not in pure_files(root)]
    yield f"road {name}: {len(road.files)} files with code that runs"
    flow = f"    control flow ({len(impure)} without the pure ones), in files"
    yield from counted(flow, road.control_flow, lists=lists)
    yield from counted("    leaf files", [f for f in road.files if f not in road.control_flow], lists=lists)
    frames = f"    frames down to the POST ({len(files) - inner + 1} if the file that sends counts once)"
    yield from counted(frames, road.to_post, lists=lists)
    yield from counted("    calls between files", [f"{a} -> {b}" for a, b in road.calls], lists=lists)


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description="Print how the house is built.")
    parser.add_argument("--lists", action="store_true", help="name what is counted")
    parser.add_argument("--without-road", action="store_true", help="trace no step")
    given = parser.parse_args()
    print("\n".join(source_report(ROOT, lists=given.lists)), flush=True)
    if given.without_road:
        return
    from dagster_ray.simulator import Simulator  # noqa: PLC0415 - the figures above need nothing installed

    with Simulator() as simulator:
        for name in ROADS:
            road = road_of(ROOT, name, str(simulator.kubeconfig))
            print("\n".join(road_report(ROOT, name, road, lists=given.lists)), flush=True)


if __name__ == "__main__":
    main()

"""What every module says of itself: `python scripts/modules.py [FOLDER]` prints it, `--check` checks who is pure.

The first line of a module's docstring is its entry in the map. Where that line ends with `Pure.`, the module decides
over plain data: it imports no clock, no thread, no socket, no file, and neither Dagster, Ray nor Kubernetes.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from declared import imports
from house_source import Module, modules_of

ROOT = Path(__file__).parents[1]
MARK = "Pure."
IMPURE = frozenset(
    {
        *("asyncio", "dagster", "kubernetes", "logging", "os", "pathlib", "ray", "requests", "socket", "subprocess"),
        *("threading", "time"),
    }
)


def entry(module: Module) -> str:
    """Return what a module says of itself: the first line of its docstring."""
    return (ast.get_docstring(module.tree) or "").partition("\n")[0]


def is_pure(module: Module) -> bool:
    """Return whether a module says that it is pure."""
    return entry(module).endswith(MARK)


def problems(module: Module) -> Iterator[str]:
    """Yield what is wrong with a module's word on whether it is pure."""
    if is_pure(module):
        found = {top for name in imports(module.tree) if (top := name.partition(".")[0]) in IMPURE}
        yield from (f"{module.path}: says that it is pure, and imports {name}" for name in sorted(found))
    elif MARK.rstrip(".") in (ast.get_docstring(module.tree) or ""):
        yield f"{module.path}: says `{MARK}` at the end of the docstring's first line, or nowhere in it"


def shown(modules: Sequence[Module], under: str) -> Iterator[str]:
    """Yield the map of the folders whose path has a text in it."""
    for folder, group in groupby(
        sorted(modules, key=lambda module: module.path.parent), lambda module: module.path.parent
    ):
        if under in str(folder):
            yield f"\n{Path(*folder.parts[3:])}"
            yield from (f"    {module.path.name:<24} {entry(module)}" for module in group)


def main() -> int:
    """Print the map, or every problem."""
    parser = argparse.ArgumentParser(description="Print what every module says of itself.")
    parser.add_argument("folder", nargs="?", default="", help="a part of the path of the folders to print")
    parser.add_argument("--check", action="store_true", help="print no map: check the modules that say they are pure")
    given = parser.parse_args()
    modules = modules_of(ROOT)
    if not given.check:
        print("\n".join(shown(modules, given.folder)))
        return 0
    found = [problem for module in modules for problem in problems(module)]
    pure = sum(1 for module in modules if is_pure(module))
    print("\n".join([*found, f"{len(modules)} modules, {pure} of them pure, {len(found)} problems"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

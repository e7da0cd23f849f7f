"""Check that each package declares every library that its modules import: `python scripts/declared.py`.

A library that happens to come with another one is there in every environment of ours, and missing in somebody's the
day that the other one no longer needs it. An import for type checkers only needs nothing.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Distributions whose modules are named differently.
MODULES: Mapping[str, str] = {"pyyaml": "yaml", "websocket-client": "websocket"}
# Ray comes with a backend or with the user's own environment; core says what to install where it is missing.
BROUGHT: Mapping[str, frozenset[str]] = {"dagster-ray-core": frozenset({"grpc", "ray"})}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the name of every module that is imported when the code runs."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        for statement in tree.orelse:
            yield from imports(statement)
        return
    if isinstance(tree, ast.ImportFrom):
        yield tree.module or ""
    elif isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from imports(child)


def top_level(name: str) -> str:
    """Return what brings a module: its top-level name, of a sibling's `dagster_ray.member`."""
    first, *rest = name.split(".")
    return ".".join([first, *rest[:1]]) if first == "dagster_ray" else first


def project_of(folder: Path) -> Mapping[str, Any]:
    """Return what the `pyproject.toml` of a package says of it."""
    with (folder / "pyproject.toml").open("rb") as opened:
        return tomllib.load(opened)["project"]


def dependencies(project: Mapping[str, Any]) -> set[str]:
    """Return the names of what a package and its extras ask for."""
    lines: list[str] = list(project.get("dependencies", ()))
    lines += [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
    return {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower() for line in lines}


def declared(project: Mapping[str, Any]) -> set[str]:
    """Return the modules that the dependencies of a package and of its extras bring."""
    names = dependencies(project)
    return {MODULES.get(name, name.replace("dagster-ray-", "dagster_ray.").replace("-", "_")) for name in names}


def undeclared(folder: Path) -> set[str]:
    """Return what the modules of a package import and its dependencies do not bring."""
    project = project_of(folder)
    member = f"dagster_ray.{str(project['name']).removeprefix('dagster-ray-')}"
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("src/**/*.py")))
    needed = {top_level(name) for tree in trees for name in imports(tree)} - set(sys.stdlib_module_names)
    return needed - declared(project) - BROUGHT.get(str(project["name"]), frozenset()) - {member}


def main() -> int:
    """Report what is imported and not declared."""
    found = {folder: undeclared(folder) for folder in sorted(ROOT.glob("packages/*")) if (folder / "src").is_dir()}
    for folder, names in found.items():
        if names:
            print(f"{folder.name}/pyproject.toml does not declare: {', '.join(sorted(names))}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Check what no linter does: sizes, names that say nothing or stand apart, imports of a sibling's private modules."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("packages", "examples", "tests-integration", "benchmarks", "scripts")
FILE_LINES = 400
TEST_FILE_LINES = 600
FUNCTION_LINES = 40
# The simulator refuses what KubeRay's operator refuses, and reads objects as the backend does; their versions are one.
# The backend's tests look into the simulator, which no user of either does.
SIMULATOR_READS = tuple(f"dagster_ray.kuberay.{name}" for name in ("_operator_rules", "_kubernetes.fields"))
SAYS_NOTHING = {"base", "common", "helpers", "manager", "misc", "utils"}


def long_functions(tree: ast.AST) -> Iterator[str]:
    """Yield the functions that are too long, docstrings not counted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if lines > FUNCTION_LINES:
                yield f"{node.name} has {lines} lines; the limit is {FUNCTION_LINES}"


def seen_inside(path: Path) -> tuple[str, ...]:
    """Return the private modules of another package that a file may import."""
    if path.parts[:2] == ("packages", "dagster-ray-simulator"):
        return SIMULATOR_READS
    return ("dagster_ray.simulator",) if path.parts[1:3] == ("dagster-ray-kuberay", "tests") else ()


def foreign_private_imports(tree: ast.AST, member: str | None, seen: tuple[str, ...]) -> Iterator[str]:
    """Yield imports of underscored modules of another package of the family, but for those that may be seen."""
    for node in ast.walk(tree):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            is_seen = any(f"{name}.".startswith(f"{module}.") for module in seen)
            if parts[0] == "dagster_ray" and len(parts) > 2 and parts[1] != member and not is_seen:
                yield from (f"imports {name}, which is private to {parts[1]}" for part in parts[2:] if part[0] == "_")


def names_apart(tree: ast.AST) -> Iterator[str]:
    """Yield the lists of names that are given apart from the cases of a test."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parametrize":
            lists = [word.value for word in node.keywords if word.arg == "ids" and isinstance(word.value, ast.List)]
            yield from (f"line {names.lineno}: name a case where it is, by pytest.param(..., id=)" for names in lists)


def member_of(path: Path) -> str | None:
    """Return which package of the family a file belongs to."""
    return path.parts[1].removeprefix("dagster-ray-") if path.parts[0] == "packages" else None


def problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with one file, named relative to the repository."""
    text = (ROOT / path).read_text(encoding="utf-8")
    limit = TEST_FILE_LINES if "tests" in path.parts or path.parts[0] == "tests-integration" else FILE_LINES
    if (lines := text.count("\n")) > limit:
        yield f"has {lines} lines; the limit is {limit}"
    if path.stem.strip("_") in SAYS_NOTHING:
        yield "has a name that does not say what is in it"
    tree = ast.parse(text)
    yield from long_functions(tree)
    yield from names_apart(tree)
    if path.parts[0] != "scripts":  # a script that makes files for a package may look into it
        yield from foreign_private_imports(tree, member_of(path), seen_inside(path))


def main() -> int:
    """Print every problem of every Python file."""
    files = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [f"{path}: {problem}" for path in files for problem in problems(path)]
    print("\n".join([*found, f"{len(files)} files, {len(found)} problems"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

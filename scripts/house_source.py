"""What the source of the packages looks like, as figures: imports against the layers, circles, handed-on arguments."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

HANDED_ON = frozenset({"api", "deadline", "log", "context"})
HANDED_ON_LEAST = 3
SAME_LINES = 6


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        name: As it is imported.
        path: From the root of the repository.
        text: Its source.
    """

    name: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return self.text.count("\n")

    @property
    def package(self) -> str:
        """The distribution that holds it."""
        return self.path.parts[1]

    @property
    def is_production(self) -> bool:
        """Whether production needs it: everything but the simulator."""
        return self.package != "dagster-ray-simulator"


def modules_of(root: Path) -> list[Module]:
    """Return every source file of the packages."""
    found: list[Module] = []
    for path in sorted(root.glob("packages/*/src/**/*.py")):
        parts = path.relative_to(root).with_suffix("").parts[3:]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.relative_to(root), path.read_text(encoding="utf-8")))
    return found


def imports_of(module: Module, known: frozenset[str]) -> Iterator[str]:
    """Yield the modules of ours that one imports: at once, inside a function, or for type checkers only."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in submodules if node.module in known)
            yield from (name for name in submodules if name in known and node.module not in known)


def graph_of(modules: Sequence[Module]) -> dict[str, set[str]]:
    """Return which module imports which."""
    known = frozenset(module.name for module in modules)
    return {module.name: set(imports_of(module, known)) - {module.name} for module in modules}


def upward(graph: Mapping[str, set[str]], container: str, layers: Sequence[str]) -> Iterator[str]:
    """Yield the imports from a layer of a container into a higher one, or into one beside it.

    Args:
        graph: Which module imports which.
        container: The package whose layers these are.
        layers: From the highest to the lowest, as in import-linter: `a | b` are beside each other and must not import
            each other; `a : b` may.
    """
    height = {name.strip(): -place for place, names in enumerate(layers) for name in re.split("[|:]", names)}
    free = {-place for place, names in enumerate(layers) if ":" in names}

    def layer_of(name: str) -> str | None:
        rest = name.removeprefix(f"{container}.")
        return rest.split(".")[0] if rest != name and rest.split(".")[0] in height else None

    for importer, imported in sorted(graph.items()):
        for name in sorted(imported):
            low, high = layer_of(importer), layer_of(name)
            if low is None or high is None or low == high or height[low] > height[high]:
                continue
            if height[low] < height[high] or height[low] not in free:
                yield f"{importer} -> {name}"


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others of the group (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for imported in sorted(graph[name]):
            if imported not in index:
                visit(imported)
            if imported in stack:
                low[name] = min(low[name], low[imported])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            found.extend([sorted(group)] if len(group) > 1 else [])

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def handing_on(modules: Sequence[Module], *, attributes: bool) -> list[str]:
    """Return the functions with a call that hands on three or more of api, deadline, log, and context.

    Args:
        modules: Where to look.
        attributes: Whether an attribute of such a name counts as well as a variable.
    """
    return [
        f"{module.name}: {node.name}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
        if any(len(handed(call, attributes=attributes)) >= HANDED_ON_LEAST for call in calls_in(node))
    ]


def calls_in(function: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of a function, without those of functions inside it."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, ast.FunctionDef):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from calls_in(child)


def handed(call: ast.Call, *, attributes: bool) -> set[str]:
    """Return which of the four a call has among its arguments."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = {value.id for value in values if isinstance(value, ast.Name)}
    if attributes:
        names |= {value.attr.lstrip("_") for value in values if isinstance(value, ast.Attribute)}
    return names & HANDED_ON


def same_lines(modules: Sequence[Module]) -> list[str]:
    """Return the pairs of places with the same six lines, as `file:line file:line`.

    Blank lines, comments, docstrings, imports, and lines without two letters in a row do not count.
    A longer stretch that two places have in common is one pair.
    """
    places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    code = [code_lines(module) for module in modules]
    for file, lines in enumerate(code):
        for start in range(len(lines) - SAME_LINES + 1):
            window = tuple(text for _, text in lines[start : start + SAME_LINES])
            places.setdefault(window, []).append((file, start))
    both = {pair for found in places.values() for pair in combinations(found, 2)}
    begins = [((a, i), (b, j)) for (a, i), (b, j) in sorted(both) if ((a, i - 1), (b, j - 1)) not in both]

    def shown(place: tuple[int, int]) -> str:
        file, start = place
        return f"{modules[file].path}:{code[file][start][0]}"

    return [
        f"{shown(one)} {shown(other)}"
        for one, other in begins
        if abs(one[1] - other[1]) >= SAME_LINES or one[0] != other[0]
    ]


def code_lines(module: Module) -> list[tuple[int, str]]:
    """Return number and text of the lines that say something."""
    skipped: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = enumerate((line.strip() for line in module.text.split("\n")), start=1)
    says = re.compile(r"[A-Za-z]{2}")
    return [(n, line) for n, line in numbered if n not in skipped and says.search(line) and not line.startswith("#")]

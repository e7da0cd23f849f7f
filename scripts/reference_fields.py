"""Tables of fields for the API reference, made from the classes themselves while the site is built.

zensical loads `FieldTables`, an extension of Griffe. It puts one table into the text of every public class: the fields
of a configuration, a resource, a dataclass or an error, inherited ones included, or the arguments of any other class.
Each row has the anchor `<module>.<class>.<field>`.

`python scripts/reference_fields.py site` checks the built site: every field has a row, a type, a default and a
description, and the anchors to which other documents link exist.
"""

# Dagster's config classes and Griffe's parser are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import dagster as dg
import griffe
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

sys.path.insert(0, str(Path(__file__).parent))  # zensical imports this file by its path

from site_links import read_page

from dagster_ray.core import BaseRayResource
from dagster_ray.core._config_types import options_of, python_type
from dagster_ray.core.errors import DagsterRayError

# Which page documents a module's names; the first module that lists a name gives it its anchor.
PAGES = {
    "dagster_ray.core": "core",
    "dagster_ray.core.errors": "core",
    "dagster_ray.core.variables": "core",
    "dagster_ray.core.testing": "core",
    "dagster_ray.kuberay": "kuberay",
    "dagster_ray.kuberay.errors": "kuberay",
    "dagster_ray.kuberay.configs": "kuberay",
    "dagster_ray.kuberay.accelerators": "kuberay",
    "dagster_ray.local": "local",
    "dagster_ray.pipes": "pipes",
    "dagster_ray.pipes.clients": "pipes",
    "dagster_ray.pipes.drivers": "pipes",
    "dagster_ray.pipes.errors": "pipes",
    "dagster_ray.simulator": "simulator",
}
# Documents outside of this repository link to these.
LINKED = (
    "dagster_ray.kuberay.KubeRayInteractiveJob",
    "dagster_ray.kuberay.KubeRayCluster",
    "dagster_ray.kuberay.KubeRayCluster.cluster_sharing",
    "dagster_ray.kuberay.PipesKubeRayJobClient",
)
# Classes whose fields are the arguments of another class, which documents them.
DESCRIBED_BY = {
    "dagster_ray.pipes._client.ClientOptions": "dagster_ray.pipes._client.PipesRayJobClient",
    "dagster_ray.pipes._job_run.RunSettings": "dagster_ray.pipes._client.PipesRayJobClient",
}
_SECTION = re.compile(r"^(?:Args|Attributes):\n(?:[ \t]+.*(?:\n|\Z)|\n(?=[ \t]))*", re.MULTILINE)
_REQUIRED = "required"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One field as the reference shows it."""

    name: str
    type: str
    default: str
    description: str
    alias: str = ""
    """Its name in run config and YAML, where that is another one."""


@functools.cache
def public_classes() -> dict[type[Any], str]:
    """Return every public class, with the path that its anchors begin with."""
    found: dict[type[Any], str] = {}
    for module in PAGES:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            member = getattr(loaded, name)
            if inspect.isclass(member):
                found.setdefault(member, f"{module}.{name}")
    return found


def public_base(cls: type[Any]) -> type[Any]:
    """Return the public class that a private one narrows, or the class itself."""
    return next((each for each in cls.__mro__ if each in public_classes()), cls)


def type_text(annotation: Any) -> str:
    """Return a type as a reader names it. None is left out: the default shows that a field may be unset."""
    return " or ".join(_one_type(option) for option in options_of(python_type(annotation)) if option is not NoneType)


def _one_type(annotation: Any) -> str:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(f'`"{word}"`' for word in arguments)
    if isinstance(annotation, type) and issubclass(annotation, dg.Config):
        public = public_base(annotation)
        return f"[`{public.__name__}`][{public_classes()[public]}]"
    name = str(annotation).replace("typing.", "") if arguments else getattr(annotation, "__name__", str(annotation))
    return f"`{name}`"


def default_text(default: object) -> str:
    """Return a default as Python writes it; of a nested configuration, what differs from its class's defaults."""
    if default in (PydanticUndefined, inspect.Parameter.empty, dataclasses.MISSING):
        return _REQUIRED
    if not isinstance(default, dg.Config):
        return f"`{default!r}`".replace("'", '"')
    public = public_base(type(default))
    plain = {name: field.get_default() for name, field in public.model_fields.items()}
    other = {name: getattr(default, name) for name, usual in plain.items() if getattr(default, name) != usual}
    known = {name: value for name, value in other.items() if not isinstance(value, dg.Config) and value}
    return f"`{public.__name__}({', '.join(f'{name}={value!r}' for name, value in known.items())})`".replace("'", '"')


def model_rows(model: type[BaseModel]) -> list[Row]:
    """Return the fields of a configuration or resource: its own first, then those that it inherits."""
    own = [name for cls in model.__mro__ for name in inspect.get_annotations(cls) if name in model.model_fields]
    return [_model_row(name, model.model_fields[name]) for name in dict.fromkeys(own)]


def _model_row(name: str, field: FieldInfo) -> Row:
    default = default_text(field.get_default(call_default_factory=True))
    alias = field.alias or name
    return Row(name, type_text(field.annotation), default, field.description or "", alias if alias != name else "")


def other_rows(cls: type[Any], static: griffe.Class) -> list[Row]:
    """Return the fields of a dataclass or an error, or the arguments of another class."""
    described = _descriptions(static)
    fields = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    is_declared = bool(fields) or issubclass(cls, DagsterRayError)
    if not is_declared and not any(section.kind.value == "parameters" for section in _sections(static)):
        return []  # nobody but its own package makes one
    parameters = inspect.signature(cls).parameters
    named = {name: one for name, one in parameters.items() if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}}
    hints = _hints(cls)
    rows: list[Row] = []
    for name in [name for name in {**fields, **named} if not name.startswith("_")]:
        kind, text = described.get(name, ("", ""))
        kind = type_text(hints[name]) if get_origin(hints.get(name)) is Literal else kind
        default = named[name].default if name in named else fields[name].default
        factory = fields[name].default_factory if name in fields else dataclasses.MISSING
        default = factory() if callable(factory) else default
        rows.append(Row(name, kind, default_text(default), text))
    return rows


def _hints(cls: type[Any]) -> dict[str, Any]:
    """Return the types of a class's fields and arguments; nothing where they name what only type checkers import."""
    try:
        return {**get_type_hints(cls), **get_type_hints(cls.__init__)}
    except NameError:
        return {}


def _descriptions(static: griffe.Class) -> dict[str, tuple[str, str]]:
    """Return type and description of each field that a class or one of its bases documents."""
    found: dict[str, tuple[str, str]] = {}
    other = DESCRIBED_BY.get(static.path)
    others = [_class(static.package, other)] if other is not None else []
    for cls in reversed([static, *static.mro(), *others]):
        for name, member in cls.members.items():
            if isinstance(member, griffe.Attribute) and "property" not in member.labels:
                text = member.docstring.value if member.docstring is not None else ""
                found[name] = _union(member.annotation), text or found.get(name, ("", ""))[1]
        for section in _sections(cls):
            if isinstance(section, (griffe.DocstringSectionParameters, griffe.DocstringSectionAttributes)):
                for one in section.value:
                    found[one.name] = _union(one.annotation), one.description
    return found


def _union(annotation: object) -> str:
    """Return a type as its source writes it, the options of a union one by one."""
    text = str(annotation)
    return f"`{text}`" if "[" in text else " or ".join(f"`{option}`" for option in text.split(" | "))


def _sections(static: griffe.Class) -> list[griffe.DocstringSection]:
    return static.docstring.parse("google", warnings=False) if static.docstring is not None else []


def table(path: str, rows: list[Row]) -> str:
    """Return a table in which each row has its anchor."""
    aliases = any(row.alias for row in rows)
    head = "| field | run config, YAML | type | default | |" if aliases else "| field | type | default | |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for row in rows:
        # As HTML: mkdocstrings would put the path of the class before an id that Markdown's attributes set.
        name = f'<a id="{path}.{row.name}" href="#{path}.{row.name}">`{row.name}`</a>'
        cells = [name, *([f"`{row.alias or row.name}`"] if aliases else []), row.type, row.default, row.description]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return text for one cell. In code a bar stays as it is, and a backslash would be shown."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if place % 2 else part.replace("|", "\\|") for place, part in enumerate(parts))


def refused_table(cls: type[Any]) -> str:
    """Return a table of the fields of KubeRay that a class refuses; empty if it refuses none."""
    refused: dict[str, str] = getattr(cls, "refused", {})
    rows = "".join(f"\n| `{name}` | {why} |" for name, why in refused.items())
    return f"\n\nThese fields of KubeRay are refused:\n\n| field | why |\n|---|---|{rows}" if rows else ""


class FieldTables(griffe.Extension):
    """Put the table of its fields into the text of every public class, instead of the lists that Griffe finds."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Change the classes of a package that has been read."""
        for cls, path in public_classes().items():
            static = _class(pkg, path)
            rows = rows_of(cls, static)
            for name in [row.name for row in rows if row.name in static.members]:
                static.members[name].docstring = None
            if issubclass(cls, BaseRayResource) and not inspect.isabstract(cls):
                _hide_insides(static)
            if not rows or static.docstring is None:
                continue
            text = _SECTION.sub("", static.docstring.value)
            first, mark, rest = text.partition("\nRaises:\n")
            static.docstring.value = f"{first.rstrip()}\n\n{table(path, rows)}{refused_table(cls)}\n{mark}{rest}"


def rows_of(cls: type[Any], static: griffe.Class) -> list[Row]:
    """Return the fields of any class."""
    if not issubclass(cls, BaseModel):
        return other_rows(cls, static)
    described = _descriptions(static)  # of a field that Dagster takes no description of: another resource
    return [
        row if row.description else dataclasses.replace(row, description=described.get(row.name, ("", ""))[1])
        for row in model_rows(cls)
    ]


def _hide_insides(static: griffe.Class) -> None:
    """Leave out what is for Dagster: the phases that a backend overrides, and its private base."""
    static.bases.clear()
    for name, member in list(static.members.items()):
        if isinstance(member, griffe.Function) and any("override" in str(one.value) for one in member.decorators):
            del static.members[name]


def _class(package: griffe.Module, path: str) -> griffe.Class:
    found = package[path.partition(".")[2]]
    found = found.final_target if isinstance(found, griffe.Alias) else found
    if not isinstance(found, griffe.Class):
        raise TypeError(f"{path} is not a class")
    return found


def all_rows() -> dict[str, list[Row]]:
    """Return the fields of every public class, by its path."""
    sources = [str(path) for path in Path(__file__).parents[1].glob("packages/*/src")]
    package = griffe.GriffeLoader(search_paths=sources).load("dagster_ray")
    if not isinstance(package, griffe.Module):
        raise TypeError("dagster_ray is not a package")
    return {path: rows_of(cls, _class(package, path)) for cls, path in public_classes().items()}


def lacks_of(row: Row) -> list[str]:
    """Return what a field does not say of itself."""
    return [name for name in ("type", "default", "description") if not getattr(row, name).strip("` ")]


def problems(site: Path) -> Iterator[str]:
    """Yield what the built reference lacks."""
    anchors = {page: read_page((site / f"api/{page}/index.html").read_text("utf-8")).anchors for page in PAGES.values()}
    for path, rows in all_rows().items():
        page = anchors[PAGES[path.rpartition(".")[0]]]
        if path not in page:
            yield f"{path} has no anchor"
        for row in rows:
            lacks = lacks_of(row) + ([] if f"{path}.{row.name}" in page else ["anchor"])
            if lacks:
                yield f"{path}.{row.name} has no {', no '.join(lacks)}"
    yield from (f"{anchor} has no anchor" for anchor in LINKED if anchor not in anchors["kuberay"])


def main(site: str) -> int:
    """Print what the reference lacks; return 1 if it lacks anything."""
    found = list(problems(Path(site)))
    print("\n".join([*found, f"{len(public_classes())} public classes, {len(found)} problems of the reference"]))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""YAML that stays within bounds, and why the operator cannot read `runtimeEnvYAML`, which must be a mapping. Pure.

A merge key (`<<`) copies all pairs of the mappings that it names. Ten references a line, line after line, make a few
hundred bytes into millions of pairs while the text is still being read, before anything can look at the result.
"""

from typing import Any, cast

import yaml
import yaml.scanner
from typing_extensions import override

from dagster_ray.kuberay._operator_rules.crd_fields import Release

LIMIT_MERGED = 50_000
"""Most pairs that the merge keys of one text may copy."""
_MERGE = "tag:yaml.org,2002:merge"


class TooManyMergesError(yaml.constructor.ConstructorError):
    """The merge keys of a text copy more than `LIMIT_MERGED` pairs."""


class BoundedMerges(yaml.constructor.SafeConstructor):
    """The part of a safe loader that merges mappings; it refuses to copy more than `LIMIT_MERGED` pairs."""

    _merged = 0

    @override
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for source in _sources(node):
            self.flatten_mapping(source)  # first, so that its size is known
            self._merged += len(source.value)
            if self._merged > LIMIT_MERGED:
                problem = f"its merge keys (`<<`) write out more than {LIMIT_MERGED} values"
                raise TooManyMergesError(None, None, problem, node.start_mark)
        super().flatten_mapping(node)


def _sources(node: yaml.MappingNode) -> list[yaml.MappingNode]:
    """Return the mappings that a mapping merges."""
    found: list[Any] = []
    for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
        if key.tag == _MERGE:
            found += value.value if isinstance(value, yaml.SequenceNode) else [value]
    return [source for source in found if isinstance(source, yaml.MappingNode)]


class BoundedLoader(BoundedMerges, yaml.SafeLoader):
    """PyYAML's safe loader with bounded merge keys."""


UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises for a text that it cannot read: for `2026-99-99`, `!!int ''`, `!!bool x` or a deep nesting its
constructors raise what they come across (run with 6.0)."""
_MOST_NESTED = 2000
"""From some ten thousands of nested values on, the C loader ends the process (run with PyYAML 6.0)."""
_JSON_TYPES = ((bool, "bool"), (str, "string"), ((int, float), "number"), (list, "array"))


def runtime_env_fault(text: str, release: Release) -> str | None:
    """The operator's text for this value of `runtimeEnvYAML`; None when it can read it.

    The words about bad YAML are those of libyaml, which Go's parser is a copy of.
    """
    loader: Any = _loader_with_words_of_libyaml()
    if sum(map(text.count, "[{-:?")) > _MOST_NESTED:
        loader = BoundedLoader
    try:
        loaded: Any = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        return f"failed to unmarshal RuntimeEnvYAML: {text}: error converting YAML to JSON: yaml: {_words(error)}"
    except UNREADABLE:  # only Python's constructors stumble: to Go such a scalar is text
        return None
    for types, name in _JSON_TYPES:
        if isinstance(loaded, types):
            package = "types" if release >= (1, 5, 0) else "utils"
            return (
                f"failed to unmarshal RuntimeEnvYAML: {text}: error unmarshaling JSON: while decoding JSON: json: "
                f"cannot unmarshal {name} into Go value of type {package}.RuntimeEnvType"
            )
    return None


def _loader_with_words_of_libyaml() -> type[Any]:
    """Return the C loader, where PyYAML has it: only that one has libyaml's own words."""
    c_loader: Any = getattr(yaml, "CSafeLoader", None)
    return BoundedLoader if c_loader is None else type("BoundedCLoader", (BoundedMerges, c_loader), {})


def _words(error: yaml.YAMLError) -> str:
    """Go's parser gives the problem, and its line unless that is the first one."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)
    mark = error.problem_mark if error.problem_mark and error.problem_mark.line else error.context_mark
    line = mark.line if mark else 0
    if line and mark is error.problem_mark and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    return f"line {line}: {error.problem}" if line else str(error.problem)

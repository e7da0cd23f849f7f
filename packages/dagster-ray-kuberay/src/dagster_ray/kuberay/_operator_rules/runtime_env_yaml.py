"""Why the KubeRay operator cannot read `runtimeEnvYAML`: it must be a YAML mapping. Pure."""

from typing import Any

import yaml
import yaml.scanner

from dagster_ray.kuberay._operator_rules.crd_fields import Release
from dagster_ray.kuberay._operator_rules.yaml_merges import BoundedLoader, BoundedMerges

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

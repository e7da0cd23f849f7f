"""Label and field selectors. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dagster_ray.kuberay._manifest_fields import at, mapping
from dagster_ray.kuberay.testing._statuses import Refused

Matcher: TypeAlias = Callable[[Mapping[str, Any]], bool]

_SET = re.compile(r"(?P<key>[\w./-]+)\s+(?P<word>in|notin)\s*\((?P<values>[^)]*)\)")
_EQUAL = re.compile(r"(?P<key>[\w./-]+)\s*(?P<word>!=|==|=)\s*(?P<value>[\w./:-]*)")
_KEY = re.compile(r"(?P<not>!?)\s*(?P<key>[\w./-]+)")


def _parts(selector: str) -> list[str]:
    """Split at the commas that stand outside of brackets."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def label_matcher(selector: str) -> Matcher:
    """Return what a label selector matches.

    Raises:
        Refused: 400, it cannot be read.
    """
    tests = [_label_test(part) for part in _parts(selector)]
    return lambda obj: all(test(mapping(at(obj, "metadata", "labels"))) for test in tests)


def _label_test(part: str) -> Callable[[Mapping[str, Any]], bool]:
    if found := _SET.fullmatch(part):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["word"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.fullmatch(part):
        key, value = found["key"], found["value"]
        if found["word"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _KEY.fullmatch(part):
        key, negated = found["key"], bool(found["not"])
        return lambda labels: (key in labels) is not negated
    raise Refused(400, "BadRequest", f"unable to parse requirement: {part}")


def field_matcher(selector: str) -> Matcher:
    """Return what a field selector matches: equality of any path, as `involvedObject.name=x`.

    Raises:
        Refused: 400, it cannot be read.
    """
    tests: list[Matcher] = []
    for part in _parts(selector):
        found = re.fullmatch(r"([\w.]+)\s*(!=|==|=)\s*(.*)", part)
        if found is None:
            raise Refused(400, "BadRequest", f"invalid selector: '{part}'; can't understand '{part}'")
        tests.append(_field_test(found[1].split("."), found[3], equal=found[2] != "!="))
    return lambda obj: all(test(obj) for test in tests)


def _field_test(path: list[str], value: str, *, equal: bool) -> Matcher:
    return lambda obj: (str(at(obj, *path) or "") == value) is equal

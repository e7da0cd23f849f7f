"""Label and field selectors, with kube-apiserver's texts for those that it cannot read. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.simulator._api.statuses import Refused, bad_request
from dagster_ray.simulator._kubelet.resources import EVENTS_V1, Resource

Matcher: TypeAlias = Callable[[Mapping[str, Any]], bool]
_Test: TypeAlias = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)\s*")
_SYMBOLS = {"==", "!=", "=", "!", "(", ")", ",", "<", ">"}

_EVERYWHERE = {"metadata.name", "metadata.namespace"}
_ABOUT = ("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid")
_FIELDS: Mapping[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        }
    ),
    "events": frozenset({f"involvedObject.{name}" for name in _ABOUT} | {"reason", "reportingComponent", "type"}),
    "secrets": frozenset({"type"}),
    "jobs": frozenset({"status.successful"}),
    "namespaces": frozenset({"status.phase"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
}


def label_matcher(selector: str) -> Matcher:
    """Return what a label selector matches.

    Raises:
        Refused: 400, it cannot be read.
    """
    tokens = _Tokens(selector)
    tests: list[_Test] = []
    while tokens.peek():
        tests.append(_label_test(tokens))
        if tokens.peek() and tokens.take() != ",":
            raise tokens.unexpected("',' or 'end of string'", again=True)
    return lambda obj: all(test(mapping(at(obj, "metadata", "labels"))) for test in tests)


class _Tokens:
    """What is left of a selector."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = _TOKEN.findall(text)
        self._place = 0

    def peek(self) -> str:
        return self._words[self._place] if self._place < len(self._words) else ""

    def take(self) -> str:
        word = self.peek()
        self._place += 1
        return word

    def name(self, expected: str) -> str:
        if self.peek() in _SYMBOLS or not self.peek():
            raise self.unexpected(expected)
        return self.take()

    def unexpected(self, expected: str, *, again: bool = False) -> Refused:
        if again:
            self._place -= 1
        return bad_request(f"unable to parse requirement: found '{self.peek()}', expected: {expected}")


def _label_test(tokens: _Tokens) -> _Test:
    if tokens.peek() == "!":
        tokens.take()
        absent = tokens.name("identifier")
        return lambda labels: absent not in labels
    key = tokens.name("!, identifier, or 'end of string'")
    if tokens.peek() in {"", ","}:
        return lambda labels: key in labels
    word = tokens.peek()
    if word not in {"in", "notin", "=", "==", "!=", ">", "<"}:
        raise tokens.unexpected("in, notin, =, ==, !=, gt, lt")
    tokens.take()
    if word in {"in", "notin"}:
        values = _values(tokens)
        return lambda labels: (labels.get(key) in values) is (word == "in")
    value = "" if tokens.peek() in {"", ","} else tokens.name("identifier")
    if word in {"<", ">"}:
        return lambda labels: _compares(labels.get(key), word, value)
    return lambda labels: (labels.get(key) == value) is (word != "!=")


def _values(tokens: _Tokens) -> set[str]:
    if tokens.peek() != "(":
        raise tokens.unexpected("'('")
    tokens.take()
    values: set[str] = set()
    while tokens.peek() != ")":
        if tokens.peek() == ",":
            tokens.take()
        else:
            values.add(tokens.name("',', ')' or identifier"))
    tokens.take()
    return values


def _compares(found: Any, word: str, value: str) -> bool:
    if not str(found).isdecimal() or not value.isdecimal():
        return False
    return int(found) > int(value) if word == ">" else int(found) < int(value)


def field_matcher(selector: str, resource: Resource) -> Matcher:
    """Return what a field selector matches, on objects as they are stored.

    Raises:
        Refused: 400, it cannot be read, or the resource has no such selectable field.
    """
    tests: list[Matcher] = []
    for part in filter(None, selector.split(",")):
        found = re.fullmatch(r"\s*([^=!\s]+)\s*(!=|==|=)\s*(.*)", part)
        if found is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        path = found[1]
        if resource is EVENTS_V1:
            path = path.replace("regarding.", "involvedObject.").replace("reportingController", "reportingComponent")
        if path not in _EVERYWHERE | _FIELDS.get(resource.plural, frozenset()):
            raise bad_request(f"field label not supported: {found[1]}")
        tests.append(_field_test(path.split("."), found[3].strip(), equal=found[2] != "!="))
    return lambda obj: all(test(obj) for test in tests)


def _field_test(path: list[str], value: str, *, equal: bool) -> Matcher:
    return lambda obj: (str(at(obj, *path) or "") == value) is equal

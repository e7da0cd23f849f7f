"""Keys and values of a specification that no known KubeRay has: misspelled ones, or those of a later release. Pure.

The API server or the operator has the last word on values; one that is a known one misspelled is an error already.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Field, field_at
from dagster_ray.kuberay._operator_rules.deletion_rules import POLICIES, STATUSES
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json

_RELEASE = "1.7"
# Of a pod, Kubernetes has more than a CRD knows: only its fields and those of its containers are looked at.
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_ALL, _POD, _CONTAINER = -1, 2, 1


def unknown_keys(kind: CrdKind, spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of the keys that no known release has.

    Raises:
        InvalidSpecError: One is within two edits of a key that stands there.
    """
    yield from _of_object(dict(spec), field_at(kind, _RELEASE, "spec"), "spec")


def _of_object(value: object, field: Field | None, path: str, depth: int = _ALL) -> Iterator[str]:
    """Yield the unknown keys of a value; `depth` is how many more levels of objects are looked at."""
    if field is None or depth == 0:
        return
    if isinstance(value, list):
        for n, item in enumerate(cast("list[object]", value)):
            yield from _of_object(item, field.items, f"{path}[{n}]", depth)
    if not isinstance(value, dict) or not field.properties or field.keeps_unknown:
        return
    for key, item in cast("Json", value).items():
        where = f"{path}.{key}"
        inner = field.properties.get(key)
        if inner is None:
            yield from _unknown(key, where, field)
        else:
            yield from _of_object(item, inner, where, _depth(key, path, depth))


def _unknown(key: str, where: str, field: Field) -> Iterator[str]:
    meant = misspelled(key, field.properties)
    if meant is not None:
        raise InvalidSpecError(where, "is not a field of KubeRay or Kubernetes", f"write `{meant}`")
    yield where


def _depth(key: str, path: str, depth: int) -> int:
    if depth == _ALL:
        return _POD if key == "spec" and path.lower().endswith("template") else _ALL
    return _CONTAINER if depth == _POD and key in _CONTAINERS else 0


MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")


class UnknownValue(NamedTuple):
    """A text that no known release takes.

    Attributes:
        path: The field.
        value: What it holds.
        known: What the known releases take.
    """

    path: str
    value: str
    known: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What there is to say of it."""
        return (
            f"`{self.path}` is {self.value!r}, which KubeRay up to 1.7 does not know; it has {', '.join(self.known)}."
        )


def unknown_values(spec: Manifest) -> Iterator[UnknownValue]:
    """Yield the values of a RayJob's or RayCluster's spec that no known release has.

    Raises:
        InvalidSpecError: One is a known value misspelled.
    """
    for path, value, known in _enums(spec):
        if not isinstance(value, str) or value in known:
            continue
        meant = misspelled(value, known)
        if meant is not None:
            raise InvalidSpecError(path, f"is {value!r}", f"write {meant!r}")
        yield UnknownValue(path, value, known)


def _enums(spec: Manifest) -> Iterator[tuple[str, object, tuple[str, ...]]]:
    yield "spec.managedBy", spec.get("managedBy"), MANAGERS
    yield "spec.rayClusterSpec.managedBy", at(spec, "rayClusterSpec", "managedBy"), MANAGERS
    strategy, path = mapping(spec.get("deletionStrategy")), "spec.deletionStrategy"
    for outcome in ("onSuccess", "onFailure"):
        yield f"{path}.{outcome}.policy", at(strategy, outcome, "policy"), POLICIES
    for n, rule in enumerate(mappings(strategy.get("deletionRules"))):
        where = f"{path}.deletionRules[{n}]"
        yield f"{where}.policy", rule.get("policy"), POLICIES
        for name, known in STATUSES.items():
            yield f"{where}.condition.{name}", at(rule, "condition", name), known


_MOST_EDITS = 2


def misspelled(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is within two edits of an unknown one; None if there is none.

    An edit inserts, deletes or replaces one letter; upper and lower case count as the same. Of a short word less than
    half may differ, since nearly every word of three letters is within two edits of another.
    """
    folded = word.lower()
    most = min(_MOST_EDITS, (len(folded) - 1) // 2)
    found = [(edits, name) for name in known if (edits := _edits(folded, name.lower(), most)) <= most]
    return min(found)[1] if found else None


def _edits(word: str, other: str, most: int) -> int:
    """Return how many edits make one word of the other, or any number above `most`."""
    if abs(len(word) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for n, letter in enumerate(word, start=1):
        above, row = row, [n]
        for m, its in enumerate(other, start=1):
            row.append(min(above[m] + 1, row[m - 1] + 1, above[m - 1] + (letter != its)))
        if min(row) > most:
            return most + 1
    return row[-1]

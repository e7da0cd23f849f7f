"""Values that no known release of KubeRay has, where a later one may. Pure.

The API server or the operator has the last word on them; a value that is a known one misspelled is an error already.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._operator_rules.deletion_rules import POLICIES, STATUSES
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.spelling import misspelled

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

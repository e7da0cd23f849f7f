"""Keys of a specification that KubeRay's CRDs do not have: a known one misspelled, or one of a later release. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Field, field_at
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.spelling import misspelled

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

"""Read fields of Kubernetes objects that may hold anything. Pure."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

Manifest: TypeAlias = Mapping[str, Any]


def mapping(value: object) -> Manifest:
    """Return `value` if it is a mapping, else an empty one."""
    return cast("Manifest", value) if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Manifest]:
    """Return the items of a list of mappings; what is something else becomes empty."""
    return [mapping(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def at(value: object, *path: str) -> Any:
    """Return what stands at a path of keys; None where a key is missing."""
    for key in path:
        value = mapping(value).get(key)
    return value

"""Read fields of Kubernetes objects that may hold anything. Pure."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

Manifest: TypeAlias = Mapping[str, Any]


def mapping(value: object) -> Manifest:
    """Return `value` if it is a mapping, else an empty one."""
    return cast("Manifest", value) if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Manifest]:
    """Return the items of a list of mappings; what is something else becomes empty."""
    return [mapping(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def json_of(body: str | bytes) -> object:
    """Return what a JSON text says; None where it cannot be read, as when it is nested too deep."""
    try:
        return cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return None


def at(value: object, *path: str) -> Any:
    """Return what stands at a path of keys; None where a key is missing."""
    for key in path:
        value = mapping(value).get(key)
    return value


def text(value: object, *path: str) -> str:
    """Return the text that stands at a path of keys; an empty one where there is none, or something else."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def whole(value: object, *path: str) -> int:
    """Return the whole number that stands at a path of keys; 0 where there is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def port_number(value: object) -> int | None:
    """Return the number of a port, which some objects have as text; None for a port's name, and for what is no port."""
    number = str(value)
    return int(number) if number.isdecimal() and len(number) <= len("65535") else None


def texts(value: object, *path: str) -> list[str]:
    """Return the texts of the list that stands at a path of keys."""
    found: object = at(value, *path)
    return [item for item in cast("list[object]", found) if isinstance(item, str)] if isinstance(found, list) else []


def name_of(manifest: object) -> str:
    """Return an object's name; empty while it has none."""
    return text(manifest, "metadata", "name")

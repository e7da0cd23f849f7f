"""Read fields of Kubernetes objects that may hold anything: texts, numbers, quantities, times. Pure."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
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


_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_UNITS = {"": Decimal(1), **{unit: Decimal(factor) for unit, factor in (_BINARY | _DECIMAL).items()}}
# apimachinery/pkg/api/resource/quantity.go; longer numbers than these are none that anybody means.
_QUANTITY = re.compile(r"([+-]?(?:\d{1,30}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][+-]?\d{1,2})?)([KMGTPE]i|[mkMGTPE])?")


def quantity(value: object) -> Decimal:
    """Return the number that a quantity such as "500m", "4Gi" or 2 stands for; 0 when it is none."""
    found = _QUANTITY.fullmatch(str(value if value is not None else "0").strip())
    return Decimal(found[1]) * _UNITS[found[2] or ""] if found is not None else Decimal(0)


def shown_count(value: Decimal) -> str:
    """Return a count in canonical form: "2", "1500m"."""
    return str(int(value)) if value == int(value) else f"{int(value * 1000)}m"


def shown_bytes(value: Decimal) -> str:
    """Return bytes in canonical form: the largest binary unit that divides them."""
    whole = int(value)
    for unit, factor in reversed(_BINARY.items()):
        if whole and whole % factor == 0:
            return f"{whole // factor}{unit}"
    return str(whole)


def shown(resource: str, value: Decimal) -> str:
    """Return an amount of a resource for people: bytes in the unit that fits, rounded to a tenth; else a count."""
    if not any(word in resource for word in ("memory", "storage", "hugepages")):
        return shown_count(value)
    for unit, factor in reversed(_BINARY.items()):
        if abs(value) >= factor:
            return f"{value / factor:.1f}".removesuffix(".0") + unit
    return str(int(value))


def time_text(time: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: object) -> datetime | None:
    """Return the time that a text of Kubernetes or of a lock says; None if it says none, or none with a zone."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # the first and the last day of the calendar have no time in all zones
        return None

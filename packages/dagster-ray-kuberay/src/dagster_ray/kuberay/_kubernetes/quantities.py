"""Kubernetes quantities: from text to a number and back. Pure."""

import re
from decimal import Decimal

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

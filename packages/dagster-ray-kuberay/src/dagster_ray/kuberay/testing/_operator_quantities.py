"""Sums of Kubernetes quantities, as the status of a RayCluster shows them. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from dagster_ray.kuberay._manifest_fields import at, mapping, mappings

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_KNOWN_GPUS = ("gpu",)


def quantity(value: object) -> Decimal:
    """The number that a quantity such as "500m", "4Gi" or 2 stands for; 0 when it is none."""
    text = str(value if value is not None else "0").strip()
    for units in (_BINARY, _DECIMAL):
        for unit, factor in units.items():
            if text.endswith(unit):
                return _number(text[: -len(unit)]) * Decimal(factor)
    return _number(text)


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)


def shown_count(value: Decimal) -> str:
    """A count in canonical form: "2", "1500m"."""
    return str(int(value)) if value == int(value) else f"{int(value * 1000)}m"


def shown_bytes(value: Decimal) -> str:
    """Bytes in canonical form: the largest binary unit that divides them."""
    whole = int(value)
    for unit, factor in reversed(_BINARY.items()):
        if whole and whole % factor == 0:
            return f"{whole // factor}{unit}"
    return str(whole)


def pod_resources(pod_spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod asks for: the requests of its containers, and the limit where a request is missing."""
    total: dict[str, Decimal] = {}
    for container in mappings(pod_spec.get("containers")):
        asked = {**mapping(at(container, "resources", "limits")), **mapping(at(container, "resources", "requests"))}
        for name, value in asked.items():
            total[name] = total.get(name, Decimal(0)) + quantity(value)
    return total


def desired_resources(pods: Iterable[tuple[Mapping[str, Any], int]]) -> dict[str, str]:
    """The desired* fields of a RayCluster's status for pod specs, each with how many there shall be."""
    cpu = memory = gpu = tpu = Decimal(0)
    for pod_spec, count in pods:
        asked = pod_resources(pod_spec)
        cpu += asked.get("cpu", Decimal(0)) * count
        memory += asked.get("memory", Decimal(0)) * count
        gpu += sum((value for name, value in asked.items() if name.endswith(_KNOWN_GPUS)), Decimal(0)) * count
        tpu += asked.get("google.com/tpu", Decimal(0)) * count
    return {
        "desiredCPU": shown_count(cpu),
        "desiredGPU": shown_count(gpu),
        "desiredMemory": shown_bytes(memory),
        "desiredTPU": shown_count(tpu),
    }

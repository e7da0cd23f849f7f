"""Sums of Kubernetes quantities, as the status of a RayCluster shows them. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings, quantity, shown_bytes, shown_count

_KNOWN_GPUS = ("gpu",)


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

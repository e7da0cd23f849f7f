"""Hours that pods reserved, and their cost by a table of prices. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from dagster_ray.kuberay._hours.pods import ReservedPod

_HOUR, _GIB = 3600, Decimal(2**30)
_CPU, _MEMORY = "cpu", "memory"
# What Ray calls GPU, as KubeRay derives it (IsGPUResourceKey in ray-operator/controllers/ray/utils/resources.go).
_GPU = re.compile(r".*gpu|nvidia\.com/mig-.*")
_SHOWN_PODS = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """What an hour costs on some nodes.

    Attributes:
        node_labels: Labels that these nodes have; empty: all nodes.
        node_hour: Price of a whole node. A pod pays the largest of its shares of the node's resources.
        cpu_hour: Price of a CPU.
        memory_gib_hour: Price of a GiB of memory.
        gpu_hour: Price of a device that Ray calls a GPU.
        resource_hours: Prices of other resources by their name in Kubernetes, which come before `gpu_hour`.
    """

    node_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    node_hour: float = 0.0
    cpu_hour: float = 0.0
    memory_gib_hour: float = 0.0
    gpu_hour: float = 0.0
    resource_hours: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a node: its labels, and what pods can have of it."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    allocatable: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])


@dataclass(frozen=True, slots=True)
class Hours:
    """What pods reserved.

    Attributes:
        cpu: CPU-hours.
        memory_gib: GiB-hours of memory.
        gpu: Hours of devices that Ray calls a GPU.
        devices: Hours of other devices, by the name of their resource.
        cost: In the unit of the prices; None if there are no prices, or none for a pod.
        unpriced: Pods for which no price is known.
    """

    cpu: float
    memory_gib: float
    gpu: float
    devices: Mapping[str, float]
    cost: float | None
    unpriced: tuple[str, ...] = ()

    def plain(self) -> dict[str, float | str]:
        """Return the figures by name, as they go into metadata."""
        figures: dict[str, float | str] = {
            "cpu_hours": self.cpu,
            "gpu_hours": self.gpu,
            "memory_gib_hours": self.memory_gib,
            **{f"{name}_hours": hours for name, hours in self.devices.items()},
        }
        if self.cost is not None:
            figures["cost"] = self.cost
        if self.unpriced:
            more = len(self.unpriced) - _SHOWN_PODS
            names = ", ".join(self.unpriced[:_SHOWN_PODS]) + (f" and {more} more" if more > 0 else "")
            figures["cost_unknown"] = f"no price fits the node of {names}"
        return figures


def hours_of(
    pods: Iterable[ReservedPod],
    now: datetime,
    *,
    since: datetime | None = None,
    rates: Sequence[Rate] = (),
    nodes: Mapping[str, Node] | None = None,
) -> Hours:
    """Return what pods reserved, and its cost.

    Args:
        pods: The pods.
        now: The API server's time, until which pods that live count.
        since: From when on time counts; None: from each pod's start.
        rates: Prices; of those whose labels a node has, the first one holds.
        nodes: The nodes by name, as far as they are known.
    """
    hours: dict[str, float] = {}
    cost, unpriced = 0.0, list[str]()
    for pod in pods:
        spent = pod.seconds(now, since) / _HOUR
        if not spent:
            continue
        for name, amount in pod.requests.items():
            hours[name] = hours.get(name, 0.0) + spent * float(amount)
        price = price_of(pod, rates, (nodes or {}).get(pod.node))
        if price is None:
            unpriced.append(pod.name)
        else:
            cost += spent * price
    cpu, memory = hours.pop(_CPU, 0.0), hours.pop(_MEMORY, 0.0) / float(_GIB)
    gpu = sum(spent for name, spent in hours.items() if _GPU.fullmatch(name))
    devices = {name: spent for name, spent in hours.items() if "/" in name and not _GPU.fullmatch(name)}
    if not rates:
        return Hours(cpu, memory, gpu, devices, None)
    return Hours(cpu, memory, gpu, devices, None if unpriced else cost, tuple(unpriced))


def price_of(pod: ReservedPod, rates: Sequence[Rate], node: Node | None) -> float | None:
    """Return what an hour of a pod costs; None if no rate fits its node, or not enough is known of the node.

    Args:
        pod: The pod.
        rates: Prices; of those whose labels the node has, the first one holds.
        node: Its node; None if that could not be read. Then a rate holds only if no earlier one may.
    """
    labels = {**pod.labels, **(node.labels if node is not None else {})}
    may_hold = (rate for rate in rates if not _contradicts(rate, labels, is_known=node is not None))
    rate = next(may_hold, None)
    if rate is None or not rate.node_labels.items() <= labels.items():
        return None
    price = sum(float(amount) * _unit_price(name, rate) for name, amount in pod.requests.items())
    if not rate.node_hour:
        return price
    sizes = (node or Node()).allocatable
    shares = [amount / sizes[name] for name, amount in pod.requests.items() if sizes.get(name)]
    return price + rate.node_hour * min(1.0, float(max(shares))) if shares else None


def _contradicts(rate: Rate, labels: Mapping[str, str], *, is_known: bool) -> bool:
    """Return whether a node cannot be one of a rate's; one that is not known may have more labels than these."""
    return any(labels.get(key, None if is_known else value) != value for key, value in rate.node_labels.items())


def _unit_price(name: str, rate: Rate) -> float:
    if name == _CPU:
        return rate.cpu_hour
    if name == _MEMORY:
        return rate.memory_gib_hour / float(_GIB)
    if name in rate.resource_hours:
        return rate.resource_hours[name]
    return rate.gpu_hour if _GPU.fullmatch(name) else 0.0

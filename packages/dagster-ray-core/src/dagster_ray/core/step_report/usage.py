"""How much of their nodes the tasks of a cluster use, by samples of Ray's dashboard. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

_GIB = 2**30
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """What the nodes of a cluster used at one time."""

    cpus: float
    used_cpus: float
    memory_bytes: float
    gpus: int
    used_gpus: float


def sample_of(answer: object) -> Sample | None:
    """Return what an answer to `/nodes?view=summary` shows; None if it shows no node that lives and was measured.

    Each node reports the share of its CPUs in percent, its memory in bytes, and each GPU's utilization in percent
    (ray/dashboard/modules/reporter/reporter_agent.py, 2.46 to 2.60). In a pod these are the container's.
    """
    nodes = [*_nodes(answer)]
    if not nodes:
        return None
    gpus = [_number(gpu.get("utilizationGpu")) for node in nodes for gpu in _mappings(node.get("gpus"))]
    cpus = [(_first(node.get("cpus"), 0), _number(node.get("cpu"))) for node in nodes]
    return Sample(
        cpus=sum(count for count, _ in cpus),
        used_cpus=sum(count * percent / _PERCENT for count, percent in cpus),
        memory_bytes=sum(_first(node.get("mem"), 3) for node in nodes),
        gpus=len(gpus),
        used_gpus=sum(gpus) / _PERCENT,
    )


@dataclass(slots=True)
class Usage:
    """What all samples show together."""

    samples: int = 0
    _cpus: float = 0.0
    _used_cpus: float = 0.0
    _gpus: int = 0
    _used_gpus: float = 0.0
    _peak_bytes: float = 0.0

    def add(self, sample: Sample) -> None:
        """Take in a sample."""
        self.samples += 1
        self._cpus += sample.cpus
        self._used_cpus += sample.used_cpus
        self._gpus += sample.gpus
        self._used_gpus += sample.used_gpus
        self._peak_bytes = max(self._peak_bytes, sample.memory_bytes)

    def figures(self) -> dict[str, float | int]:
        """Return used shares from 0 to 1, the most memory that any sample shows, and how many samples there are."""
        if not self.samples:
            return {}
        found: dict[str, float | int] = {}
        if self._cpus:
            found["cpu_used_share"] = self._used_cpus / self._cpus
        if self._gpus:
            found["gpu_used_share"] = self._used_gpus / self._gpus
        return {**found, "peak_memory_gib": self._peak_bytes / _GIB, "usage_samples": self.samples}


def _nodes(answer: object) -> Iterator[Mapping[str, Any]]:
    data = _mapping(_mapping(answer).get("data"))
    for node in _mappings(data.get("summary")):
        state = _mapping(node.get("raylet")).get("state", "ALIVE")
        if state == "ALIVE" and isinstance(node.get("mem"), list):
            yield node


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def _first(value: object, position: int) -> float:
    """Return the number at a position of a list; 0 if there is none."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return _number(items[position]) if len(items) > position else 0.0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0

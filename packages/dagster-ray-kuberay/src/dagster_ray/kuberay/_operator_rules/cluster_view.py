"""What the operator's rules look at: a RayCluster's spec of any shape, and the operator. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import Release

AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"


@dataclass(frozen=True, slots=True)
class Operator:
    """What decides whether a rule applies.

    Attributes:
        release: The operator's version.
        gates: Its feature gates; a gate that is absent is off.
    """

    release: Release
    gates: Mapping[str, bool]

    def on(self, gate: str) -> bool:
        """Whether a feature gate is on."""
        return self.gates.get(gate, False)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster as the rules see it.

    Attributes:
        spec: The RayClusterSpec.
        annotations: The annotations of the object that holds it.
        operator: Who judges.
    """

    spec: Mapping[str, Any]
    annotations: Mapping[str, Any]
    operator: Operator

    @property
    def head(self) -> Mapping[str, Any]:
        """The head group."""
        return mapping(self.spec.get("headGroupSpec"))

    @property
    def head_env(self) -> Mapping[str, str]:
        """The environment of the head's Ray container."""
        containers = containers_of(self.head)
        return env_of(containers[0]) if containers else {}

    @property
    def workers(self) -> list[Mapping[str, Any]]:
        """The worker groups."""
        return mappings(self.spec.get("workerGroupSpecs"))

    @property
    def autoscaler(self) -> Mapping[str, Any]:
        """The options of the autoscaler."""
        return mapping(self.spec.get("autoscalerOptions"))

    @property
    def autoscaler_v2(self) -> bool:
        """Whether the spec chooses version 2 of the autoscaler."""
        return is_autoscaled(self.spec) and self.autoscaler.get("version") == "v2"

    @property
    def autoscaler_v2_by_env(self) -> bool:
        """Whether the head's environment chooses version 2 of the autoscaler."""
        return self.head_env.get(AUTOSCALER_V2) in ("1", "true")


def is_autoscaled(spec: object) -> bool:
    """Whether the cluster has Ray's autoscaler."""
    return at(spec, "enableInTreeAutoscaling") is True


def containers_of(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The containers of a head or worker group."""
    return mappings(at(group, "template", "spec", "containers"))


def restarts(group: Mapping[str, Any]) -> bool:
    """Whether the pods of a group ask for a restart policy other than Never."""
    return at(group, "template", "spec", "restartPolicy") not in (None, "", "Never")


def env_of(container: Mapping[str, Any]) -> Mapping[str, str]:
    """A container's environment by name; a value from elsewhere is ""."""
    return {str(entry.get("name")): str(entry.get("value") or "") for entry in mappings(container.get("env"))}


def whole(value: Any, default: int = 0) -> int:
    """A number of the spec; the default for what is absent or not a number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default

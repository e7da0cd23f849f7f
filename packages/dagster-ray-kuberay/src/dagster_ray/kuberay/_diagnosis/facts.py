"""What a diagnosis looks at, as plain data of any shape. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_ray.kuberay._diagnosis.events import Event
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, mappings, name_of, text

_LOG_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was read of a cluster that does not come up. None stands for what nobody has asked for."""

    pods: Sequence[Manifest] = ()
    """Pods of the cluster."""
    events: Sequence[Event] = ()
    """Events of the RayJob, the RayCluster and their pods and claims, in the order of time."""
    rayjob: Manifest | None = None
    raycluster: Manifest | None = None
    nodes: Sequence[Manifest] | None = None
    pods_on_nodes: Sequence[Manifest] | None = None
    """Pods of all namespaces, which tell how much of the nodes is free."""
    claims: Sequence[Manifest] | None = None
    services: Sequence[Manifest] | None = None
    endpoint_slices: Sequence[Manifest] | None = None
    workloads: Sequence[Manifest] | None = None
    operator_pods: Sequence[Manifest] | None = None
    logs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Ends of logs by the name of the pod."""
    answers: Sequence[Manifest] = ()
    """Answers of the API server that were no success: Status objects."""
    warnings: Sequence[str] = ()
    """Headers Warning of the API server's answers."""
    closed_port: str | None = None
    """The place that accepts no driver, as `host:port`."""
    mismatch: tuple[str, str, str] | None = None
    """What differs, the step's version and the cluster's."""
    token_refused: str | None = None
    """What the dashboard answered to the token, or to none."""

    def events_of_pod(self, pod: Manifest) -> list[Event]:
        """Return the events of a pod, in the order of time."""
        name = name_of(pod)
        return [event for event in self.events if event.kind == "Pod" and event.name == name]

    def log_of(self, pod: Manifest) -> str:
        """Return the last lines of a pod's log that hold anything; empty if none were given."""
        lines = [line.rstrip() for line in text(self.logs, name_of(pod)).splitlines() if line.strip()]
        return "\n".join(lines[-_LOG_LINES:])


def is_head(pod: Manifest) -> bool:
    """Return whether a pod is the head of its cluster."""
    return text(pod, "metadata", "labels", "ray.io/node-type") == "head"


def condition_of(manifest: Manifest, kind: str) -> Manifest:
    """Return a condition of an object's status; empty while it has none of that type."""
    found = [c for c in mappings(mapping(manifest.get("status")).get("conditions")) if c.get("type") == kind]
    return found[0] if found else {}


def is_true(manifest: Manifest, kind: str) -> bool:
    """Return whether a condition of an object's status is True."""
    return condition_of(manifest, kind).get("status") == "True"


def sentence_end(message: str) -> str:
    """Return a message as the end of a sentence: after a colon, or nothing at all."""
    return f": {message}" if message else ""

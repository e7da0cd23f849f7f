"""When the pods of a cluster had a node, and what they reserved there. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, quantity, text, time_of

_OVER = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class ReservedPod:
    """A pod that had a node.

    Attributes:
        name: Its name.
        node: The node's name.
        start: When it was scheduled.
        end: When it ended, or was gone; None while it lives.
        requests: What it reserves: a resource of Kubernetes, and how much of it.
        labels: Labels that its node has for certain, because the pod selects them.
    """

    name: str
    node: str
    start: datetime
    end: datetime | None
    requests: Mapping[str, Decimal]
    labels: Mapping[str, str]

    def seconds(self, now: datetime, since: datetime | None = None) -> float:
        """Return for how long it had its node.

        Args:
            now: The API server's time, until which a pod that lives counts.
            since: From when on time counts; None: from the pod's start.
        """
        start = self.start if since is None else max(self.start, since)
        end = now if self.end is None else min(self.end, now)
        return max(0.0, (end - start).total_seconds())


@dataclass(slots=True)
class PodHistory:
    """All pods of a cluster that ever had a node, by uid."""

    pods: dict[str, ReservedPod] = field(default_factory=dict[str, ReservedPod])

    def note(self, pod: Manifest, heard_at: datetime, *, is_gone: bool = False) -> None:
        """Take in a pod as a list or a watch shows it.

        Args:
            pod: The pod.
            heard_at: The API server's time now. It counts as the pod's end if nothing in the pod tells it.
            is_gone: Whether the pod has been deleted.
        """
        uid, node = text(pod, "metadata", "uid"), text(pod, "spec", "nodeName")
        start = _start(pod)
        if not node or start is None:
            return
        is_over = is_gone or text(pod, "status", "phase") in _OVER
        end = max(start, _end(pod) or heard_at) if is_over else None
        selected = mapping(at(pod, "spec", "nodeSelector"))
        labels = {key: str(value) for key, value in selected.items()}
        found = ReservedPod(
            text(pod, "metadata", "name"), node, start, end, requests_of(mapping(pod.get("spec"))), labels
        )
        known = self.pods.get(uid)
        if known is not None and known.end is not None:
            return  # it ended when that was first heard of, however long its object stays
        self.pods[uid] = found if known is None else replace(found, start=known.start)


def _start(pod: Manifest) -> datetime | None:
    """Return when a pod got its node: as the scheduler says, else as the kubelet does."""
    for condition in mappings(at(pod, "status", "conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True":
            scheduled = time_of(condition.get("lastTransitionTime"))
            if scheduled is not None:
                return scheduled
    return time_of(at(pod, "status", "startTime")) or time_of(at(pod, "metadata", "creationTimestamp"))


def _end(pod: Manifest) -> datetime | None:
    """Return when the last container of a pod ended; None if one has not, or does not say so."""
    containers = mappings(at(pod, "status", "containerStatuses"))
    ends = [time_of(at(container, "state", "terminated", "finishedAt")) for container in containers]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def requests_of(spec: Manifest) -> dict[str, Decimal]:
    """Return what the scheduler reserves for a pod: requests, or limits where there is no request.

    Init containers run one after another before the others; those that restart always run beside them
    (k8s.io/component-helpers/resource, `PodRequests`).

    Args:
        spec: The pod's spec.
    """
    init = mappings(spec.get("initContainers"))
    beside = [one for one in init if one.get("restartPolicy") == "Always"]
    together = _sum(_of_container(one) for one in [*mappings(spec.get("containers")), *beside])
    before: dict[str, Decimal] = {}
    running: dict[str, Decimal] = {}
    for one in init:
        own = _of_container(one)
        if one in beside:
            running = _sum([running, own])
        for name, amount in (running if one in beside else _sum([running, own])).items():
            before[name] = max(before.get(name, Decimal(0)), amount)
    most = {name: max(together.get(name, Decimal(0)), before.get(name, Decimal(0))) for name in {*together, *before}}
    overhead = {name: quantity(amount) for name, amount in mapping(spec.get("overhead")).items()}
    return {name: amount for name, amount in _sum([most, overhead]).items() if amount > 0}


def _of_container(container: Manifest) -> dict[str, Decimal]:
    limits, requests = (mapping(at(container, "resources", which)) for which in ("limits", "requests"))
    return {name: quantity(amount) for name, amount in {**limits, **requests}.items()}


def _sum(amounts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total

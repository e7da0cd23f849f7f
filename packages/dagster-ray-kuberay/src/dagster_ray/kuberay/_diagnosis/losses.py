"""What became of a cluster's pods lately: which of them a node took along, and which ran out of memory. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import cast, get_args

from dagster_ray.core.failures.causes import Loss, LossKind
from dagster_ray.kuberay._diagnosis.cluster_facts import Event, Facts, condition_of, events_of, is_head
from dagster_ray.kuberay._diagnosis.nodes import node_findings
from dagster_ray.kuberay._diagnosis.situations import Diagnosis
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, name_of, text, time_of

LATELY = timedelta(minutes=10)
"""What happened earlier has not ended this step: Ray reports a lost node within a minute or two."""
_KINDS: tuple[str, ...] = get_args(LossKind)


def losses_of(
    pods: Sequence[Manifest],
    events: Iterable[Manifest],
    cluster: str,
    head_pod: str | None = None,
    now: datetime | None = None,
) -> list[Loss]:
    """Return what became of the pods of a cluster.

    Args:
        pods: Its pods as they are.
        events: Events about pods of the namespace.
        cluster: The RayCluster's name, with which the names of its pods begin.
        head_pod: The head's pod as the step knew it; None if it did not.
        now: The API server's time; None: everything counts as lately.
    """
    known = events_of(events, ())
    ours = [event for event in known if event.name.startswith(f"{cluster}-") and _is_late(f"{event.time}Z", now)]
    names = {name_of(pod) for pod in pods}
    told = {name_of(pod): [*_of_pod(pod, now)] for pod in pods}
    found = [loss for losses in told.values() for loss in losses]
    found += [loss for event in ours if not told.get(event.name) for loss in _of_event(event)]
    if head_pod is not None and head_pod not in names and not any(loss.is_head for loss in found):
        found.append(Loss("head-replaced", f"the head pod {head_pod} is gone", is_head=True))
    return found


def _is_late(time: str, now: datetime | None) -> bool:
    """Return whether a time is one of the last minutes; one that cannot be read is."""
    then = time_of(time)
    return now is None or then is None or now - then <= LATELY


def _of_pod(pod: Manifest, now: datetime | None) -> Iterator[Loss]:
    for status in mappings(at(pod, "status", "containerStatuses")):
        for state in ("state", "lastState"):
            end = mapping(at(status, state, "terminated"))
            if end.get("reason") == "OOMKilled" and _is_late(text(end, "finishedAt"), now):
                where = f"container {text(status, 'name')} of pod {name_of(pod)}"
                yield Loss("out-of-memory", f"{where} was killed for want of memory", is_head(pod))
                return
    condition = condition_of(pod, "DisruptionTarget")
    if condition and not _is_late(text(condition, "lastTransitionTime"), now):
        return
    for found in node_findings(Facts(pods=[pod])):
        if (kind := _kind(found.diagnosis)) is not None:
            yield Loss(kind, found.diagnosis.sentence, is_head(pod))
            return


def _of_event(event: Event) -> Iterator[Loss]:
    """Return what an event says of a pod that does not say it itself, or is not there any more."""
    about = {"involvedObject": {"kind": "Pod", "name": event.name}, "reason": event.reason, "message": event.message}
    for found in node_findings(Facts(events=[about])):
        if (kind := _kind(found.diagnosis)) is not None:
            yield Loss(kind, found.diagnosis.sentence, "-head" in event.name)


def _kind(found: Diagnosis) -> LossKind | None:
    """Return what became of a pod; None if that is no loss."""
    return cast("LossKind", found.code) if found.code in _KINDS else None

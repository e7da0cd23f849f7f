"""What each status of a RayCluster means for a step that waits. Statuses as KubeRay 1.7.0 wrote them."""

from typing import Any

import pytest

from dagster_ray.kuberay._status.cluster_state import (
    ClusterState,
    Ended,
    Head,
    Queued,
    Starting,
    Unseen,
    read_raycluster,
)

PORTS = {"client": "10001", "dashboard": "8265"}
HEAD = {"podName": "h", "podIP": "10.0.0.7", "serviceIP": "10.0.0.7", "serviceName": "c-head-svc"}


def raycluster(status: dict[str, Any] | None, *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "c", "labels": labels or {}}, "spec": spec, **({"status": status} if status else {})}


def status(ready: str, reason: str, *, state: str | None = None, head: dict[str, str] | None = None) -> dict[str, Any]:
    condition = {"type": "HeadPodReady", "status": ready, "reason": reason, "message": ""}
    found = {"conditions": [condition], "endpoints": PORTS, "head": HEAD if head is None else head}
    return found if state is None else {**found, "state": state}


def placed(reason: str) -> Head:
    return Head("c", "c-head-svc", "h", "10.0.0.7", {"client": 10001, "dashboard": 8265}, reason)


CASES: dict[str, tuple[dict[str, Any], ClusterState]] = {
    "no operator has seen it, or it refuses the spec": (raycluster(None), Unseen()),
    "a queue holds it": (
        raycluster(status("False", "HeadPodNotFound"), suspend=True, labels={"kueue.x-k8s.io/queue-name": "team-a"}),
        Queued("the queue 'team-a' has not admitted it yet"),
    ),
    "somebody has suspended it": (raycluster(None, suspend=True), Queued("it is suspended")),
    "it was resumed, and the state is not up to date": (
        raycluster(status("False", "ContainerCreating", state="suspended"), suspend=False),
        Starting("the cluster is being made", placed("ContainerCreating")),
    ),
    "the head starts": (
        raycluster(status("False", "ContainersNotReady")),
        Starting("the cluster is being made", placed("ContainersNotReady")),
    ),
    "the head serves, workers are missing": (
        raycluster(status("True", "HeadPodRunningAndReady")),
        Starting("the cluster is being made", placed("HeadPodRunningAndReady")),
    ),
    "all pods are ready": (
        raycluster(status("True", "HeadPodRunningAndReady", state="ready")),
        Starting("the operator says ready", placed("HeadPodRunningAndReady"), operator_ready=True),
    ),
    "the head was killed, and the state is never taken back": (
        raycluster(status("False", "HeadPodNotFound", state="ready", head={"serviceName": "c-head-svc"})),
        Starting(
            "the cluster is being made",
            Head("c", "c-head-svc", None, None, {"client": 10001, "dashboard": 8265}, "HeadPodNotFound"),
        ),
    ),
    "it is being deleted": (
        {"metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
        Ended("Deleted", "Deleted", "it was deleted by somebody else"),
    ),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES)
def test_what_a_status_means(given: dict[str, Any], expected: ClusterState) -> None:
    assert read_raycluster(given) == expected


def test_a_watch_tells_the_end() -> None:
    assert isinstance(read_raycluster(raycluster(None), deleted=True), Ended)

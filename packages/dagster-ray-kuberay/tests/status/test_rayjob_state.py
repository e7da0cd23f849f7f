"""What each status of a RayJob means for a step that waits. Statuses as KubeRay 1.4.2 and 1.7.0 wrote them."""

from typing import Any

import pytest

from dagster_ray.kuberay._status.cluster_state import (
    ClusterState,
    Ended,
    Head,
    Queued,
    Starting,
    Unseen,
    head_of_raycluster,
    ports_of_service,
    read_rayjob,
    service_differs_from_pod,
)

ENDPOINTS = {"client": "10001", "dashboard": "8265", "gcs-server": "6379", "metrics": "8080", "serve": "8000"}
PORTS = {"client": 10001, "dashboard": 8265, "gcs-server": 6379, "metrics": 8080, "serve": 8000}
ZERO: dict[str, Any] = {"desiredCPU": "0", "desiredGPU": "0", "desiredMemory": "0", "desiredTPU": "0", "head": {}}
CREATING = "containers with unready status: [ray-head]; ray-head: "


def mirrored(head: dict[str, str], reason: str = "ContainerCreating") -> dict[str, Any]:
    condition = {"type": "HeadPodReady", "status": "False", "reason": reason, "message": CREATING}
    return {"conditions": [condition], "endpoints": ENDPOINTS, "head": head}


def rayjob(status: dict[str, Any] | None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "job-a", "labels": {}}, "spec": spec, **({"status": status} if status else {})}


NAMED = {"jobDeploymentStatus": "Initializing", "rayClusterName": "job-a-x7k2p"}
PLACED = {"podName": "h", "podIP": "10.0.0.7", "serviceIP": "10.0.0.7", "serviceName": "job-a-x7k2p-head-svc"}

CASES: dict[str, tuple[dict[str, Any], ClusterState]] = {
    "no operator has seen it": (rayjob(None), Unseen()),
    "a queue holds it before any status": (
        {**rayjob(None, suspend=True), "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "team-a"}}},
        Queued("the queue 'team-a' has not admitted it yet"),
    ),
    "suspended": (rayjob({"jobDeploymentStatus": "Suspended"}), Queued("it is suspended")),
    "named, nothing mirrored (up to 1.5.0)": (
        rayjob({**NAMED, "rayClusterStatus": ZERO}),
        Starting("the cluster is being made", Head("job-a-x7k2p")),
    ),
    "mirrored, the head has a pod but no address": (
        rayjob({**NAMED, "rayClusterStatus": mirrored({"podName": "h", "serviceName": "s"})}),
        Starting(
            "the cluster is being made",
            Head("job-a-x7k2p", "s", "h", None, PORTS, "ContainerCreating", CREATING),
        ),
    ),
    "the operator waits for a job id": (
        rayjob({**NAMED, "jobDeploymentStatus": "Waiting", "rayClusterStatus": mirrored(PLACED, "ContainersNotReady")}),
        Starting(
            "the operator says Waiting",
            Head("job-a-x7k2p", PLACED["serviceName"], "h", "10.0.0.7", PORTS, "ContainersNotReady", CREATING),
            operator_ready=True,
        ),
    ),
    "refused": (
        rayjob({"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": "bad"}),
        Ended("ValidationFailed", "ValidationFailed", "bad"),
    ),
    "too late for the operator": (
        rayjob({"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded", "message": "passed"}),
        Ended("Failed", "PreRunningDeadlineExceeded", "passed"),
    ),
    "complete": (
        rayjob({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}),
        Ended("Complete", "SUCCEEDED", ""),
    ),
    "terminating": (
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": NAMED},
        Ended("Deleted", "Deleted", "it was deleted by somebody else"),
    ),
    "a status that nobody knows": (
        rayjob({"jobDeploymentStatus": "Pondering"}),
        Starting("the operator says Pondering"),
    ),
    "a new attempt": (rayjob({"jobDeploymentStatus": "Retrying"}), Starting("the operator says Retrying")),
    "a status that is no mapping": ({"metadata": {}, "status": "odd"}, Unseen()),
}


@pytest.mark.parametrize(("obj", "state"), CASES.values(), ids=CASES)
def test_a_status_means(obj: dict[str, Any], state: ClusterState) -> None:
    assert read_rayjob(obj) == state


def test_a_deleted_event_ends_the_wait_whatever_the_status_says() -> None:
    state = read_rayjob(rayjob(NAMED), deleted=True)
    assert isinstance(state, Ended)
    assert state.is_deleted


@pytest.mark.parametrize(
    ("head", "placed"),
    [
        pytest.param(Head("c"), False, id="only a name"),
        pytest.param(Head("c", "s", "p", None, PORTS), False, id="no address"),
        pytest.param(Head("c", "s", "p", "10.0.0.7", {}), False, id="no ports"),
        pytest.param(Head("c", "s", "p", "10.0.0.7", PORTS), True, id="all of it"),
    ],
)
def test_a_head_is_placed_when_it_can_be_dialled(head: Head, placed: bool) -> None:
    assert head.is_placed is placed


def test_a_rayclusters_own_status_tells_the_same() -> None:
    cluster = {"metadata": {"name": "c"}, "status": mirrored(PLACED)}
    assert head_of_raycluster(cluster) == Head(
        "c", PLACED["serviceName"], "h", "10.0.0.7", PORTS, "ContainerCreating", CREATING
    )


@pytest.mark.parametrize(
    ("group", "differs"),
    [
        pytest.param({}, False, id="default"),
        pytest.param({"serviceType": "ClusterIP"}, False, id="ClusterIP"),
        pytest.param({"serviceType": "NodePort"}, True, id="NodePort"),
        pytest.param({"headService": {"metadata": {"name": "s"}}}, True, id="an own Service"),
    ],
)
def test_which_service_must_be_read(group: dict[str, Any], differs: bool) -> None:
    assert service_differs_from_pod({"headGroupSpec": group}) is differs


def test_the_ports_of_a_service_and_of_its_pod() -> None:
    service = {
        "spec": {
            "ports": [
                {"name": "client", "port": 80, "targetPort": 10001},
                {"name": "dashboard", "port": 8265},
                {"name": "odd", "port": 7, "targetPort": "by-name"},
            ]
        }
    }
    assert ports_of_service(service, of_pod=False) == {"client": 80, "dashboard": 8265, "odd": 7}
    assert ports_of_service(service, of_pod=True) == {"client": 10001, "dashboard": 8265, "odd": 7}

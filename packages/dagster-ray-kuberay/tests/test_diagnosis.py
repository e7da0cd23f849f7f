"""Why a cluster does not come up. Texts as kubelet and KubeRay wrote them."""

from typing import Any

import pytest

from dagster_ray.kuberay._cluster_state import Head
from dagster_ray.kuberay._diagnosis import Diagnosis, explain, explain_head

NOT_FOUND = 'failed to resolve reference "docker.io/rayproject/ray:missing": not found'
REFUSED = "dial tcp 10.0.0.1:443: connect: connection refused"

HEADS: dict[str, tuple[Head | None, Diagnosis | None]] = {
    "no head yet": (None, None),
    "starting": (Head("c", reason="ContainersNotReady", message="containers with unready status"), None),
    "image not found": (
        Head("c", reason="ErrImagePull", message=NOT_FOUND),
        Diagnosis("image", True, "ErrImagePull", NOT_FOUND),
    ),
    "registry away": (
        Head("c", reason="ImagePullBackOff", message=REFUSED),
        Diagnosis("image", False, "ImagePullBackOff", REFUSED),
    ),
    "no such name": (
        Head("c", reason="InvalidImageName", message="m"),
        Diagnosis("image", True, "InvalidImageName", "m"),
    ),
    "crash loop": (
        Head("c", reason="CrashLoopBackOff", message="back-off 10s"),
        Diagnosis("container", True, "CrashLoopBackOff", "back-off 10s"),
    ),
    "secret missing": (
        Head("c", reason="CreateContainerConfigError", message='secret "s" not found'),
        Diagnosis("config", False, "CreateContainerConfigError", 'secret "s" not found'),
    ),
}


@pytest.mark.parametrize(("head", "diagnosis"), HEADS.values(), ids=HEADS)
def test_the_heads_condition_says(head: Head | None, diagnosis: Diagnosis | None) -> None:
    assert explain_head(head) == diagnosis


def pod(kind: str, *, waiting: dict[str, str] | None = None, unschedulable: str | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if unschedulable is not None:
        status["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        ]
    if waiting is not None:
        status["containerStatuses"] = [{"state": {"waiting": waiting}}]
    return {"metadata": {"name": "p", "labels": {"ray.io/node-type": kind}}, "status": status}


CPU = "0/1 nodes are available: 1 Insufficient cpu."
MISSING = {"reason": "ErrImagePull", "message": NOT_FOUND}
EVENT = {"reason": "InvalidRayJobSpec", "message": "ns/job: The RayJob spec is invalid"}
WARNING = {"reason": "InvalidRayClusterSpec", "message": "RayCluster spec warning ns/c: restartPolicy"}
QUOTA = {"reason": "FailedToCreateHeadPod", "message": "exceeded quota"}

FACTS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], Diagnosis | None]] = {
    "nothing": ([], [], None),
    "all well": ([pod("head")], [{"reason": "CreatedHeadPod", "message": "m"}], None),
    "no node fits": (
        [pod("head", unschedulable=CPU)],
        [],
        Diagnosis("unschedulable", False, "Unschedulable", f"pod p: {CPU}"),
    ),
    "the head's image": ([pod("head", waiting=MISSING)], [], Diagnosis("image", True, "ErrImagePull", NOT_FOUND)),
    "a worker's image does not keep drivers away": (
        [pod("worker", waiting=MISSING)],
        [],
        Diagnosis("image", False, "ErrImagePull", NOT_FOUND),
    ),
    "refused (1.4 writes only an event)": (
        [],
        [EVENT],
        Diagnosis("refused", True, "InvalidRayJobSpec", "ns/job: The RayJob spec is invalid"),
    ),
    "a warning under a refusal's reason": ([], [WARNING], None),
    "a fatal finding comes first": (
        [pod("head", waiting=MISSING)],
        [QUOTA],
        Diagnosis("image", True, "ErrImagePull", NOT_FOUND),
    ),
    "quota": ([], [QUOTA], Diagnosis("quota", False, "FailedToCreateHeadPod", "exceeded quota")),
    "events.k8s.io calls the message a note": (
        [],
        [{"reason": "InvalidRayClusterSpec", "note": "The RayCluster spec is invalid"}],
        Diagnosis("refused", True, "InvalidRayClusterSpec", "The RayCluster spec is invalid"),
    ),
}


@pytest.mark.parametrize(("pods", "events", "diagnosis"), FACTS.values(), ids=FACTS)
def test_pods_and_events_say(
    pods: list[dict[str, Any]], events: list[dict[str, Any]], diagnosis: Diagnosis | None
) -> None:
    assert explain(pods, events) == diagnosis

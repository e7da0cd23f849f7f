"""What became of a cluster's pods, and whose failure a situation is."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from dagster_ray.core.failures.causes import ErrorFacts, judged
from dagster_ray.kuberay._diagnosis.losses import losses_of
from dagster_ray.kuberay._diagnosis.situations import Code
from dagster_ray.kuberay._status.failure_classes import INFRASTRUCTURE, USER, class_of
from dagster_ray.kuberay.errors import CannotStartError, RayJobEndedError, UnavailableError

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
JUST_NOW, LONG_AGO = "2026-01-01T11:58:00Z", "2026-01-01T11:00:00Z"
HEAD, WORKER = "ray-a-head-x7", "ray-a-gpu-worker-b2"


def pod(name: str, **status: Any) -> dict[str, Any]:
    kind = "head" if "-head" in name else "worker"
    return {"metadata": {"name": name, "labels": {"ray.io/node-type": kind}}, "status": status}


def disrupted(reason: str, time: str = JUST_NOW) -> dict[str, Any]:
    return {
        "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": time, "message": "m"}
        ]
    }


def out_of_memory(state: str, time: str = JUST_NOW) -> dict[str, Any]:
    end = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": time}
    return {"containerStatuses": [{"name": "ray-worker", "restartCount": 1, state: {"terminated": end}}]}


def event(reason: str, name: str, time: str = JUST_NOW, message: str = "said") -> dict[str, Any]:
    about = {"kind": "Pod", "name": name}
    return {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": time}


# Kubelet's words (pkg/kubelet/eviction/helpers.go, eviction_manager.go).
OVER_ALL = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "
OVER_ONE = 'Container ray-worker exceeded its local ephemeral storage limit "1Gi". '
OVER_VOLUME = 'Usage of EmptyDir volume "log-volume" exceeds the limit "1Gi". '
LOW_NODE = (
    "The node was low on resource: memory. Container ray-worker was using 5Gi, which exceeds its request of 1Gi. "
)


def evicted(message: str) -> dict[str, Any]:
    return {"phase": "Failed", "reason": "Evicted", "message": message}


WELL = pod(HEAD, phase="Running")
CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]] = {
    "nothing": ([WELL], [], []),
    "a spot node's worker": ([WELL, pod(WORKER, **disrupted("DeletionByTaintManager"))], [], ["node-lost"]),
    "a preempted worker": ([WELL, pod(WORKER, **disrupted("PreemptionByScheduler"))], [], ["preempted"]),
    "a drained node": ([WELL, pod(WORKER, **disrupted("EvictionByEvictionAPI"))], [], ["evicted"]),
    "a node that shuts down": ([pod(HEAD, phase="Failed", reason="Terminated")], [], ["preempted"]),
    "a pod that kubelet evicts": ([pod(HEAD, phase="Failed", reason="Evicted", message="low")], [], ["evicted"]),
    "a pod over its own limit of disk": ([WELL, pod(WORKER, **evicted(OVER_ALL))], [], ["out-of-storage"]),
    "a container over its own limit of disk": ([WELL, pod(WORKER, **evicted(OVER_ONE))], [], ["out-of-storage"]),
    "a volume over its own limit": ([WELL], [event("Evicted", WORKER, JUST_NOW, OVER_VOLUME)], ["out-of-storage"]),
    "a node that is low on memory": ([WELL, pod(WORKER, **evicted(LOW_NODE))], [], ["evicted"]),
    "a node that does not answer": ([pod(HEAD, reason="NodeLost")], [], ["node-lost"]),
    "a container without memory": ([WELL, pod(WORKER, **out_of_memory("lastState"))], [], ["out-of-memory"]),
    "a pod without memory": ([WELL, pod(WORKER, **out_of_memory("state"))], [], ["out-of-memory"]),
    "a worker that is gone": ([WELL], [event("Preempted", WORKER)], ["preempted"]),
    "a head that is gone": ([], [event("TaintManagerEviction", HEAD)], ["node-lost"]),
    "a worker that is there again": ([WELL, pod("ray-a-gpu-worker-c3")], [event("Evicted", WORKER)], ["evicted"]),
    "a head that is gone without a word": ([pod("ray-a-head-new")], [], ["head-replaced"]),
    "an earlier disruption": ([WELL, pod(WORKER, **disrupted("PreemptionByScheduler", LONG_AGO))], [], []),
    "memory that ran out earlier": ([WELL, pod(WORKER, **out_of_memory("lastState", LONG_AGO))], [], []),
    "an earlier event": ([WELL], [event("Preempted", WORKER, LONG_AGO)], []),
    "another cluster's pod": ([WELL], [event("Preempted", "ray-b-worker-1")], []),
    "an image that is pulled": ([WELL, pod(WORKER, phase="Pending")], [event("Pulling", WORKER)], []),
}


@pytest.mark.parametrize("name", CASES)
def test_what_became_of_pods(name: str) -> None:
    pods, events, expected = CASES[name]
    found = losses_of(pods, events, "ray-a", HEAD, NOW)
    assert [loss.kind for loss in found] == expected
    assert all(loss.is_head is (HEAD in loss.sentence) for loss in found)


def test_of_pods_of_any_shape_nothing_is_said() -> None:
    assert losses_of([{}, {"status": {"containerStatuses": 7, "conditions": [None]}}], [{}, {"reason": 3}], "a") == []


def test_a_worker_that_crashed_with_its_spot_node_is_infrastructure() -> None:
    crash = ErrorFacts("ray.exceptions.WorkerCrashedError", "The worker died unexpectedly.")
    spot = losses_of([WELL, pod(WORKER, **disrupted("PreemptionByScheduler"))], [], "ray-a", HEAD, NOW)
    memory = losses_of([WELL, pod(WORKER, **out_of_memory("lastState"))], [], "ray-a", HEAD, NOW)
    assert [judged([crash], lambda found=found: found).failure_class for found in (spot, memory, [])] == [
        "infrastructure",
        "user",
        "user",
    ]


@pytest.mark.parametrize(
    ("code", "failure_class"),
    [
        pytest.param("image-not-found", "configuration", id="a tag that is not there"),
        pytest.param("image-unreachable", "infrastructure", id="a registry that is away"),
        pytest.param("preempted", "infrastructure", id="preemption"),
        pytest.param("queued", "infrastructure", id="a queue"),
        pytest.param("queue-missing", "configuration", id="a queue that is not there"),
        pytest.param("out-of-memory", "user", id="memory"),
        pytest.param("secret-missing", "configuration", id="a Secret"),
        pytest.param("unschedulable-resources", "infrastructure", id="no room"),
    ],
)
def test_whose_failure_a_situation_is(code: Code, failure_class: str) -> None:
    assert code in get_args(Code)
    assert class_of(code) == failure_class
    assert CannotStartError("a", code, "r", "m", "Do it.").failure_class == failure_class


def test_the_classes_are_of_situations_that_there_are() -> None:
    assert {*INFRASTRUCTURE, *USER} < {*get_args(Code)}


def test_whose_failure_the_end_of_a_rayjob_or_a_call_is() -> None:
    assert RayJobEndedError("a", "Failed", "DeadlineExceeded", "").failure_class == "configuration"
    assert RayJobEndedError("a", "Failed", "AppFailed", "").failure_class == "infrastructure"
    assert UnavailableError("get", "pods", None, None, 503, "m", 3).failure_class == "infrastructure"

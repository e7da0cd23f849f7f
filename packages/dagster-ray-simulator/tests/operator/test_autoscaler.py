"""The simulator's stand-in for Ray's autoscaler."""

import json
from typing import Any

import pytest
from operator_world import group, raycluster

from dagster_ray.simulator import Simulator
from dagster_ray.simulator._operator.autoscaler import Autoscaler, has_demand, scaled_up

# As Ray 2.60 answers, shortened.
WAITING: Any = {"result": True, "data": {"result": {"total": 100, "num_filtered": 7, "result": [{"name": "square"}]}}}
IDLE: Any = {"result": True, "data": {"result": {"total": 100, "num_filtered": 0, "result": []}}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps(WAITING), True),
        (json.dumps(IDLE), False),
        (json.dumps({"result": False, "data": None}), False),
        ("[]", False),
        ("no JSON", False),
    ],
)
def test_what_waits_is_read_from_the_dashboard(text: str, found: bool) -> None:
    assert has_demand(text) is found


def cluster(*, replicas: int = 1, most: int = 10, ready: int = 1, state: str = "ready", on: bool = True) -> Any:
    made = raycluster(workers=[group(replicas=replicas, maxReplicas=most)], enableInTreeAutoscaling=on)
    made["status"] = {"state": state, "availableWorkerReplicas": ready}
    return made


CLUSTERS: dict[str, tuple[Any, int | None]] = {
    "one worker": (cluster(), 2),
    "two workers": (cluster(replicas=2, ready=2), None),
    "a worker that is not ready": (cluster(ready=0), None),
    "a group that may not grow": (cluster(most=1), None),
    "no worker yet": (cluster(replicas=0, ready=0), None),
    "a cluster that is not ready": (cluster(state=""), None),
    "no autoscaler": (cluster(on=False), None),
}


@pytest.mark.parametrize(("given", "replicas"), CLUSTERS.values(), ids=CLUSTERS)
def test_a_cluster_grows_to_two_workers(given: Any, replicas: int | None) -> None:
    wanted = scaled_up(given)
    assert (None if wanted is None else wanted["spec"]["workerGroupSpecs"][0]["replicas"]) == replicas


def test_a_demand_counts_when_it_is_seen_twice() -> None:
    answers = [WAITING, IDLE, WAITING, WAITING]
    seen: list[int] = []
    with Simulator(operator=False) as simulator:
        made = simulator.store.create("rayclusters", {**cluster(), "metadata": {"name": "c", "namespace": "default"}})
        simulator.store.replace_status("rayclusters", {**made, "status": cluster()["status"]})
        autoscaler = Autoscaler(simulator.store, lambda _: (200, json.dumps(answers.pop(0))))
        while answers:
            autoscaler.look()
            (now,) = simulator.store.list("rayclusters")
            seen.append(now["spec"]["workerGroupSpecs"][0]["replicas"])
    assert seen == [1, 1, 1, 2]

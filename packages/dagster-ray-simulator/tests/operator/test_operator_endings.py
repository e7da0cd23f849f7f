"""What is deleted after a RayJob ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagster_ray.simulator._operator.endings import ending_plan
from dagster_ray.simulator._operator.facts import JobFacts
from dagster_ray.simulator._operator.versions import operator_version

END = datetime(2026, 1, 1, tzinfo=UTC)
CLUSTER = {"metadata": {"name": "c", "namespace": "ns"}, "spec": {"workerGroupSpecs": [{"groupName": "a"}]}}
LEGACY = {"deletionStrategy": {"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteWorkers"}}}


def rule(policy: str, ttl: int = 0, **condition: str) -> dict[str, Any]:
    return {"policy": policy, "condition": {**condition, "ttlSeconds": ttl}}


def rules(*items: dict[str, Any]) -> dict[str, Any]:
    return {"deletionStrategy": {"deletionRules": list(items)}}


SUCCEEDED = ("Complete", "SUCCEEDED")
FAILED = ("Failed", "FAILED")
DEADLINE = ("Failed", "RUNNING")
SHUTDOWN = {"shutdownAfterJobFinishes": True}
TTL = {**SHUTDOWN, "ttlSecondsAfterFinished": 10}
BOTH = rules(rule("DeleteWorkers", 0, jobStatus="SUCCEEDED"), rule("DeleteCluster", 5, jobStatus="SUCCEEDED"))

CASES: list[tuple[str, str, dict[str, Any], tuple[str, str], float, list[str], float | None]] = [
    ("nothing asked for", "1.7", {}, SUCCEEDED, 0, [], None),
    ("shutdown at once", "1.7", SHUTDOWN, SUCCEEDED, 0, ["rayclusters"], None),
    ("shutdown after a deadline too", "1.7", SHUTDOWN, DEADLINE, 0, ["rayclusters"], None),
    ("shutdown waits for the ttl", "1.7", TTL, SUCCEEDED, 3, [], 9),
    ("shutdown when the ttl is over", "1.7", TTL, SUCCEEDED, 10, ["rayclusters"], None),
    ("shutdown in 1.3", "1.3", SHUTDOWN, FAILED, 0, ["rayclusters"], None),
    ("legacy success", "1.7", LEGACY, SUCCEEDED, 0, ["rayjobs"], None),
    ("legacy failure", "1.7", LEGACY, FAILED, 0, ["rayclusters"], None),
    ("legacy after a deadline deletes nothing", "1.7", {**LEGACY, **SHUTDOWN}, DEADLINE, 0, [], None),
    (
        "a strategy in 1.5 with its gate off falls to shutdown",
        "1.5",
        {**LEGACY, **SHUTDOWN},
        FAILED,
        0,
        ["rayclusters"],
        None,
    ),
    ("the rule that is due acts, the other waits", "1.7", BOTH, SUCCEEDED, 0, ["rayclusters"], 7),
    ("no rule matches", "1.7", BOTH, FAILED, 0, [], None),
    (
        "a rule for the deployment status matches after a deadline",
        "1.7",
        rules(rule("DeleteCluster", jobDeploymentStatus="Failed")),
        DEADLINE,
        0,
        ["rayclusters"],
        None,
    ),
    (
        "the strongest of two rules acts",
        "1.7",
        rules(rule("DeleteCluster", jobStatus="SUCCEEDED"), rule("DeleteSelf", jobStatus="SUCCEEDED")),
        SUCCEEDED,
        0,
        ["rayjobs"],
        None,
    ),
    ("a selected cluster is never deleted", "1.7", {**SHUTDOWN, "clusterSelector": {"a": "b"}}, SUCCEEDED, 0, [], None),
]


@pytest.mark.parametrize(
    ("version", "spec", "state", "passed", "touched", "again"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_an_ended_job(
    version: str,
    spec: dict[str, Any],
    state: tuple[str, str],
    *,
    passed: float,
    touched: list[str],
    again: float | None,
) -> None:
    status = {"jobDeploymentStatus": state[0], "jobStatus": state[1], "endTime": "2026-01-01T00:00:00Z"}
    rayjob = {"kind": "RayJob", "metadata": {"name": "j", "namespace": "ns"}, "spec": spec, "status": status}
    plan = ending_plan(JobFacts(rayjob, CLUSTER), operator_version(version), END + timedelta(seconds=passed))

    assert [getattr(action, "plural", "") for action in plan.actions] == touched
    assert plan.again_after == again


def test_a_cluster_that_is_gone_is_not_deleted_again() -> None:
    status = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": "2026-01-01T00:00:00Z"}
    rayjob = {"kind": "RayJob", "metadata": {"name": "j"}, "spec": SHUTDOWN, "status": status}

    assert ending_plan(JobFacts(rayjob), operator_version("1.7"), END).actions == ()

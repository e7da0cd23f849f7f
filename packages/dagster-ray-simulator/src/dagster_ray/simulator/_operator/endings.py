"""What the operator deletes after a RayJob ended, and when. Pure.

Facts: KubeRay controllers/ray/rayjob_controller.go (handleDeletionRules, handleLegacyDeletionPolicy,
handleShutdownAfterJobFinishes), as recorded with 1.4.2 and 1.7.0.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._operator.actions import Action, Delete, Replace
from dagster_ray.simulator._operator.facts import JobFacts
from dagster_ray.simulator._operator.names import (
    JOB_CONTROLLER,
    EventFacts,
    after,
    full_name,
    is_terminating,
    name_of,
    namespace_of,
)
from dagster_ray.simulator._operator.versions import OperatorVersion

_GATE = "RayJobDeletionPolicy"
_STRENGTH = ("DeleteSelf", "DeleteCluster", "DeleteWorkers", "DeleteNone")
# The operator comes back this much after a TTL, and cuts the sum to whole seconds.
_LATE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Ending:
    """What is deleted now.

    Attributes:
        actions: The deletions.
        again_after: Seconds until a TTL is looked at again; None for never.
    """

    actions: tuple[Action, ...] = ()
    again_after: float | None = None


def cluster_deletion(facts: JobFacts) -> tuple[Action, ...]:
    """Delete the RayCluster if it is there and not being deleted yet."""
    if facts.cluster is None or is_terminating(facts.cluster):
        return ()
    text = f"Deleted cluster {full_name(facts.cluster)}"
    event = EventFacts(facts.rayjob, "DeletedRayCluster", text, JOB_CONTROLLER, "Delete")
    return (Delete("rayclusters", namespace_of(facts.cluster), name_of(facts.cluster), event),)


def ending_plan(facts: JobFacts, version: OperatorVersion, now: datetime, *, deletes_rayjobs: bool = False) -> Ending:
    """Return what the operator deletes of a Complete or Failed RayJob.

    Args:
        facts: The RayJob and what exists.
        version: The operator's release and gates.
        now: The time.
        deletes_rayjobs: Whether the operator runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES.
    """
    if facts.spec.get("clusterSelector"):
        return Ending()
    strategy = mapping(facts.spec.get("deletionStrategy"))
    if version.since(5) and version.gate(_GATE) and strategy:
        rules = mappings(strategy.get("deletionRules"))
        return _by_rules(facts, rules, now) if rules else _by_outcome(facts, strategy, now)
    if not version.since(5) and version.gate(_GATE) and (policy := facts.spec.get("deletionPolicy")):
        return _after_ttl(facts, _actions(facts, str(policy)), now)
    if facts.spec.get("shutdownAfterJobFinishes") is True:
        return _after_ttl(facts, _actions(facts, "DeleteSelf" if deletes_rayjobs else "DeleteCluster"), now)
    return Ending()


def _after_ttl(facts: JobFacts, actions: tuple[Action, ...], now: datetime) -> Ending:
    wait = _wait_seconds(facts, int(facts.spec.get("ttlSecondsAfterFinished") or 0), now)
    return Ending(again_after=wait) if wait is not None else Ending(actions)


def _wait_seconds(facts: JobFacts, ttl: int, now: datetime) -> float | None:
    due = after(facts.status.get("endTime"), ttl)
    if due is None or now >= due:
        return None
    return float(int((due - now).total_seconds() + _LATE_SECONDS))


def _by_outcome(facts: JobFacts, strategy: Mapping[str, Any], now: datetime) -> Ending:
    field = {"SUCCEEDED": "onSuccess", "FAILED": "onFailure"}.get(str(facts.status.get("jobStatus")))
    if field is None:
        return Ending()
    return _after_ttl(facts, _actions(facts, str(at(strategy, field, "policy"))), now)


def _by_rules(facts: JobFacts, rules: list[Mapping[str, Any]], now: datetime) -> Ending:
    overdue: list[str] = []
    waits: list[float] = []
    for rule in rules:
        asked = mapping(rule.get("condition"))
        if not _matches(facts, asked):
            continue
        policy = str(rule.get("policy"))
        wait = _wait_seconds(facts, int(asked.get("ttlSeconds") or 0), now)
        if wait is not None:
            waits.append(wait)
        elif _actions(facts, policy):
            overdue.append(policy)
    again = min(waits) if waits else None
    if not overdue:
        return Ending(again_after=again)
    strongest = min(overdue, key=_STRENGTH.index)
    return Ending(_actions(facts, strongest), again)


def _matches(facts: JobFacts, asked: Mapping[str, Any]) -> bool:
    if asked.get("jobStatus"):
        return asked["jobStatus"] == facts.status.get("jobStatus")
    return asked.get("jobDeploymentStatus") == facts.status.get("jobDeploymentStatus")


def _actions(facts: JobFacts, policy: str) -> tuple[Action, ...]:
    if policy == "DeleteCluster":
        return cluster_deletion(facts)
    if policy == "DeleteSelf":
        return (Delete("rayjobs", namespace_of(facts.rayjob), name_of(facts.rayjob)),)
    if policy == "DeleteWorkers":
        return _workers_suspended(facts)
    return ()


def _workers_suspended(facts: JobFacts) -> tuple[Action, ...]:
    groups = mappings(at(facts.cluster, "spec", "workerGroupSpecs"))
    if facts.cluster is None or all(group.get("suspend") is True for group in groups):
        return ()
    changed = copy.deepcopy(dict(facts.cluster))
    for group in changed["spec"]["workerGroupSpecs"]:
        group["suspend"] = True
    text = f"Set the `suspend` field to true for all worker groups in cluster {full_name(facts.cluster)}"
    event = EventFacts(facts.rayjob, "UpdatedRayCluster", text, JOB_CONTROLLER, "Update")
    return (Replace("rayclusters", changed, event),)

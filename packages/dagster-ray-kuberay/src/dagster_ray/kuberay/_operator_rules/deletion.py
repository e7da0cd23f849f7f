"""What the operator refuses of a RayJob's `deletionStrategy`, or, before 1.5, `deletionPolicy`. Pure."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.cluster_view import Operator, is_autoscaled, whole

PREFIX = "The RayJob spec is invalid: "
_DELETION_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
_INSIDE_CLUSTER = ("DeleteCluster", "DeleteWorkers")
_GATE = "RayJobDeletionPolicy"
_STATUSES = (("jobStatus", "JobStatus"), ("jobDeploymentStatus", "JobDeploymentStatus"))


def strategy_faults(spec: Mapping[str, Any], operator: Operator) -> Iterator[tuple[str, ...]]:
    """What is wrong with `deletionStrategy`, first failing check first; rules give all their texts at once."""
    if spec.get("deletionStrategy") is None:
        return
    strategy = mapping(spec["deletionStrategy"])
    if not operator.on(_GATE):
        yield (f"{_GATE} feature gate must be enabled to use DeletionStrategy",)
    legacy = "onSuccess" in strategy or "onFailure" in strategy
    rules = mappings(strategy.get("deletionRules"))
    if rules and spec.get("shutdownAfterJobFinishes") is True:
        yield (f"{PREFIX}spec.shutdownAfterJobFinishes and spec.deletionStrategy.deletionRules are mutually exclusive",)
    if rules and legacy:
        yield (f"{PREFIX}Cannot use both legacy onSuccess/onFailure fields and deletionRules simultaneously",)
    if legacy:
        yield from ((text,) for text in _legacy_faults(spec, strategy))
    elif texts := tuple(_rule_faults(spec, rules)):
        yield texts
    elif not rules:
        yield (
            f"{PREFIX}DeletionStrategy requires either BOTH onSuccess and onFailure, OR the deletionRules field "
            "(cannot be empty)",
        )


def policy_faults(spec: Mapping[str, Any], operator: Operator) -> Iterator[tuple[str, ...]]:
    """What is wrong with `deletionPolicy` (1.3 and 1.4)."""
    policy = spec.get("deletionPolicy")
    if policy is None:
        return
    if not operator.on(_GATE):
        yield (f"{_GATE} feature gate must be enabled to use the DeletionPolicy feature",)
    if spec.get("clusterSelector") and policy in _INSIDE_CLUSTER:
        yield (f"the ClusterSelector mode doesn't support DeletionPolicy={policy}",)
    if policy == "DeleteWorkers" and is_autoscaled(spec.get("rayClusterSpec")):
        yield ("DeletionPolicy=DeleteWorkers currently does not support RayCluster with autoscaling enabled",)
    if policy == "DeleteNone" and spec.get("shutdownAfterJobFinishes") is True:
        yield ("shutdownAfterJobFinshes is set to 'true' while deletion policy is 'DeleteNone'",)


def _legacy_faults(spec: Mapping[str, Any], strategy: Mapping[str, Any]) -> Iterator[str]:
    if not ("onSuccess" in strategy and "onFailure" in strategy):
        yield (
            "both DeletionStrategy.OnSuccess and DeletionStrategy.OnFailure must be set when using the legacy deletion "
            "policy fields of DeletionStrategy"
        )
        return
    policies = [(outcome, at(strategy, f"on{outcome}", "policy")) for outcome in ("Success", "Failure")]
    for outcome, policy in policies:
        if policy is None:
            yield (
                f"the DeletionPolicyType field of DeletionStrategy.On{outcome} cannot be unset when DeletionStrategy "
                "is enabled"
            )
    if spec.get("clusterSelector"):
        for outcome, policy in policies:
            if policy in _INSIDE_CLUSTER:
                yield f"the ClusterSelector mode doesn't support DeletionStrategy={policy} on {outcome.lower()}"
    chosen = [policy for _, policy in policies]
    if "DeleteWorkers" in chosen and is_autoscaled(spec.get("rayClusterSpec")):
        yield "DeletionStrategy=DeleteWorkers currently does not support RayCluster with autoscaling enabled"
    if "DeleteNone" in chosen and spec.get("shutdownAfterJobFinishes") is True:
        yield f"{PREFIX}shutdownAfterJobFinshes is set to 'true' while deletion policy is 'DeleteNone'"


def _rule_faults(spec: Mapping[str, Any], rules: list[Mapping[str, Any]]) -> Iterator[str]:
    seconds: dict[tuple[str, str], dict[str, int]] = {}
    for number, rule in enumerate(rules):
        policy = str(rule.get("policy") or "")
        condition = mapping(rule.get("condition"))
        start = f"deletionRules[{number}]: "
        if text := _rule_fault(spec, policy, condition):
            yield start + text
            continue
        field, shown = _STATUSES[0] if condition.get("jobStatus") is not None else _STATUSES[1]
        status = (shown, str(condition[field]))
        if policy in seconds.setdefault(status, {}):
            yield f"{start}duplicate rule for DeletionPolicyType '{policy}' and {status[0]} '{status[1]}'"
            continue
        seconds[status][policy] = whole(condition.get("ttlSeconds"))
    for _, shown in _STATUSES:
        for status, by_policy in seconds.items():
            if status[0] == shown:
                yield from _order_faults(status, by_policy)


def _rule_fault(spec: Mapping[str, Any], policy: str, condition: Mapping[str, Any]) -> str | None:
    statuses = [field for field, _ in _STATUSES if condition.get(field) is not None]
    if len(statuses) > 1:
        return "cannot set both JobStatus and JobDeploymentStatus at the same time"
    if not statuses:
        return "exactly one of JobStatus and JobDeploymentStatus must be set"
    if whole(condition.get("ttlSeconds")) < 0:
        return "TTLSeconds must be non-negative"
    if spec.get("clusterSelector") and policy in _INSIDE_CLUSTER:
        return f"DeletionPolicyType '{policy}' not supported when ClusterSelector is set"
    if policy == "DeleteWorkers" and is_autoscaled(spec.get("rayClusterSpec")):
        return "DeletionPolicyType 'DeleteWorkers' not supported with autoscaling enabled"
    return None


def _order_faults(status: tuple[str, str], seconds: Mapping[str, int]) -> Iterator[str]:
    """A later step of the deletion must not come before an earlier one."""
    chosen = [policy for policy in _DELETION_ORDER if policy in seconds]
    for earlier, later in pairwise(chosen):
        if seconds[later] < seconds[earlier]:
            yield (
                f"for {status[0]} '{status[1]}': {later} TTL ({seconds[later]}) must be >= "
                f"{earlier} TTL ({seconds[earlier]})"
            )

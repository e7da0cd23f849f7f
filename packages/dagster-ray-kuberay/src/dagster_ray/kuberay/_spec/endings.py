"""What KubeRay refuses about the end of a RayJob, told while the code location loads. Pure.

Source: the CEL rules of the RayJob CRD (apis/ray/v1/rayjob_types.go) and controllers/ray/utils/validation.go.
Values that are not known yet, because they come from the environment, are left alone.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import Release
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.unknown_values import POLICIES, STATUSES

_STRATEGY = "spec.deletionStrategy"
_SHUTDOWN = "spec.shutdownAfterJobFinishes"
_TTL = "spec.ttlSecondsAfterFinished"
_SINCE_STRATEGY = "KubeRay >= 1.5"
# Deleting less must not come after deleting more.
_ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def check_ending(spec: Mapping[str, Any], release: Release, *, autoscaling: bool) -> None:
    """Check everything that says when and how a RayJob's cluster is deleted.

    Values that no known release has are left to the API server.

    Args:
        spec: The spec of the RayJob.
        release: The operator's.
        autoscaling: Whether the user turned Ray's autoscaler on.

    Raises:
        InvalidSpecError: The operator or the API server would refuse it.
    """
    shutdown, ttl = spec.get("shutdownAfterJobFinishes"), _integer(spec.get("ttlSecondsAfterFinished"))
    if ttl is not None and ttl < 0:
        raise InvalidSpecError(_TTL, f"is {ttl}", "give 0 or more seconds")
    if ttl and shutdown is False and release >= (1, 4, 0):
        reason = f"is {ttl} while shutdownAfterJobFinishes is false"
        raise InvalidSpecError(_TTL, reason, "leave shutdownAfterJobFinishes out, or the ttl", "KubeRay >= 1.4")
    if spec.get("suspend") is True and shutdown is False:
        reason = "is true while shutdownAfterJobFinishes is false"
        raise InvalidSpecError("spec.suspend", reason, "leave shutdownAfterJobFinishes out")
    if "deletionStrategy" in spec:
        strategy = mapping(spec["deletionStrategy"])
        if "deletionRules" in strategy:
            _check_rules(spec, strategy, autoscaling=autoscaling)
        else:
            _check_outcomes(spec, strategy, autoscaling=autoscaling)


def _check_policy(policy: object, path: str, *, autoscaling: bool) -> None:
    if policy is None:
        raise InvalidSpecError(path, "is missing", f"use one of: {', '.join(POLICIES)}", _SINCE_STRATEGY)
    if policy == "DeleteWorkers" and autoscaling:
        reason = "is DeleteWorkers while enableInTreeAutoscaling is true"
        raise InvalidSpecError(path, reason, "use DeleteCluster, or turn autoscaling off", _SINCE_STRATEGY)


def _excludes_shutdown(spec: Mapping[str, Any], path: str, reason: str, *, ttl_advice: str) -> None:
    """Refuse what needs the cluster's shutdown beside a policy that excludes it."""
    if spec.get("shutdownAfterJobFinishes") is True:
        raise InvalidSpecError(path, f"{reason} while {_SHUTDOWN} is true", "leave that out", _SINCE_STRATEGY)
    for key, advice in (("suspend", "leave suspend out"), ("ttlSecondsAfterFinished", ttl_advice)):
        if spec.get(key) is True or _integer(spec.get(key)):
            why = f"{reason} while spec.{key} is set, which needs {_SHUTDOWN}, which this excludes"
            raise InvalidSpecError(path, why, advice, _SINCE_STRATEGY)


def _check_outcomes(spec: Mapping[str, Any], strategy: Mapping[str, Any], *, autoscaling: bool) -> None:
    """Check the older form, with `onSuccess` and `onFailure`."""
    for outcome in ("onSuccess", "onFailure"):
        if outcome not in strategy:
            advice = "give both onSuccess and onFailure, or deletionRules"
            raise InvalidSpecError(f"{_STRATEGY}.{outcome}", "is missing", advice, _SINCE_STRATEGY)
        policy, path = at(strategy, outcome, "policy"), f"{_STRATEGY}.{outcome}.policy"
        _check_policy(policy, path, autoscaling=autoscaling)
        if policy == "DeleteNone":
            advice = "leave the ttl out, or use deletionRules"
            _excludes_shutdown(spec, path, "is DeleteNone", ttl_advice=advice)


def _check_rules(spec: Mapping[str, Any], strategy: Mapping[str, Any], *, autoscaling: bool) -> None:
    path = f"{_STRATEGY}.deletionRules"
    for outcome in ("onSuccess", "onFailure"):
        if outcome in strategy:
            reason = "stands beside deletionRules"
            raise InvalidSpecError(f"{_STRATEGY}.{outcome}", reason, "keep one of the two forms", _SINCE_STRATEGY)
    rules = mappings(strategy["deletionRules"])
    if not rules:
        raise InvalidSpecError(path, "has no rule", "give one rule at least", _SINCE_STRATEGY)
    _excludes_shutdown(spec, path, "is set", ttl_advice="use condition.ttlSeconds of each rule")
    for n, rule in enumerate(rules):
        _check_policy(rule.get("policy"), f"{path}[{n}].policy", autoscaling=autoscaling)
        _check_condition(mapping(rule.get("condition")), f"{path}[{n}].condition")
    _check_rule_set(rules, path)


def _check_condition(condition: Mapping[str, Any], path: str) -> None:
    given = [name for name in STATUSES if name in condition]
    if len(given) != 1:
        reason = "has both jobStatus and jobDeploymentStatus" if given else "has no jobStatus or jobDeploymentStatus"
        raise InvalidSpecError(path, reason, "give exactly one", "jobDeploymentStatus: KubeRay >= 1.6")
    ttl = _integer(condition.get("ttlSeconds"))
    if ttl is not None and ttl < 0:
        raise InvalidSpecError(f"{path}.ttlSeconds", f"is {ttl}", "give 0 or more seconds", _SINCE_STRATEGY)


def _when(rule: Mapping[str, Any]) -> str:
    condition = mapping(rule.get("condition"))
    return str(condition.get("jobStatus") or condition.get("jobDeploymentStatus"))


def _check_rule_set(rules: list[Mapping[str, Any]], path: str) -> None:
    """Check that rules for the same end are different, and that none deletes less after another deleted more."""
    ttls: dict[tuple[str, str], int] = {}
    for n, rule in enumerate(rules):
        key = (_when(rule), str(rule.get("policy")))
        if key in ttls:
            reason = f"repeats the rule for {key[1]} and {key[0]}"
            raise InvalidSpecError(f"{path}[{n}]", reason, "keep one of them", _SINCE_STRATEGY)
        ttls[key] = _integer(at(rule, "condition", "ttlSeconds")) or 0
    for end in dict.fromkeys(when for when, _ in ttls):
        present = [(policy, ttls[end, policy]) for policy in _ORDER if (end, policy) in ttls]
        for (less, earlier), (more, later) in pairwise(present):
            if earlier > later:
                reason = f"lets {less} after {end} come at {earlier} s, later than {more} at {later} s"
                raise InvalidSpecError(path, reason, f"give {less} the smaller ttlSeconds", _SINCE_STRATEGY)

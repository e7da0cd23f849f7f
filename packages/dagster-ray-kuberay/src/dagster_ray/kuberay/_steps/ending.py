"""What the end of a step means for its RayJob. Pure.

For Ray, a Ray Client driver has always SUCCEEDED (ray/dashboard/modules/job/utils.py; ray-project/ray#48106), so the
operator applies what the spec says for success, also after a step that failed. What the spec says for failure
holds only because we write it there before the driver disconnects.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._spec.manifests import DEFAULT_TTL_SECONDS
from dagster_ray.kuberay._spec.plain_json import Json

OUTCOME_LABEL = "dagster/outcome"
RETRY_SECONDS = 600
"""How long a cluster outlives its job while the step has not read all of it: a retry finds it within this time."""
_TTL = "ttlSecondsAfterFinished"


@dataclass(frozen=True, slots=True)
class Ending:
    """What is done with a RayJob when the step is over and its driver was connected."""

    patch: Mapping[str, Any] | None
    """A merge patch to send before the driver disconnects."""
    left_to_operator: bool
    """Whether the operator deletes what the spec says, so that the RayJob must not be deleted by us."""


def ending_of(spec: Manifest, outcome: StepOutcome, *, always: bool) -> Ending:
    """Return what to do at the end of a step.

    Args:
        spec: The RayJob's spec as it was created.
        outcome: How the step ended.
        always: Whether the lifecycle deletes the RayJob after every outcome.
    """
    if outcome is StepOutcome.SUCCEEDED or always:
        return Ending(None, left_to_operator=False)
    strategy = _strategy_of_failure(mapping(spec.get("deletionStrategy")))
    labels = {"metadata": {"labels": outcome_labels(outcome)}}
    if strategy is None:
        return Ending(labels, left_to_operator=False)
    return Ending({**labels, "spec": {"deletionStrategy": strategy}}, left_to_operator=True)


def ends_when_failed(spec: Manifest) -> bool:
    """Return whether the operator deletes the cluster of a RayJob that it gives up while pods are missing.

    Such a RayJob is Failed and has no jobStatus, so that only a rule for its jobDeploymentStatus holds for it, and
    with a strategy the operator looks at no `shutdownAfterJobFinishes`.
    """
    strategy = mapping(spec.get("deletionStrategy"))
    rules = mappings(strategy.get("deletionRules"))
    return not strategy or any(at(rule, "condition", "jobDeploymentStatus") == "Failed" for rule in rules)


def is_always_shut_down(spec: Manifest) -> bool:
    """Return whether the operator deletes the cluster of a RayJob after each job, however that ends."""
    return spec.get("shutdownAfterJobFinishes") is True and not spec.get("deletionStrategy")


def outcome_labels(outcome: StepOutcome) -> dict[str, str]:
    """Return the label by which an object tells how its step ended."""
    return {OUTCOME_LABEL: outcome.name.lower().replace("_", "-")}


def with_retry_window(rayjob: Json) -> Json:
    """Return a RayJob whose cluster lives long enough for a retry of a step that died; `final_ttl` ends that."""
    spec = rayjob["spec"]
    if spec.get("deletionStrategy") or not spec.get("shutdownAfterJobFinishes"):
        return rayjob
    return {**rayjob, "spec": {**spec, _TTL: max(RETRY_SECONDS, int(spec.get(_TTL) or 0))}}


def final_ttl(plain: Json, rayjob: Manifest) -> int | None:
    """Return the seconds that the cluster lives on once all is read; None if they are what the RayJob has."""
    wanted = plain["spec"].get(_TTL, DEFAULT_TTL_SECONDS)
    present = at(rayjob, "spec", _TTL)
    if not isinstance(present, int) or not isinstance(wanted, int) or at(rayjob, "spec", "deletionStrategy"):
        return None
    return wanted if wanted < present else None


def _strategy_of_failure(strategy: Manifest) -> dict[str, Any] | None:
    """Return a deletion strategy that does on success what `strategy` does on failure; None if it says nothing."""
    if on_failure := at(strategy, "onFailure"):
        return {"onSuccess": deepcopy(on_failure)}  # a merge patch: onFailure stays
    rules = mappings(strategy.get("deletionRules"))
    failed = [rule for rule in rules if at(rule, "condition", "jobStatus") == "FAILED"]
    if not failed:
        return None
    kept = [dict(rule) for rule in rules if at(rule, "condition", "jobStatus") != "SUCCEEDED"]
    moved = [{**rule, "condition": {**rule["condition"], "jobStatus": "SUCCEEDED"}} for rule in failed]
    return {"deletionRules": [*kept, *moved]}

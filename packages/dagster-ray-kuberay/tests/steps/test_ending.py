"""What the end of a step means for its RayJob, and what an older KubeRay gets instead of a field."""

from typing import Any

import pytest

from dagster_ray.core import StepOutcome
from dagster_ray.kuberay._spec.acceptance import PRE_RUNNING_DEADLINE, STRATEGY, portable_spec, without_fields
from dagster_ray.kuberay._steps.ending import Ending, ending_of, ends_when_failed

LEGACY = {"deletionStrategy": {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteNone"}}}
SUCCEEDED_RULE = {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 5}}
FAILED_RULE = {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "ttlSeconds": 600}}
EARLY_RULE = {"policy": "DeleteSelf", "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 0}}
RULES = {"deletionStrategy": {"deletionRules": [SUCCEEDED_RULE, FAILED_RULE, EARLY_RULE]}}
ONLY_SUCCESS = {"deletionStrategy": {"deletionRules": [SUCCEEDED_RULE]}}
MOVED = {"policy": "DeleteSelf", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 600}}


def labelled(outcome: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"dagster/outcome": outcome}}, **more}


CASES: dict[str, tuple[dict[str, Any], StepOutcome, bool, Ending]] = {
    "success is the operator's": (LEGACY, StepOutcome.SUCCEEDED, False, Ending(None, left_to_operator=False)),
    "always deletes, so nothing is written": (LEGACY, StepOutcome.FAILED, True, Ending(None, left_to_operator=False)),
    "no strategy: the lifecycle deletes": (
        {},
        StepOutcome.FAILED,
        False,
        Ending(labelled("failed"), left_to_operator=False),
    ),
    "onFailure becomes what Ray's success does": (
        LEGACY,
        StepOutcome.FAILED,
        False,
        Ending(
            labelled("failed", spec={"deletionStrategy": {"onSuccess": {"policy": "DeleteNone"}}}),
            left_to_operator=True,
        ),
    ),
    "an interrupt is a failure": (
        LEGACY,
        StepOutcome.INTERRUPTED,
        False,
        Ending(
            labelled("interrupted", spec={"deletionStrategy": {"onSuccess": {"policy": "DeleteNone"}}}),
            left_to_operator=True,
        ),
    ),
    "rules for FAILED become rules for SUCCEEDED": (
        RULES,
        StepOutcome.RETRY_REQUESTED,
        False,
        Ending(
            labelled(
                "retry-requested",
                spec={"deletionStrategy": {"deletionRules": [FAILED_RULE, EARLY_RULE, MOVED]}},
            ),
            left_to_operator=True,
        ),
    ),
    "rules that say nothing of failure leave it to the lifecycle": (
        ONLY_SUCCESS,
        StepOutcome.FAILED,
        False,
        Ending(labelled("failed"), left_to_operator=False),
    ),
}


@pytest.mark.parametrize(("spec", "outcome", "always", "ending"), CASES.values(), ids=CASES)
def test_the_end_of_a_step_means(spec: dict[str, Any], outcome: StepOutcome, always: bool, ending: Ending) -> None:
    assert ending_of(spec, outcome, always=always) == ending


def legacy(on_success: str, on_failure: str) -> dict[str, Any]:
    return {"deletionStrategy": {"onSuccess": {"policy": on_success}, "onFailure": {"policy": on_failure}}}


PORTABLE: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "both delete the cluster": (
        {**legacy("DeleteCluster", "DeleteCluster"), "ttlSecondsAfterFinished": 9},
        {"ttlSecondsAfterFinished": 9, "shutdownAfterJobFinishes": True},
    ),
    "both delete the RayJob": (legacy("DeleteSelf", "DeleteSelf"), {"shutdownAfterJobFinishes": True}),
    "one keeps something": (legacy("DeleteCluster", "DeleteNone"), None),
    "workers only": (legacy("DeleteWorkers", "DeleteWorkers"), None),
    "rules": (RULES, None),
}


@pytest.mark.parametrize(("spec", "portable"), PORTABLE.values(), ids=PORTABLE)
def test_a_deletion_strategy_has_a_portable_form_only_where_it_means_the_same(
    spec: dict[str, Any], portable: dict[str, Any] | None
) -> None:
    assert portable_spec(spec) == portable


JOB = {"metadata": {"name": "j"}, "spec": {"preRunningDeadlineSeconds": 660, **legacy("DeleteSelf", "DeleteSelf")}}


@pytest.mark.parametrize(
    ("unknown", "spec"),
    [
        pytest.param([PRE_RUNNING_DEADLINE], legacy("DeleteSelf", "DeleteSelf"), id="a default of ours"),
        pytest.param([PRE_RUNNING_DEADLINE, STRATEGY], {"shutdownAfterJobFinishes": True}, id="and the strategy"),
        pytest.param(["spec.rayClusterSpec.authOptions"], None, id="a nested field"),
        pytest.param(["spec.suspend"], None, id="a field that the user set"),
    ],
)
def test_what_an_older_crd_gets(unknown: list[str], spec: dict[str, Any] | None) -> None:
    found = without_fields(JOB, unknown, {PRE_RUNNING_DEADLINE})
    assert (None if found is None else found["spec"]) == spec
    assert JOB["spec"]["preRunningDeadlineSeconds"] == 660


@pytest.mark.parametrize(
    ("spec", "ends"),
    [
        pytest.param({}, True, id="no strategy"),
        pytest.param({"deletionStrategy": {}}, True, id="an empty strategy"),
        pytest.param(RULES, True, id="a rule for jobDeploymentStatus"),
        pytest.param(ONLY_SUCCESS, False, id="only rules for a jobStatus"),
        pytest.param(LEGACY, False, id="onSuccess and onFailure"),
    ],
)
def test_which_rayjobs_the_operator_ends_although_their_jobs_have_no_status(
    spec: dict[str, Any], *, ends: bool
) -> None:
    assert ends_when_failed(spec) is ends

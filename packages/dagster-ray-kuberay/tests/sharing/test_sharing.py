"""With whom a step shares, which cluster it takes, and what it leaves behind. Tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagster_ray.core import Identity, StepOutcome
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._labels import SharingRules
from dagster_ray.kuberay._sharing.choice import (
    NAME_LIMIT,
    Choice,
    Leave,
    Make,
    Selection,
    Take,
    choose,
    generation_of,
    is_free,
    leaving,
    selection_of,
    spec_hash,
)
from dagster_ray.kuberay._sharing.locks import Lock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
IDENTITY = Identity(run_id="run-1", step_key="train", resource_key="ray", code_location="etl", job="nightly")
OF_BACKFILL = replace(IDENTITY, backfill_id="qhsmkxqf")


BACKFILL = SharingRules(backfill=True)


def selector(rules: SharingRules, identity: Identity = IDENTITY) -> str:
    return selection_of(identity, rules, "5d41402abc").selector


def test_by_default_the_tutorials_labels_and_the_specification_are_matched() -> None:
    assert selector(SharingRules()) == (
        "dagster/cluster-sharing=true,dagster/code-location=etl,!dagster/git-sha,dagster/resource-key=ray,"
        "!dagster/sharing-scope,dagster/spec-hash=5d41402abc"
    )


@pytest.mark.parametrize(
    ("rules", "part"),
    [
        pytest.param(SharingRules(job=True), "dagster/job=nightly", id="the job, if asked"),
        pytest.param(SharingRules(run=True), "dagster/run-id=run-1", id="the run, if asked"),
        pytest.param(SharingRules(run=True), "dagster/sharing-scope=run", id="and then only clusters of runs"),
        pytest.param(SharingRules(labels={"team": "a b"}), "team=a_b-", id="own labels, as labels are written"),
    ],
)
def test_what_is_matched_beside(rules: SharingRules, part: str) -> None:
    assert part in selector(rules)


SCOPES: dict[str, tuple[SharingRules, Identity, str | None, str | None, str | None]] = {
    "a backfill, if asked": (BACKFILL, OF_BACKFILL, "backfill", "qhsmkxqf", None),
    "outside of one, only clusters that no backfill has": (BACKFILL, IDENTITY, None, None, None),
    "the backfill comes before the run": (replace(BACKFILL, run=True), OF_BACKFILL, "backfill", "qhsmkxqf", None),
    "outside of one, the run counts": (replace(BACKFILL, run=True), IDENTITY, "run", None, "run-1"),
}


@pytest.mark.parametrize(("rules", "identity", "scope", "backfill", "run"), SCOPES.values(), ids=SCOPES)
def test_a_backfill_has_a_cluster_that_ends_with_it(
    rules: SharingRules, identity: Identity, scope: str | None, backfill: str | None, run: str | None
) -> None:
    selection = selection_of(identity, rules, "h")
    assert selection.required["dagster/sharing-scope"] == scope
    assert selection.required["dagster/backfill"] == backfill
    assert selection.required.get("dagster/run-id") == run
    assert selection.has_scope is (scope is not None)


def test_runs_of_one_backfill_have_one_key_and_another_backfill_has_its_own() -> None:
    others = [replace(OF_BACKFILL, run_id="run-2"), replace(OF_BACKFILL, backfill_id="other")]
    same, different = (selection_of(one, BACKFILL, "h").key for one in others)
    assert same == selection_of(OF_BACKFILL, BACKFILL, "h").key
    assert same != different


@pytest.mark.parametrize(
    ("rules", "part"),
    [
        pytest.param(SharingRules(code_location=False), "code-location", id="the code location"),
        pytest.param(SharingRules(git_sha=False), "git-sha", id="the commit"),
        pytest.param(SharingRules(resource_key=False), "resource-key", id="the resource key"),
        pytest.param(SharingRules(spec=False), "spec-hash", id="the specification"),
    ],
)
def test_what_can_be_switched_off(rules: SharingRules, part: str) -> None:
    assert part not in selector(rules)


def test_the_sharing_key_tells_all_that_is_matched_apart() -> None:
    different = [
        SharingRules(),
        SharingRules(job=True),
        SharingRules(run=True),
        BACKFILL,
        SharingRules(spec=False),
        SharingRules(labels={"team": "a"}),
    ]
    keys = {selection_of(IDENTITY, rules, "5d41402abc").key for rules in different}
    keys.add(selection_of(IDENTITY, SharingRules(), "another").key)
    assert len(keys) == len(different) + 1


def test_steps_of_one_configuration_have_one_key() -> None:
    other = Identity(run_id="run-2", step_key="test", resource_key="ray", code_location="etl", job="hourly")
    assert selection_of(IDENTITY, SharingRules(), "h").key == selection_of(other, SharingRules(), "h").key


@pytest.mark.parametrize("prefix", ["dagster", "a" * 60, "name-with-a-dash-where-it-is-cut-----------------"])
def test_the_name_of_a_generation_is_one_that_kuberay_takes(prefix: str) -> None:
    name = Selection({"a": "b"}).name(prefix, 12)
    assert len(name) <= NAME_LIMIT
    assert name.endswith("-12")
    assert "--" not in name


def rendered(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "labels": {}}, "spec": {"rayVersion": "2.60.0", **more}}


def test_the_hash_of_a_specification_follows_what_it_makes() -> None:
    assert spec_hash(rendered()) == spec_hash({**rendered(), "metadata": {"name": "y", "labels": {}}})
    assert spec_hash(rendered()) != spec_hash(rendered(suspend=True))


# Which cluster


def cluster(
    name: str, generation: str = "1", *, head: str = "", since_seconds: float = 300, locks: int = 0, **metadata: Any
) -> dict[str, Any]:
    held = [Lock(f"{name}{n}", "run", "step", NOON, NOON, 600) for n in range(locks)]
    labels = {"dagster/sharing-generation": generation}
    found = {"name": name, "uid": name, "labels": labels, "annotations": {lock.key: lock.text() for lock in held}}
    ready = "True" if head == "HeadPodRunningAndReady" else "False"
    since = time_text(NOON - timedelta(seconds=since_seconds))
    condition = {"type": "HeadPodReady", "status": ready, "reason": head, "message": MESSAGES.get(head, "")}
    conditions = [{**condition, "lastTransitionTime": since}]
    status = {"status": {"conditions": conditions, **({"state": "ready"} if ready == "True" else {})}} if head else {}
    return {"metadata": {**found, **metadata}, **status}


MESSAGES = {
    "ErrImagePull": "containers with unready status: [ray-head]; ray-head: manifest unknown",
    "CrashLoopBackOff": "containers with unready status: [fluent-bit]; fluent-bit: back-off 5m0s",
}
HEAD_ALONE = {"headGroupSpec": {"template": {"spec": {"containers": [{"name": "ray-head"}, {"name": "fluent-bit"}]}}}}
READY, CREATING = "HeadPodRunningAndReady", "ContainerCreating"
GOING: dict[str, Any] = {"deletionTimestamp": "2026-01-01T11:59:00Z"}

CHOICES: dict[str, tuple[list[dict[str, Any]], Choice | str]] = {
    "none is there": ([], Make(1)),
    "one is ready": ([cluster("a", head=READY)], "a"),
    "one that is ready comes before one that starts": ([cluster("a"), cluster("b", head=READY, locks=9)], "b"),
    "of those that are ready the least locked": (
        [cluster("a", head=READY, locks=2), cluster("b", head=READY, locks=1)],
        "b",
    ),
    "one that starts is joined": ([cluster("a", head=CREATING)], "a"),
    "one that nobody has looked at yet is joined": ([cluster("a")], "a"),
    "one that a queue holds is joined, but after one that starts": (
        [{**cluster("a"), "spec": {"suspend": True}}, cluster("b", head=CREATING, locks=5)],
        "b",
    ),
    "one that is being deleted is followed": ([cluster("a", head=READY, **GOING)], Make(2)),
    "one whose head cannot run is followed": ([cluster("a", "7", head="ErrImagePull")], Make(8)),
    "one whose head cannot run yet is joined": ([cluster("a", "7", head="ErrImagePull", since_seconds=5)], "a"),
    "one with a sidecar that crashes is joined": (
        [{**cluster("a", head="CrashLoopBackOff"), "spec": HEAD_ALONE}],
        "a",
    ),
    "one whose head died is joined, since the operator makes another": ([cluster("a", head="HeadPodNotFound")], "a"),
    "one that the step found unusable is followed": ([cluster("barred", "3", head=READY)], Make(4)),
    "one that was not made by sharing is used": ([cluster("a", "x", head=READY)], "a"),
}


@pytest.mark.parametrize(("clusters", "expected"), CHOICES.values(), ids=CHOICES)
def test_which_cluster_a_step_takes(clusters: list[dict[str, Any]], expected: Choice | str) -> None:
    choice = choose(clusters, NOON, {"barred"}, 0)
    if isinstance(expected, str):
        assert isinstance(choice, Take)
        assert choice.cluster["metadata"]["name"] == expected
    else:
        assert choice == expected


def test_a_name_that_something_else_has_is_left_behind() -> None:
    assert choose([], NOON, set(), 4) == Make(5)


@pytest.mark.parametrize(
    ("text", "generation"),
    [("3", 3), ("", 0), ("-1", 0), ("²", 0), ("x", 0), (None, 0), (5, 0), ("9" * 9, 10**9 - 1), ("9" * 63, 0)],
)
def test_a_generation_that_cannot_be_read_is_none(text: object, generation: int) -> None:
    assert generation_of({"metadata": {"labels": {"dagster/sharing-generation": text}}}) == generation


def test_a_generation_that_somebody_has_written_does_not_lead_to_a_name_that_is_refused() -> None:
    foreign = cluster("a", "9" * 63, **GOING)
    choice = choose([foreign], NOON, set(), 0)
    assert choice == Make(1)
    assert len(Selection({"a": "b"}).name("dagster", 10**9)) <= NAME_LIMIT


# The end of a step

ENDS: dict[str, tuple[dict[str, Any], Leave]] = {
    "a success keeps the cluster for the next step": ({}, Leave.KEEP_LOCK),
    "a failure too": ({"outcome": StepOutcome.FAILED}, Leave.KEEP_LOCK),
    "an interrupt too": ({"outcome": StepOutcome.INTERRUPTED}, Leave.KEEP_LOCK),
    "a success, where no time after it is wanted": ({"release_on_success": True}, Leave.RELEASE),
    "a failure, where no time after a success is wanted": (
        {"release_on_success": True, "outcome": StepOutcome.FAILED},
        Leave.KEEP_LOCK,
    ),
    "a cluster of a run or a backfill is kept by that": ({"has_scope": True}, Leave.RELEASE),
    "a set-up that failed on somebody's cluster": (
        {"used": False, "outcome": StepOutcome.SETUP_FAILED},
        Leave.RELEASE,
    ),
    "a set-up that failed on a cluster of its own": (
        {"used": False, "made": True, "outcome": StepOutcome.SETUP_FAILED},
        Leave.RELEASE_AND_DELETE_UNUSED,
    ),
    "an interrupt before the cluster was ready": (
        {"used": False, "made": True, "outcome": StepOutcome.INTERRUPTED},
        Leave.RELEASE_AND_DELETE_UNUSED,
    ),
}


@pytest.mark.parametrize(("given", "expected"), ENDS.values(), ids=ENDS)
def test_what_a_step_leaves(given: dict[str, Any], expected: Leave) -> None:
    facts: dict[str, Any] = {
        "outcome": StepOutcome.SUCCEEDED,
        "used": True,
        "made": False,
        "has_scope": False,
        "release_on_success": False,
        **given,
    }
    assert leaving(**facts) is expected


@pytest.mark.parametrize(
    ("given", "free"),
    [
        pytest.param(cluster("a"), True, id="no lock"),
        pytest.param(cluster("a", locks=1), False, id="a live lock"),
        pytest.param(cluster("a", annotations={"dagster/lock-x": "?"}), False, id="a lock that cannot be read"),
        pytest.param(cluster("a", **GOING), False, id="somebody deletes it already"),
    ],
)
def test_whether_the_maker_may_delete(given: dict[str, Any], free: bool) -> None:
    assert is_free(given, NOON) is free

"""What the collector may delete, and why it keeps the rest: every rule as a row."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from collector_world import INSTANCE, NOON, RUN, STEP, labels, lock, obj, shared

from dagster_ray.core import Identity
from dagster_ray.kuberay._collector.candidate import candidate_of, selected_cluster
from dagster_ray.kuberay._collector.plan import judge, plan, plan_by_hand, run_ids
from dagster_ray.kuberay._collector.run_facts import (
    Ask,
    InstanceFacts,
    Keep,
    Remove,
    Rules,
    RunFacts,
    StepRef,
    StepState,
)
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS

RULES = Rules()
STEP_REF = StepRef(RUN, STEP)
CANCELED = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True, seconds_since_end=7200, was_canceled=True)})
IN_PROGRESS = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=False)})
FAILED = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True, seconds_since_end=7200)})
SUCCEEDED = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True, succeeded=True, seconds_since_end=7200)})
JUST_FAILED = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True, seconds_since_end=119)})
ENDLESS = InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True)})
GONE = InstanceFacts(INSTANCE, {RUN: None})
NOT_ASKED = InstanceFacts(INSTANCE)


def with_step(facts: InstanceFacts, state: StepState | None) -> InstanceFacts:
    return replace(facts, steps={STEP_REF: state})


def with_own_id(facts: InstanceFacts) -> InstanceFacts:
    return replace(facts, has_own_id=True)


ALIVE_UNKNOWN, ALIVE_FINISHED = (
    f"keep: its run is {state} here, but it shows life: another Dagster instance may have a copy of this database"
    for state in ("not known", "finished")
)


def verdict(kind: Any, found: dict[str, Any], facts: InstanceFacts, rules: Rules = RULES) -> str:
    """Return `keep: why`, `delete: why` or `ask`."""
    match judge(candidate_of(kind, found), facts, NOON, rules):
        case Keep(because):
            return f"keep: {because}"
        case Remove(because):
            return f"delete: {because}"
        case Ask(step):
            assert step == STEP_REF
            return "ask"


ALWAYS, ON_EXCEPTION, NEVER = (labels(policy=policy) for policy in ("always", "on_exception", "never"))
UNREADABLE = {"dagster/lock-x": '{"until": "tomorrow"}'}
OWNED = {"ownerReferences": [{"kind": "RayJob", "name": "j", "uid": "u"}]}
LEFT = {key: value for key, value in ALWAYS.items() if key != "app.kubernetes.io/managed-by"}

UNTOUCHABLE: dict[str, tuple[dict[str, Any], str]] = {
    "what others have made": (obj(labels=LEFT), "keep: was not made by dagster-ray"),
    "what others manage, whatever its other labels say": (
        obj(labels={**shared(), "app.kubernetes.io/managed-by": "Helm"}),
        "keep: was not made by dagster-ray",
    ),
    "what is being deleted": (
        obj(labels=ALWAYS, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        "keep: is being deleted already",
    ),
    "the cluster of a RayJob, by its owner": (obj(labels=ALWAYS, metadata=OWNED), "keep: belongs to a RayJob"),
    "the cluster of a RayJob, by KubeRay's label": (
        obj(labels={**ALWAYS, "ray.io/originated-from-crd": "RayJob"}),
        "keep: belongs to a RayJob",
    ),
    "what has no uid": (obj(labels=ALWAYS, metadata={"uid": None}), "keep: has no uid or resourceVersion"),
    "what has no metadata that can be read": ({"metadata": "?"}, "keep: was not made by dagster-ray"),
}


@pytest.mark.parametrize(("found", "expected"), UNTOUCHABLE.values(), ids=UNTOUCHABLE)
def test_never_touched(found: dict[str, Any], expected: str) -> None:
    assert verdict(RAYCLUSTERS, found, FAILED) == expected
    assert not run_ids([candidate_of(RAYCLUSTERS, found)])


def until(minutes: float) -> dict[str, str]:
    return {"dagster/held-until": time_text(NOON + timedelta(minutes=minutes))}


COMPLETE: dict[str, Any] = {"status": {"jobDeploymentStatus": "Complete"}}
HELD: dict[str, tuple[dict[str, Any], InstanceFacts, str]] = {
    "still held": (
        obj(labels=ON_EXCEPTION, annotations=until(1), **COMPLETE),
        FAILED,
        f"keep: is held until {time_text(NOON + timedelta(minutes=1))}, since its step failed",
    ),
    "still held, with a driver that is gone": (
        obj(labels=ALWAYS, annotations=until(1)),
        GONE,
        f"keep: is held until {time_text(NOON + timedelta(minutes=1))}, since its step failed",
    ),
    "held long enough": (
        obj(labels=ON_EXCEPTION, annotations=until(0), **COMPLETE),
        FAILED,
        "delete: the time that it was held has run out",
    ),
    "held long enough in a run that goes on": (
        obj(labels=ALWAYS, annotations=until(-1), **COMPLETE),
        IN_PROGRESS,
        "delete: the time that it was held has run out",
    ),
    "kept in any case": (
        obj(labels=NEVER, annotations=until(-1), **COMPLETE),
        FAILED,
        "keep: its lifecycle's cleanup is never",
    ),
    "a time that nobody can read": (
        obj(labels=ON_EXCEPTION, annotations={"dagster/held-until": "tomorrow"}, **COMPLETE),
        FAILED,
        "keep: has ended: its own deletion settings decide",
    ),
}


@pytest.mark.parametrize(("found", "facts", "expected"), HELD.values(), ids=HELD)
def test_what_a_failed_step_holds_goes_when_its_time_has_run_out(
    found: dict[str, Any], facts: InstanceFacts, expected: str
) -> None:
    assert verdict(RAYJOBS, found, facts) == expected


def test_what_another_instance_holds_is_left_to_it() -> None:
    found = obj(labels=labels(policy="always", instance="other"), annotations=until(-1))
    assert verdict(RAYJOBS, found, FAILED).startswith("keep: ")


SHARED: dict[str, tuple[dict[str, Any], str]] = {
    "a live lock": (obj(labels=shared(), annotations=lock(1)), "keep: a step holds a lock"),
    "a live lock among ended ones": (
        obj(labels=shared(), annotations={**lock(-50), **lock(1, name="b")}),
        "keep: a step holds a lock",
    ),
    "a lock that nobody can read": (
        obj(labels=shared(), annotations=UNREADABLE),
        "keep: has a lock that cannot be read",
    ),
    "an ended lock beside one that nobody can read": (
        obj(labels=shared(), annotations={**lock(-50), **UNREADABLE}),
        "keep: has a lock that cannot be read",
    ),
    "the last lock ends now": (obj(labels=shared(), annotations=lock(0)), "delete: its last lock ended 0 s ago"),
    "the last lock has ended": (
        obj(labels=shared(), annotations={**lock(-50), **lock(-9, name="b")}),
        "delete: its last lock ended 9 s ago",
    ),
    "all locks were released, and it is old": (
        obj(labels=shared(), age=600),
        "delete: it is 600 s old and has no lock",
    ),
    "all locks were released, and it is young": (obj(labels=shared(), age=599), "keep: has no lock and is new"),
    "no lock and no age": (
        obj(labels=shared(), metadata={"creationTimestamp": None}),
        "keep: does not say when it was created",
    ),
    "made outside of a run": (
        obj(labels=shared(run=None), annotations=lock(-9)),
        "delete: its last lock ended 9 s ago",
    ),
    "made by another instance's run, which only matters to its locks": (
        obj(labels=shared(instance="other"), annotations=lock(-9)),
        "delete: its last lock ended 9 s ago",
    ),
    "made for one run, but outside of any": (
        obj(labels=shared(scope="run", run=None), annotations=lock(-9)),
        "delete: its last lock ended 9 s ago",
    ),
}


@pytest.mark.parametrize(("found", "expected"), SHARED.values(), ids=SHARED)
@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(IN_PROGRESS, id="running"),
        pytest.param(FAILED, id="failed"),
        pytest.param(GONE, id="gone"),
        pytest.param(NOT_ASKED, id="unknown"),
    ],
)
def test_a_shared_cluster_goes_by_its_locks_whatever_its_run_does(
    found: dict[str, Any], expected: str, facts: InstanceFacts
) -> None:
    assert verdict(RAYCLUSTERS, found, facts) == expected


def test_a_grace_after_the_last_lock() -> None:
    ended = obj(labels=shared(), annotations=lock(-9))
    assert verdict(RAYCLUSTERS, ended, NOT_ASKED, Rules(grace_seconds=10)) == "keep: its last lock has just ended"
    assert verdict(RAYCLUSTERS, ended, NOT_ASKED, Rules(grace_seconds=9)).startswith("delete")


FOR_RUN = shared(scope="run")
RUN_SCOPED: dict[str, tuple[dict[str, Any], InstanceFacts, str]] = {
    "the run is in progress, although no lock is left": (
        obj(labels=FOR_RUN),
        IN_PROGRESS,
        "keep: its run is in progress",
    ),
    "the run is in progress, and the locks have ended": (
        obj(labels=FOR_RUN, annotations=lock(-9)),
        IN_PROGRESS,
        "keep: its run is in progress",
    ),
    "the run is finished": (obj(labels=FOR_RUN), SUCCEEDED, "delete: its run is finished, and no lock is live"),
    "the run is finished, and a lock of a step that was killed has ended since": (
        obj(labels=FOR_RUN, annotations=lock(-9, ttl=7200)),
        SUCCEEDED,
        "delete: its run is finished, and no lock is live",
    ),
    "the run is finished here, and a lock was renewed after that": (
        obj(labels=FOR_RUN, annotations=lock(-9)),
        SUCCEEDED,
        ALIVE_FINISHED,
    ),
    "the run is not known here, and a lock was renewed within an hour": (
        obj(labels=FOR_RUN, annotations=lock(-9)),
        GONE,
        ALIVE_UNKNOWN,
    ),
    "the run has just ended, which needs no grace: no step is left": (
        obj(labels=FOR_RUN),
        JUST_FAILED,
        "delete: its run is finished, and no lock is live",
    ),
    "the run is finished, and a step of it still lives": (
        obj(labels=FOR_RUN, annotations=lock(9)),
        FAILED,
        "keep: a step holds a lock",
    ),
    "the run is gone": (obj(labels=FOR_RUN), GONE, "delete: its run was deleted from Dagster"),
    "the run is another instance's": (
        obj(labels=shared(scope="run", instance="other")),
        GONE,
        "keep: belongs to a run of another Dagster instance",
    ),
    "run storage does not answer": (
        obj(labels=FOR_RUN),
        NOT_ASKED,
        "keep: run storage could not be asked for its run",
    ),
}


@pytest.mark.parametrize(("found", "facts", "expected"), RUN_SCOPED.values(), ids=RUN_SCOPED)
def test_a_cluster_that_is_shared_in_one_run(found: dict[str, Any], facts: InstanceFacts, expected: str) -> None:
    assert verdict(RAYCLUSTERS, found, facts) == expected


UNSHARED: dict[str, tuple[dict[str, str], InstanceFacts, str]] = {
    "always, and the run is in progress": (ALWAYS, IN_PROGRESS, "keep: its run is in progress"),
    "always, and the run has succeeded": (ALWAYS, SUCCEEDED, "delete: its run is finished"),
    "always, and the run has failed": (ALWAYS, FAILED, "delete: its run is finished"),
    "always, and the run has just ended": (ALWAYS, JUST_FAILED, "keep: its run has just ended"),
    "always, and nobody knows when the run ended": (ALWAYS, ENDLESS, "keep: its run has just ended"),
    "always, and the run is gone": (ALWAYS, GONE, "delete: its run was deleted from Dagster"),
    "on_exception, and the run has succeeded": (
        ON_EXCEPTION,
        SUCCEEDED,
        "keep: its step has succeeded, and its lifecycle keeps it then",
    ),
    "on_exception, and the run has failed: it depends on the step": (ON_EXCEPTION, FAILED, "ask"),
    "on_exception, and the step has failed": (
        ON_EXCEPTION,
        with_step(FAILED, "FAILURE"),
        "delete: its run is finished, and its step did not succeed",
    ),
    "on_exception, and the step was killed": (
        ON_EXCEPTION,
        with_step(FAILED, "IN_PROGRESS"),
        "delete: its run is finished, and its step did not succeed",
    ),
    "on_exception, and the step never began": (
        ON_EXCEPTION,
        with_step(FAILED, None),
        "delete: its run is finished, and its step did not succeed",
    ),
    "on_exception, and the step has succeeded in a run that failed": (
        ON_EXCEPTION,
        with_step(FAILED, "SUCCESS"),
        "keep: its step has succeeded, and its lifecycle keeps it then",
    ),
    "on_exception for all steps of a process, and the run has failed": (
        labels(step=None, policy="on_exception"),
        FAILED,
        "delete: its run is finished without success",
    ),
    "on_exception, and the run is gone": (ON_EXCEPTION, GONE, "delete: its run was deleted from Dagster"),
    "never, and the run has failed": (NEVER, FAILED, "keep: its lifecycle's cleanup is never"),
    "never, and the run is gone": (NEVER, GONE, "keep: its lifecycle's cleanup is never"),
    "no policy": (labels(), FAILED, "keep: no label says what its lifecycle wants"),
    "a policy of a later version": (labels(policy="sometimes"), GONE, "keep: no label says what its lifecycle wants"),
    "made outside of a run": (labels(run=None, policy="always"), FAILED, "keep: was made outside of a run"),
    "another instance's run, even if one here has its id": (
        labels(instance="other", policy="always"),
        FAILED,
        "keep: belongs to a run of another Dagster instance",
    ),
    "another instance's run that is unknown here": (
        labels(instance="other", policy="always"),
        GONE,
        "keep: belongs to a run of another Dagster instance",
    ),
    "an instance's run, and this one does not know its own id": (
        ALWAYS,
        InstanceFacts(None, {RUN: None}),
        "keep: belongs to a run of another Dagster instance",
    ),
    "no instance, and the run is known here": (
        labels(instance=None, policy="always"),
        FAILED,
        "delete: its run is finished",
    ),
    "no instance, and the run is unknown here": (
        labels(instance=None, policy="always"),
        GONE,
        "keep: its run is not known here, and no label says whose it is",
    ),
    "run storage does not answer": (ALWAYS, NOT_ASKED, "keep: run storage could not be asked for its run"),
}


@pytest.mark.parametrize(("given", "facts", "expected"), UNSHARED.values(), ids=UNSHARED)
@pytest.mark.parametrize("kind", [pytest.param(RAYCLUSTERS, id="RayCluster"), pytest.param(RAYJOBS, id="RayJob")])
def test_what_one_step_has_for_itself(given: dict[str, str], facts: InstanceFacts, expected: str, kind: Any) -> None:
    assert verdict(kind, obj(labels=given, age=3600), facts) == expected


AGED = "delete: it is 3601 s old, and its step is over"
LEFT_BY_A_STEP: dict[str, tuple[dict[str, Any], InstanceFacts, str]] = {
    "young": (obj(labels=ALWAYS, age=3600), IN_PROGRESS, "keep: its run is in progress"),
    "old: it depends on the step": (obj(labels=ALWAYS, age=3601), IN_PROGRESS, "ask"),
    "of a step in progress": (
        obj(labels=ALWAYS, age=3601),
        with_step(IN_PROGRESS, "IN_PROGRESS"),
        "keep: its run is in progress",
    ),
    "of a step that has not begun": (
        obj(labels=ALWAYS, age=3601),
        with_step(IN_PROGRESS, None),
        "keep: its run is in progress",
    ),
    "of a step that has failed": (obj(labels=ON_EXCEPTION, age=3601), with_step(IN_PROGRESS, "FAILURE"), AGED),
    "of a step that was skipped": (obj(labels=ON_EXCEPTION, age=3601), with_step(IN_PROGRESS, "SKIPPED"), AGED),
    "always, after a success": (obj(labels=ALWAYS, age=3601), with_step(IN_PROGRESS, "SUCCESS"), AGED),
    "on_exception, after a success: perhaps for steps to come": (
        obj(labels=ON_EXCEPTION, age=3601),
        with_step(IN_PROGRESS, "SUCCESS"),
        "keep: its run is in progress",
    ),
    "never": (
        obj(labels=NEVER, age=3601),
        with_step(IN_PROGRESS, "FAILURE"),
        "keep: its lifecycle's cleanup is never",
    ),
    "of no step in particular": (
        obj(labels=labels(step=None, policy="always"), age=3601),
        IN_PROGRESS,
        "keep: its run is in progress",
    ),
    "locked": (
        obj(labels=ALWAYS, age=3601, annotations=lock(1)),
        with_step(IN_PROGRESS, "FAILURE"),
        "keep: a step holds a lock",
    ),
}


@pytest.mark.parametrize(("found", "facts", "expected"), LEFT_BY_A_STEP.values(), ids=LEFT_BY_A_STEP)
def test_the_raycluster_of_one_step_while_its_run_goes_on(
    found: dict[str, Any], facts: InstanceFacts, expected: str
) -> None:
    assert verdict(RAYCLUSTERS, found, facts) == expected


def test_a_lock_keeps_a_cluster_that_is_not_shared_too() -> None:
    assert verdict(RAYCLUSTERS, obj(labels=ALWAYS, annotations=lock(1)), GONE) == "keep: a step holds a lock"
    assert verdict(RAYCLUSTERS, obj(labels=ALWAYS, annotations=lock(-1)), with_own_id(GONE)).startswith("delete")


def test_a_new_object_of_a_run_that_is_gone_stays_for_a_while() -> None:
    assert verdict(RAYCLUSTERS, obj(labels=ALWAYS, age=119), with_own_id(GONE)) == "keep: its run has just ended"


PIPES = {**ALWAYS, "dagster/pipes-call": "k"}


def job(
    word: str,
    given: dict[str, str],
    *,
    waited: float = 7200,
    job_id: str = "",
    suspend: bool = False,
    operator_seconds: int | None = None,
) -> dict[str, Any]:
    started = time_text(NOON - timedelta(seconds=waited))
    status = {"jobDeploymentStatus": word, "startTime": started} if word else {}
    spec = {"jobId": job_id, "suspend": suspend, "preRunningDeadlineSeconds": operator_seconds}
    return obj(labels=given, age=waited, spec=spec, status=status)


OVER = "keep: has ended: its own deletion settings decide"
PROGRESS = "keep: its run is in progress"
WAITED = "delete: it has waited 7200 s for a driver, and its step is over"
RAYJOBS_TABLE: dict[str, tuple[dict[str, Any], InstanceFacts, str]] = {
    "Complete": (job("Complete", ALWAYS), FAILED, OVER),
    "Failed": (job("Failed", ALWAYS), GONE, OVER),
    "ValidationFailed, which the operator never deletes": (
        job("ValidationFailed", ALWAYS),
        FAILED,
        "delete: its run is finished",
    ),
    "Running although the run has succeeded": (
        job("Running", ALWAYS, job_id="1"),
        SUCCEEDED,
        "delete: its run is finished",
    ),
    "Running in a run": (job("Running", ALWAYS, job_id="1"), with_step(IN_PROGRESS, "FAILURE"), PROGRESS),
    "Waiting in a run, not for long": (job("Waiting", ALWAYS, waited=3600), IN_PROGRESS, PROGRESS),
    "Waiting in a run for long: it depends on the step": (job("Waiting", ALWAYS), IN_PROGRESS, "ask"),
    "Waiting for a step in progress": (job("Waiting", ALWAYS), with_step(IN_PROGRESS, "IN_PROGRESS"), PROGRESS),
    "Waiting for a step that has not begun": (job("Waiting", ALWAYS), with_step(IN_PROGRESS, None), PROGRESS),
    "Waiting for a step that has failed": (job("Waiting", ON_EXCEPTION), with_step(IN_PROGRESS, "FAILURE"), WAITED),
    "Initializing for a step that has failed": (job("Initializing", ALWAYS), with_step(IN_PROGRESS, "FAILURE"), WAITED),
    "Waiting for a step that was skipped": (job("Waiting", ALWAYS), with_step(IN_PROGRESS, "SKIPPED"), WAITED),
    "Waiting after a success, and always": (job("Waiting", ALWAYS), with_step(IN_PROGRESS, "SUCCESS"), WAITED),
    "Waiting after a success, perhaps for steps to come": (
        job("Waiting", ON_EXCEPTION),
        with_step(IN_PROGRESS, "SUCCESS"),
        PROGRESS,
    ),
    "Waiting for ever, and never": (
        job("Waiting", NEVER),
        with_step(IN_PROGRESS, "FAILURE"),
        "keep: its lifecycle's cleanup is never",
    ),
    "Waiting for no step in particular": (
        job("Waiting", labels(step=None, policy="always")),
        IN_PROGRESS,
        PROGRESS,
    ),
    "Waiting with a job id": (job("Waiting", ALWAYS, job_id="1"), with_step(IN_PROGRESS, "FAILURE"), PROGRESS),
    "queued in a run": (job("Suspended", ALWAYS, suspend=True), with_step(IN_PROGRESS, "FAILURE"), PROGRESS),
    "queued after the run": (job("Suspended", ALWAYS, suspend=True), CANCELED, "delete: its run is finished"),
    "seen by no operator in a run": (job("", ALWAYS), with_step(IN_PROGRESS, "FAILURE"), PROGRESS),
    "Waiting after a run that has succeeded, for long": (
        job("Waiting", ON_EXCEPTION),
        SUCCEEDED,
        "delete: it has waited 7200 s for a driver, and its run is finished",
    ),
    "Waiting after a run that has succeeded, not for long": (
        job("Waiting", ON_EXCEPTION, waited=3600),
        SUCCEEDED,
        "keep: its step has succeeded, and its lifecycle keeps it then",
    ),
    "Waiting after a run, and the operator will end it": (
        job("Waiting", ON_EXCEPTION, waited=659, operator_seconds=660),
        with_own_id(FAILED),
        "keep: the operator ends it by its own deadline",
    ),
    "Waiting after a run, and the operator should have ended it": (
        job("Waiting", ON_EXCEPTION, waited=660, operator_seconds=660),
        with_step(with_own_id(FAILED), "FAILURE"),
        "delete: its run is finished, and its step did not succeed",
    ),
    "Waiting after a run, and always wins over the operator's deadline": (
        job("Waiting", ALWAYS, waited=300, operator_seconds=660),
        with_own_id(FAILED),
        "delete: its run is finished",
    ),
    "of Pipes, and a re-execution may follow it": (
        job("Running", PIPES, job_id="1"),
        InstanceFacts(INSTANCE, {RUN: RunFacts(is_finished=True, seconds_since_end=3599)}),
        "keep: its run has just ended",
    ),
    "of Pipes, and an hour has passed": (job("Running", PIPES, job_id="1"), FAILED, "delete: its run is finished"),
    "of Pipes, and its run is gone, so that nothing can follow it": (
        job("Running", PIPES, job_id="1", waited=130),
        with_own_id(GONE),
        "delete: its run was deleted from Dagster",
    ),
}


@pytest.mark.parametrize(("found", "facts", "expected"), RAYJOBS_TABLE.values(), ids=RAYJOBS_TABLE)
def test_a_rayjob_goes_by_its_status_too(found: dict[str, Any], facts: InstanceFacts, expected: str) -> None:
    assert verdict(RAYJOBS, found, facts) == expected


def test_values_that_are_no_labels_are_read_from_the_annotations() -> None:
    full = "train[" + "x" * 100 + "]"
    key = "dagster/step-key"
    given = {**ALWAYS, key: Identity.label_value(full)}
    assert candidate_of(RAYCLUSTERS, obj(labels=given, annotations={key: full})).step_key == full
    assert candidate_of(RAYCLUSTERS, obj(labels=given, annotations={key: "another"})).step_key == given[key]
    assert candidate_of(RAYCLUSTERS, obj(labels=labels(step=None), annotations={key: full})).step_key is None


def test_a_plan_has_every_object_once_and_names_what_it_deletes() -> None:
    found = [
        obj("shared", shared(), lock(-9)),
        obj("held", shared(), lock(9)),
        obj("asked", ON_EXCEPTION),
        obj("old", ALWAYS),
    ]
    made = plan([candidate_of(RAYCLUSTERS, one) for one in found], FAILED, NOON, RULES)
    assert [(one.what.name, one.propagation) for one in made.deletes] == [
        ("shared", "Foreground"),
        ("old", "Foreground"),
    ]
    assert ({one.what.name for one in made.keeps}, {one.what.name for one in made.undecided}) == ({"held"}, {"asked"})
    assert made.asks == {STEP_REF}
    assert made.with_undecided_kept().keeps[-1].because == "run storage could not be asked for its step"
    spared = made.sparing({("default", "old"), ("elsewhere", "shared")}, "it is used")
    assert [one.what.name for one in spared.deletes] == ["shared"]
    assert [(one.what.name, one.because) for one in spared.keeps][-1] == ("old", "it is used")
    assert plan([candidate_of(RAYJOBS, obj("old", ALWAYS))], FAILED, NOON, RULES).deletes[0].propagation == "Background"


SELECTS = {"spec": {"clusterSelector": {"ray.io/cluster": "warm"}}}


@pytest.mark.parametrize(
    ("rayjob", "expected"),
    [
        pytest.param(SELECTS, "warm", id="one that nobody has seen yet"),
        pytest.param({**SELECTS, "status": {"jobDeploymentStatus": "Running"}}, "warm", id="one that runs"),
        pytest.param({**SELECTS, "status": {"jobDeploymentStatus": "Complete"}}, None, id="one that is over"),
        pytest.param({"spec": {"rayClusterSpec": {}}}, None, id="one with a cluster of its own"),
    ],
)
def test_which_cluster_a_rayjob_uses(rayjob: dict[str, Any], expected: str | None) -> None:
    assert selected_cluster(rayjob) == expected


BY_HAND: dict[str, tuple[dict[str, Any], InstanceFacts, str, str]] = {
    "others' clusters, whatever is asked": (obj(labels=LEFT), FAILED, "keep", "keep"),
    "a RayJob's cluster, whatever is asked": (obj(labels=ALWAYS, metadata=OWNED), FAILED, "keep", "keep"),
    "a shared one with a lock": (obj(labels=shared(), annotations=lock(9)), FAILED, "keep", "delete"),
    "a shared one without": (obj(labels=shared(), age=1), IN_PROGRESS, "delete", "delete"),
    "a shared one of a run in progress": (obj(labels=FOR_RUN), IN_PROGRESS, "keep", "delete"),
    "one of a run in progress": (obj(labels=ALWAYS), IN_PROGRESS, "keep", "delete"),
    "one of a finished run, whatever its lifecycle says": (obj(labels=NEVER), SUCCEEDED, "delete", "delete"),
    "one of a run that is gone": (obj(labels=NEVER), GONE, "delete", "delete"),
    "another instance's": (obj(labels=labels(instance="other")), GONE, "keep", "delete"),
    "one made outside of a run": (obj(labels=labels(run=None)), GONE, "keep", "delete"),
}


@pytest.mark.parametrize(("found", "facts", "plainly", "even_if_locked"), BY_HAND.values(), ids=BY_HAND)
def test_by_hand(found: dict[str, Any], facts: InstanceFacts, plainly: str, even_if_locked: str) -> None:
    candidates = [candidate_of(RAYCLUSTERS, found)]
    made = [plan_by_hand(candidates, facts, NOON, even_if_locked=disregarded) for disregarded in (False, True)]
    assert ["delete" if one.deletes else "keep" for one in made] == [plainly, even_if_locked]
    assert all(len(one.deletes) + len(one.keeps) == 1 for one in made)


def test_a_shared_cluster_is_kept_exactly_while_a_lock_lives() -> None:
    """Never a delete under a live lock, always a delete at the first look after the last one's end."""
    for ends in [(first, second) for first in range(-3, 4) for second in range(-3, 4)]:
        found = obj(labels=shared(), annotations={**lock(ends[0]), **lock(ends[1], name="b")})
        assert verdict(RAYCLUSTERS, found, NOT_ASKED).startswith("keep" if max(ends) > 0 else "delete"), ends

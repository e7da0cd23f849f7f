"""When a cluster goes: that of a step by its run, policy and step, a shared one by its locks or its run. Pure."""

from dataclasses import replace
from datetime import datetime

from dagster_ray.kuberay._collector.candidate import Candidate, JobFacts
from dagster_ray.kuberay._collector.run_facts import (
    Ask,
    InstanceFacts,
    Keep,
    Remove,
    Rules,
    RunFacts,
    StepRef,
    Verdict,
)
from dagster_ray.kuberay._collector.run_state import (
    Gone,
    RunState,
    Unjudged,
    backfill_state,
    is_certain,
    is_overdue,
    run_state,
)
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._sharing.locks import ENDED_ID, Lock, UnreadableLock, ends_at

IN_PROGRESS = "its run is in progress"


def of_backfill(reason: str) -> str:
    """Return a reason that speaks of a run as one of a backfill."""
    return reason.replace("its run", "its backfill")


def held(candidate: Candidate, now: datetime) -> Keep | None:
    """Return why a step's lock keeps an object, shared or not; None if no lock is live at the API server's `now`."""
    live = [lock for lock in candidate.locks if lock.is_live(now)]
    if any(isinstance(lock, UnreadableLock) for lock in live):
        return Keep("has a lock that cannot be read")
    if any(lock.is_in_future(now) for lock in live if isinstance(lock, Lock)):
        return Keep("has a lock that is dated in the future; remove that annotation if no step uses it")
    if all(lock.id == ENDED_ID for lock in live):
        return Keep("the time that its last step left has not run out") if live else None
    return Keep("a step holds a lock")


def judge_shared(candidate: Candidate, facts: InstanceFacts, now: datetime, rules: Rules) -> Verdict:
    """Return what becomes of a shared cluster that no live lock keeps."""
    if candidate.backfill_id is not None:
        verdict = _by_scope(backfill_state(candidate, facts, now))
        return replace(verdict, because=of_backfill(verdict.because))
    if candidate.is_run_scoped and candidate.run_id is not None:
        return _by_scope(run_state(candidate, facts, now))
    return _by_locks(candidate, now, rules)


def _by_locks(candidate: Candidate, now: datetime, rules: Rules) -> Keep | Remove:
    """No lock is live, and neither a run nor a backfill keeps the cluster."""
    end = ends_at(candidate.locks)
    if end is not None:
        idle = (now - end).total_seconds()
        if idle >= rules.grace_seconds:
            return Remove(f"its last lock ended {idle:.0f} s ago")
        return Keep("its last lock has just ended")
    if candidate.created_at is None:
        return Keep("does not say when it was created")
    age = (now - candidate.created_at).total_seconds()
    if age >= rules.unlocked_seconds:
        return Remove(f"it is {age:.0f} s old and has no lock")
    return Keep("has no lock and is new")


def _by_scope(run: RunState) -> Keep | Remove:
    """The locks are over already, so that no step of the run is left whose cleanup could come first."""
    if isinstance(run, Unjudged):
        return Keep(run.value)
    if isinstance(run, RunFacts) and not run.is_finished:
        return Keep(IN_PROGRESS)
    return Remove(run.value if isinstance(run, Gone) else "its run is finished, and no lock is live")


_SUCCEEDED = "its step has succeeded, and its lifecycle keeps it then"


def judge_unshared(candidate: Candidate, facts: InstanceFacts, now: datetime, rules: Rules) -> Verdict:
    """Return what becomes of an object that one step has for itself."""
    if (kept := _kept_by_itself(candidate)) is not None:
        return kept
    run = run_state(candidate, facts, now)
    if isinstance(run, Unjudged):
        return Keep(run.value)
    if isinstance(run, RunFacts) and not run.is_finished:
        return _in_progress(candidate, facts, now, rules)
    if _has_just_ended(candidate, run, now, rules):
        return Keep("its run has just ended")
    because = run.value if isinstance(run, Gone) else "its run is finished"
    if candidate.policy == "always":
        return Remove(because)
    return _left_waiting(candidate, because, now, rules) or _on_exception(candidate, run, because, facts)


def judge_held(candidate: Candidate, until: datetime, facts: InstanceFacts, now: datetime) -> Keep | Remove:
    """Return what becomes of an object that the step, which failed, has held: it would be deleted otherwise."""
    if now < until:
        return Keep(f"is held until {time_text(until)}, since its step failed")
    run = run_state(candidate, facts, now)
    return Keep(run.value) if isinstance(run, Unjudged) else Remove("the time that it was held has run out")


def _kept_by_itself(candidate: Candidate) -> Keep | None:
    """Return why an object stays whatever its run does."""
    if candidate.policy == "never":
        return Keep("its lifecycle's cleanup is never")
    if candidate.policy not in {"always", "on_exception"}:
        return Keep("no label says what its lifecycle wants")
    if candidate.job is not None and candidate.job.is_over:
        return Keep("has ended: its own deletion settings decide")
    return None


def _age_seconds(candidate: Candidate, now: datetime) -> float | None:
    """Return how old an object is; None if it does not say when it was created."""
    return None if candidate.created_at is None else (now - candidate.created_at).total_seconds()


def _waited_seconds(job: JobFacts | None, now: datetime) -> float | None:
    """Return how long a RayJob has waited for a driver, or for its pods; None if it does not, or says no start."""
    if job is None or not (job.waits or job.is_unseen) or job.waits_since is None:
        return None
    return (now - job.waits_since).total_seconds()


def _waited(job: JobFacts | None, seconds: float) -> str:
    what = "all of its pods" if job is not None and job.is_unseen else "a driver"
    return f"it has waited {seconds:.0f} s for {what}"


def _in_progress(candidate: Candidate, facts: InstanceFacts, now: datetime, rules: Rules) -> Verdict:
    """A step that was killed leaves what only its process would have deleted, while its run goes on.

    That is a RayJob that no driver has come to, or whose operator does not see the driver while pods are missing; a
    RayCluster; or either of them with a body that nobody follows any more.
    The cleanup of a step is over within seconds, so steps are asked for only about what is old and shows no life; the
    storage answers for one run at a time.
    """
    if _shows_life(candidate, facts, now):
        return Keep(IN_PROGRESS)
    is_left = _left_in_progress(candidate, now, rules)
    if is_left is None or candidate.run_id is None or candidate.step_key is None:
        return Keep(IN_PROGRESS)
    step = StepRef(candidate.run_id, candidate.step_key)
    if step not in facts.steps:
        # What was remembered only keeps; before a delete the storage is asked again.
        return Keep(IN_PROGRESS) if candidate.policy != "always" and step.mark in facts.succeeded else Ask(step)
    state = facts.steps[step]
    # After a success its cluster may be meant for steps to come, unless the lifecycle wants it gone in any case.
    if state in {"FAILURE", "SKIPPED"} or (state == "SUCCESS" and candidate.policy == "always"):
        return Remove(f"{is_left}, and its step is over")
    return Keep(IN_PROGRESS)


def _shows_life(candidate: Candidate, facts: InstanceFacts, now: datetime) -> bool:
    """Return whether an object's step, or an attempt of it that only a copy of this database knows, may still live."""
    job = candidate.job
    if job is None or job.is_unseen or (candidate.is_driver and job.has_driver):
        return not is_overdue(candidate, now)
    waits_for_operator = job.operator_ends_at is not None and now < job.operator_ends_at
    return waits_for_operator and not is_certain(candidate, facts)


def _left_in_progress(candidate: Candidate, now: datetime, rules: Rules) -> str | None:
    """Return for how long an object may have been left by its step; None if it is in use, or not old enough."""
    job = candidate.job
    by_age = job is None or (candidate.is_driver and job.has_driver)
    seconds = _age_seconds(candidate, now) if by_age else _waited_seconds(job, now)
    if seconds is None or seconds <= rules.waiting_seconds:
        return None
    return f"it is {seconds:.0f} s old" if by_age else _waited(job, seconds)


def _has_just_ended(candidate: Candidate, run: RunFacts | Gone, now: datetime, rules: Rules) -> bool:
    """Tell by Dagster's clock alone whether a run ended lately; by the API server's alone, how old an object is."""
    grace = rules.pipes_grace_seconds if candidate.is_pipes else rules.run_grace_seconds
    if isinstance(run, RunFacts):
        return run.seconds_since_end is None or run.seconds_since_end < grace
    # Nobody can follow a run that is gone, but an object that is new may be of one that is only just written.
    age = _age_seconds(candidate, now)
    return age is None or age < rules.run_grace_seconds


def _left_waiting(candidate: Candidate, because: str, now: datetime, rules: Rules) -> Keep | Remove | None:
    """Return what becomes of a RayJob whose operator waits; None if it does not, or not for long.

    It would never end by itself: where pods are missing, the operator does not see the end of its driver either.
    """
    job, waited = candidate.job, _waited_seconds(candidate.job, now)
    if job is None or waited is None:
        return None
    if job.operator_ends_at is not None and now < job.operator_ends_at:
        return Keep("the operator ends it by its own deadline")
    return Remove(f"{_waited(job, waited)}, and {because}") if waited > rules.waiting_seconds else None


def _on_exception(candidate: Candidate, run: RunFacts | Gone, because: str, facts: InstanceFacts) -> Verdict:
    """Return what becomes of an object that its lifecycle keeps only after a success of its step."""
    if isinstance(run, Gone):
        return Remove(because)
    if run.succeeded:
        return Keep(_SUCCEEDED)
    if candidate.run_id is None or candidate.step_key is None:
        return Remove(f"{because} without success")
    step = StepRef(candidate.run_id, candidate.step_key)
    if step not in facts.steps:
        return Keep(_SUCCEEDED) if step.mark in facts.succeeded else Ask(step)
    return Keep(_SUCCEEDED) if facts.steps[step] == "SUCCESS" else Remove(f"{because}, and its step did not succeed")

"""When a shared cluster goes: by its locks, and by its run if it is made for one. Pure."""

from datetime import datetime

from dagster_ray.kuberay._collector.candidate import Candidate
from dagster_ray.kuberay._collector.facts import (
    Facts,
    Keep,
    Remove,
    Rules,
    RunFacts,
    Verdict,
)
from dagster_ray.kuberay._collector.run_state import Gone, Unjudged, run_state
from dagster_ray.kuberay._sharing.locks import ENDED_ID, Lock, UnreadableLock, ends_at

IN_PROGRESS = "its run is in progress"


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


def judge_shared(candidate: Candidate, facts: Facts, now: datetime, rules: Rules) -> Verdict:
    """Return what becomes of a shared cluster that no live lock keeps."""
    if candidate.is_run_scoped and candidate.run_id is not None:
        return _by_run(candidate, facts, now)
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


def _by_run(candidate: Candidate, facts: Facts, now: datetime) -> Verdict:
    """The locks are over already, so that no step of the run is left whose cleanup could come first."""
    run = run_state(candidate, facts, now)
    if isinstance(run, Unjudged):
        return Keep(run.value)
    if isinstance(run, RunFacts) and not run.is_finished:
        return Keep(IN_PROGRESS)
    return Remove(run.value if isinstance(run, Gone) else "its run is finished, and no lock is live")

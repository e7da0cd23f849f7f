"""What a run or a backfill tells about an object, weighed against the life that the object itself shows. Pure.

Two Dagster instances can have the same storage id: a database that was restored elsewhere from a dump is a copy of the
other in every respect. In the copy, new runs of the original are unknown, and runs that were in progress at the dump
are soon ended by its monitoring. So what the storage says of a run decides about an object that shows life only if the
instance was given an id of its own.

Signs of life are dated by the API server's clock and the end of a run by Dagster's. The clocks are never compared, only
how long ago each event was.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias

from dagster_ray.kuberay._collector.candidate import Candidate
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, RunFacts
from dagster_ray.kuberay._labels import ALIVE_SECONDS
from dagster_ray.kuberay._sharing.locks import Lock

SILENCE_SECONDS = 3600.0
"""How long nothing must be heard of an object for it to count as dead whatever else is known."""
RENEWAL_OVERDUE_SECONDS = 1.5 * ALIVE_SECONDS
"""After how many seconds without a sign the step of a RayCluster has missed a renewal."""
# An interrupt and the request that it comes too late for are at most this far apart.
_SAME_MOMENT_SECONDS = 60.0
# A later sign is none: it would keep an object for as long as its writer likes.
_LATEST_SIGN = timedelta(seconds=300)


class Unjudged(Enum):
    """Why a run decides nothing. The values are reasons to keep."""

    NO_RUN = "was made outside of a run"
    OTHER_INSTANCE = "belongs to a run of another Dagster instance"
    STORAGE_ID = (
        "has the id of this instance's run storage, which copies share, and was made without DAGSTER_RAY_INSTANCE_ID"
    )
    NOT_ASKED = "run storage could not be asked for its run"
    UNKNOWN = "its run is not known here, and no label says whose it is"
    ALIVE_UNKNOWN = (
        "its run is not known here, but it shows life: another Dagster instance may have a copy of this database"
    )
    ALIVE_FINISHED = (
        "its run is finished here, but it shows life: another Dagster instance may have a copy of this database"
    )


class Gone(Enum):
    """The run was one of this instance's and does not exist any more."""

    GONE = "its run was deleted from Dagster"


RunState: TypeAlias = RunFacts | Gone | Unjudged


def run_state(candidate: Candidate, facts: InstanceFacts, now: datetime) -> RunState:
    """Return what is known of an object's run; only a run of this instance can be said to be gone.

    Args:
        candidate: The object.
        facts: What this Dagster instance knows.
        now: The API server's time.
    """
    return _state(candidate, candidate.run_id, facts.runs, facts, now)


def backfill_state(candidate: Candidate, facts: InstanceFacts, now: datetime) -> RunState:
    """Return what is known of the backfill with which a shared cluster ends; see `run_state`."""
    return _state(candidate, candidate.backfill_id, facts.backfills, facts, now)


def _state(
    candidate: Candidate,
    owner: str | None,
    known: Mapping[str, RunFacts | None],
    facts: InstanceFacts,
    now: datetime,
) -> RunState:
    if owner is None:
        return Unjudged.NO_RUN
    if candidate.instance_id is not None and candidate.instance_id != facts.instance_id:
        return Unjudged.STORAGE_ID if candidate.instance_id == facts.storage_id else Unjudged.OTHER_INSTANCE
    if owner not in known:
        return Unjudged.NOT_ASKED
    run = known[owner]
    if run is None and candidate.instance_id is None:
        return Unjudged.UNKNOWN
    found = Gone.GONE if run is None else run
    return found if is_certain(candidate, facts) else _contradiction(candidate, run, now) or found


def _contradiction(candidate: Candidate, run: RunFacts | None, now: datetime) -> Unjudged | None:
    """Return why the life of an object contradicts what a storage says that may be a copy."""
    if run is None:
        return Unjudged.ALIVE_UNKNOWN if _may_live(candidate, now) else None
    return Unjudged.ALIVE_FINISHED if run.is_finished and _lives_after(candidate, run, now) else None


def is_certain(candidate: Candidate, facts: InstanceFacts) -> bool:
    """Return whether the object is this instance's beyond doubt: it has an id that no copy of the database has."""
    return facts.has_own_id and candidate.instance_id is not None and candidate.instance_id == facts.instance_id


def heard_seconds(candidate: Candidate, now: datetime) -> float | None:
    """Return how long ago the last sign of life was: its creation, its step's mark, or the renewal of a lock.

    The last start of a RayJob counts as well. None if there is no sign.
    """
    job = candidate.job
    signs = [candidate.created_at, candidate.alive_at, None if job is None else job.waits_since]
    signs += [lock.renewed_at for lock in candidate.locks if isinstance(lock, Lock)]
    past = [sign for sign in signs if sign is not None and sign <= now + _LATEST_SIGN]
    return (now - max(past)).total_seconds() if past else None


def is_overdue(candidate: Candidate, now: datetime) -> bool:
    """Return whether the step of a RayCluster, or of a job of Pipes, would have been heard of since if it lived."""
    heard = heard_seconds(candidate, now)
    return heard is not None and heard >= RENEWAL_OVERDUE_SECONDS


def _may_live(candidate: Candidate, now: datetime) -> bool:
    """Return whether an object shows life, so that its run's absence or failure is no proof."""
    job, heard = candidate.job, heard_seconds(candidate, now)
    if heard is None or heard < SILENCE_SECONDS:
        return True
    if job is None:
        return False
    is_driven = job.has_driver and not job.is_unseen
    return is_driven or job.is_queued or (job.operator_ends_at is not None and now < job.operator_ends_at)


def _lives_after(candidate: Candidate, run: RunFacts, now: datetime) -> bool:
    """Return whether an object shows life after the end of its run, so that the end is no proof.

    The step of a RayCluster would have been heard of again, and so would that of a Ray job, which can outlive it;
    who uses a shared cluster is told by its locks alone. The status of an interactive RayJob says whether its driver
    lives, unless pods are missing, so that a failed run, which is how monitoring ends one, proves nothing. A run that
    somebody has canceled counts nevertheless: its step may never have been told.
    """
    heard, job = heard_seconds(candidate, now), candidate.job
    if heard is None:
        return True
    if run.seconds_since_end is None:
        return False  # it has just ended, as far as is known
    if heard < SILENCE_SECONDS and heard < run.seconds_since_end - _SAME_MOMENT_SECONDS:
        return True
    if candidate.is_shared:
        return False
    if job is None or job.is_unseen or (candidate.is_followed and job.has_driver):
        return not is_overdue(candidate, now)
    failed = not run.succeeded and not run.was_canceled
    return failed and not job.is_refused and _may_live(candidate, now)

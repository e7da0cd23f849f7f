"""Which RayJob a call of `PipesKubeRayJobClient` is about: a new one, or one that an earlier attempt has left. Pure."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from dagster_ray.kuberay._jobs.ends import VERDICT_ANNOTATION
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, text
from dagster_ray.kuberay._status.cluster_state import Ended, read_rayjob

CALL_LABEL = "dagster/pipes-call"
"""Label of the RayJob: the call of the client, the same for each attempt of a run."""
SUBMISSION_ANNOTATION = "dagster/submission-id"
"""Annotation of the RayJob: the id of its Ray job."""
ATTEMPT_ANNOTATION = "dagster/pipes-attempt"
"""Annotation of the RayJob: 0 for the first attempt of the call in its run."""

_ATTEMPT_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Found:
    """A RayJob of an earlier attempt that is to be followed.

    Attributes:
        rayjob: The object.
        is_complete: Whether its job has succeeded, so that only what it has written is of interest.
    """

    rayjob: Manifest
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What a call does.

    Attributes:
        number: The number of a new attempt.
        found: The RayJob to follow instead, if there is one.
    """

    number: int
    found: Found | None = None


def choose_rayjob(keys: Sequence[str], rayjobs: Sequence[Manifest], rejected: Container[str] = ()) -> Choice:
    """Return what to do, given the RayJobs of a call.

    A job that waits, runs or has succeeded is followed. One that has failed, was stopped, is being deleted or was of no
    use to its step is not: a retry is there to try again. Nor is one that an earlier run has used.

    Args:
        keys: The call's key in the step's run, then in the runs that it continues.
        rayjobs: All objects with one of these keys in `CALL_LABEL`.
        rejected: The uids of those that no attempt may follow, by the log of the step.
    """
    by_key = {key: [job for job in rayjobs if at(job, "metadata", "labels", CALL_LABEL) == key] for key in keys}
    number = 1 + max((_number(job) for job in by_key[keys[0]]), default=-1)
    for key in keys:
        if by_key[key]:
            newest = max(by_key[key], key=_number)
            verdict = text(newest, "metadata", "annotations", VERDICT_ANNOTATION)
            is_used = verdict == "bad" or (verdict == "good" and key != keys[0])
            if is_used or text(newest, "metadata", "uid") in rejected:
                return Choice(number)
            return Choice(number, _usable(newest))
    return Choice(number)


def _number(rayjob: Manifest) -> int:
    number = text(rayjob, "metadata", "annotations", ATTEMPT_ANNOTATION)
    return int(number) if number.isdecimal() and len(number) <= _ATTEMPT_DIGITS else 0


def _usable(rayjob: Manifest) -> Found | None:
    job_status = text(rayjob, "status", "jobStatus")
    if job_status in {"FAILED", "STOPPED"}:
        return None
    state = read_rayjob(rayjob)
    if not isinstance(state, Ended):
        return Found(rayjob, is_complete=False)
    return Found(rayjob, is_complete=True) if state.status == "Complete" and job_status == "SUCCEEDED" else None

"""Which job an attempt of a step goes on with: one that an earlier attempt has submitted, or a new one."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import dagster as dg

from dagster_ray.core.cluster_step.worker import JOB_TAG
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._reattach import Attempt, CallIdentity, entries_of_run
from dagster_ray.pipes._submission import NONCE
from dagster_ray.pipes._verdicts import rejected_by_log
from dagster_ray.pipes.errors import JobNotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENDS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_UP_FOR_RETRY}


@dataclass(frozen=True, slots=True)
class EarlierAttempts:
    """What the log of a run shows of the jobs that earlier attempts of a step have submitted.

    Attributes:
        ended: The submission ids of those whose bodies have ended an attempt, without success. A later attempt must
            run the body again.
        rejected: The nonces of those that an attempt could not use, and the uids of the Kubernetes objects that were
            made for them.
    """

    ended: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()

    @property
    def first_number(self) -> int:
        """From which number on jobs of the step are of interest: the one after those that have ended.

        They may be on another cluster, which has no job of a lower number.
        """
        numbers = [submission_id.rpartition("-")[2] for submission_id in self.ended]
        return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)


def earlier_attempts(instance: dg.DagsterInstance, run_id: str, step_key: str) -> EarlierAttempts:
    """Return what the log of a run shows of earlier attempts of a step.

    An attempt whose process was killed has told nothing, and its job may go on: it is in neither set. What Dagster
    writes about such a process is no event of the job.
    """
    rejected = rejected_by_log(instance, (run_id,), step_key)
    return EarlierAttempts(ended_jobs(instance, run_id, step_key), rejected)


def ended_jobs(instance: dg.DagsterInstance, run_id: str, step_key: str) -> frozenset[str]:
    """Return `EarlierAttempts.ended` alone, which takes one pass over the run's log; the whole takes another one."""
    ended: set[str] = set()
    for entry in entries_of_run(instance, run_id, _ENDS):
        event = entry.dagster_event
        if event is not None and event.step_key == step_key:
            tags = cast("Mapping[str, str]", event.logging_tags or {})
            ended |= {tags[JOB_TAG]} if JOB_TAG in tags else set()
    return frozenset(ended)


def is_only_step(context: dg.OpExecutionContext) -> bool:
    """Return whether this process runs nothing after this attempt, as in all executors but the one within a process.

    That one runs the retries of its steps by itself.
    """
    step = context.get_step_execution_context()
    return len(step.execution_plan.step_keys_to_execute) == 1 and not step.retry_mode.enabled


def choose_job(identity: CallIdentity, first: int, jobs: Sequence[JobDetails], rejected: Container[str]) -> Attempt:
    """Return which job an attempt is about, given those that the cluster has, from the number `first` on. Pure.

    One that runs, waits or has succeeded is followed. One that has failed or was stopped, or that an attempt could not
    use, is not: its body has not come to an end that anybody was told.
    """
    run_id = identity.runs[0]
    if jobs:
        newest = jobs[-1]
        if newest.status not in {"FAILED", "STOPPED"} and newest.metadata.get(NONCE, "") not in rejected:
            return Attempt(identity.submission_id(run_id, first + len(jobs) - 1), newest)
    return Attempt(identity.submission_id(run_id, first + len(jobs)))


def find_job(client: RayJobClient, identity: CallIdentity, earlier: EarlierAttempts) -> Attempt:
    """Ask a cluster's job server which job an attempt is about."""
    first, found = earlier.first_number, list[JobDetails]()
    while (job := _job(client, identity.submission_id(identity.runs[0], first + len(found)))) is not None:
        found.append(job)
    return choose_job(identity, first, found, earlier.rejected)


def _job(client: RayJobClient, submission_id: str) -> JobDetails | None:
    try:
        return client.details(submission_id)
    except JobNotFoundError:
        return None

"""Whether a step that runs as a Ray job can still come to its end. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from dagster_ray.core import DagsterRayError
from dagster_ray.pipes._driver_errors import DriverEventsMissingError
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes.errors import JobLostError, JobServerUnavailableError, RayJobFailedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the job of a step has seen.

    Attributes:
        details: What the job server says of it; None: it said nothing, or has no such job.
        is_missing: Whether the server says that it has no such job.
        node_is_dead: Whether the node of its driver is dead, whatever its status says.
        away_seconds: For how long the server has not answered; 0 if it has just answered.
        away_reason: How it does not.
    """

    details: JobDetails | None = None
    is_missing: bool = False
    node_is_dead: bool = False
    away_seconds: float = 0.0
    away_reason: str = ""


def fault_of(
    submission_id: str, address: str, look: Look, server_timeout: float, has_ended: Callable[[], bool]
) -> DagsterRayError | None:
    """Return why a step will never end by itself; None if it may, and while that is unknown.

    The event that ends a step is written before its job ends. So the event log is read after the job's status, and a
    step whose event is there has ended well or badly, but by itself.

    Args:
        submission_id: The step's job.
        address: The job server.
        look: What was seen of the job, before this call.
        server_timeout: Seconds for which the server may be away.
        has_ended: Reads the event log: whether it has the event that ends the step.
    """
    fault = _fault(submission_id, address, look, server_timeout)
    return None if fault is None or has_ended() else fault


def _fault(submission_id: str, address: str, look: Look, server_timeout: float) -> DagsterRayError | None:
    if look.is_missing:
        reason = "its cluster has forgotten it, as a head does that was restarted"
        return JobLostError(submission_id, address, reason)
    if look.details is not None:
        return _fault_of_job(submission_id, address, look.details, look.node_is_dead)
    if look.away_seconds <= server_timeout:
        return None
    call = f"the status of {submission_id}"
    return JobServerUnavailableError(address, call, look.away_seconds, look.away_reason, "server_timeout")


def _fault_of_job(submission_id: str, address: str, job: JobDetails, node_is_dead: bool) -> DagsterRayError | None:
    if job.status == "SUCCEEDED":
        return DriverEventsMissingError(submission_id, job.status, "", ())
    if job.is_over:
        return RayJobFailedError(submission_id, job.status, _words_of(job), job.exit_code, (), "Ray's dashboard")
    if node_is_dead:
        return JobLostError(submission_id, address, f"the node {job.node_id} of its driver is dead")
    return None


def _words_of(job: JobDetails) -> str:
    """Return Ray's message; of a job that has never started, with what it waited for."""
    if job.node_id is not None or not job.requested:
        return job.message
    first, _, more = job.message.partition("\n")
    return f"{first.rstrip('. ')}; it requested {job.requested}\n{more}".rstrip()

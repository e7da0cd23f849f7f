"""What a step does with each job that it has submitted: it names it, tells its status, and can stop it."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from typing_extensions import Protocol

from dagster_ray.core import Deadline, WaitLines, is_of_this_machine
from dagster_ray.pipes._agent import AgentRoute
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._reattach import CallIdentity
from dagster_ray.pipes._submission import NONCE
from dagster_ray.pipes._verdicts import PREFIX, Verdict
from dagster_ray.pipes.errors import JobNotFoundError, JobServerUnavailableError

FILE_KEY = "dagster-ray/messages"
"""Metadata of a job: the file that its step reads."""
_LOOK_SECONDS = 0.5
_LINK_KEY = "dagster_ray/dashboard"


def _identity_route(url: str) -> str | None:
    return url


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job runs.

    Args:
        client: The job server.
        route: Where an agent is reached from here.
        trusts_agents: Whether what is reached there is the cluster's for certain, so that it may see Ray's token.
        check: Called twice a second while the job runs; raises if the job's cluster is gone.
        metadata: More metadata of the results.
        has_link: Whether the client's address means anything to people: a port-forward's does not.
        uid: The uid of the Kubernetes object that was made for the job; None: there is none.
        submitted: Called with the submission id once the job is there.
        judged: Called with what the step concludes about the job; for a body in the cluster as soon as its last event
            is known, while its process still tears down.
        pending: Returns what is known of the reason why the job still waits; empty if nothing is. Called rarely.
        explained: Called with the error that ends the step; returns it with what is known of the cluster.
        figures: Returns figures of the cluster until now, for the metadata of what the job makes. Does not raise.
        variables: Names of the Pipes variables that the cluster's processes have already, so that the job's
            runtime_env must not contain them.
    """

    client: RayJobClient
    route: AgentRoute = _identity_route
    trusts_agents: bool = False
    check: Callable[[], None] = lambda: None
    metadata: Mapping[str, dg.MetadataValue[Any]] = field(default_factory=dict[str, dg.MetadataValue[Any]])
    has_link: bool = True
    uid: str | None = None
    submitted: Callable[[str], None] = lambda _: None
    judged: Callable[[Verdict], None] = lambda _: None
    pending: Callable[[], str] = lambda: ""
    explained: Callable[[Exception], Exception] = lambda error: error
    figures: Callable[[], Mapping[str, dg.MetadataValue[Any]]] = dict
    variables: frozenset[str] = frozenset()


def job_metadata(
    run: dg.DagsterRun | None, identity: CallIdentity, given: Mapping[str, str], file: str | None = None
) -> dict[str, str]:
    """Return the metadata of a job: whose it is, what the user says, and what a later attempt relies on.

    Args:
        run: The run of the step; None if the asset or op was called directly.
        identity: Who submits.
        given: The user's own metadata.
        file: Where the job writes what the step reads; None: nowhere.
    """
    known = {} if run is None else {key: text for key, text in run.dagster_execution_info.items() if text}
    named = {"job_name": identity.step_key}  # what Ray shows of the driver; unset, the submission id
    own = identity.metadata if file is None else {**identity.metadata, FILE_KEY: file}
    return {**named, **known, "dagster/step-key": identity.step_key, **given, **own}


def named_job(place: Place, submission_id: str, *, in_event: bool = True) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata that name a job and link to it.

    Args:
        place: Where it runs.
        submission_id: The job.
        in_event: Whether they are shown in an event of the step. Otherwise they are kept with an asset.
    """
    url = f"{place.client.address}/#/jobs/{submission_id}" if place.has_link else None
    return {
        **place.metadata,
        f"{PREFIX}submission_id": dg.MetadataValue.text(submission_id),
        **dashboard_link(url, in_event=in_event),
    }


class StatusLines:
    """Logs one line for each change of a job's status, and one from time to time while the job cannot start."""

    def __init__(
        self,
        submission_id: str,
        log: logging.Logger,
        since: float | None = None,
        pending: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            submission_id: The job.
            log: Where lines go.
            since: Since when it is waited for, by the clock. None: now.
            pending: Returns what is known of the reason why it still waits.
            clock: A monotonic clock.
        """
        self._submission_id, self._log, self._lines, self._pending = submission_id, log, WaitLines(), pending
        self._clock = clock
        self._since = clock() if since is None else since

    def tell(self, details: JobDetails | None) -> None:
        """Take what the job server said last, and log it if that is due."""
        if details is None:
            return
        seconds = self._clock() - self._since
        line = self._lines.due(details.status, seconds)
        if line is None or (line == "still" and details.status != "PENDING"):
            return
        still = "still " if line == "still" else ""
        requested = f"it requests {details.requested}" if details.requested else ""
        known = [*details.message.strip().splitlines()[:1], *([requested, self._pending()] if still else ())]
        words = f" ({'; '.join(each for each in known if each)})" if any(known) else ""
        self._log.info(
            "The Ray job %s is %s after %.1f s%s", self._submission_id, f"{still}{details.status}", seconds, words
        )


class StoppableJobs(Protocol):
    """What it takes to stop a job: a job server, or what stands for it."""

    def details(self, submission_id: str, *, timeout: float | None = None) -> JobDetails:
        """Return what is known of a job.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def stop(self, submission_id: str, *, timeout: float | None = None) -> bool:
        """Ask a job to end; return whether there was something to stop.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...


def stop_job(client: StoppableJobs, submission_id: str, nonce: str, seconds: float, log: logging.Logger) -> bool:
    """Stop a job, if its metadata contain `nonce`, and wait for its end.

    A submission whose answer was lost may still arrive, so a job that is not there is looked for a few seconds. So long
    a job server may be away, too.

    Returns:
        Whether it was asked to stop.

    Raises:
        DagsterRayError: The job server does not answer.
    """
    deadline, asked = Deadline(seconds), False
    missing = Deadline(min(5.0, seconds))
    while True:
        try:
            details = client.details(submission_id, timeout=max(1.0, deadline.remaining_seconds()))
            if details.metadata.get(NONCE) != nonce:
                log.info("The Ray job %s was submitted by somebody else, so it is not stopped.", submission_id)
                return asked
            if details.is_over:
                log.info("The Ray job %s has ended as %s.", submission_id, details.status)
                return asked
            if not asked:
                client.stop(submission_id, timeout=max(1.0, deadline.remaining_seconds()))
                asked = True
                continue
        except JobNotFoundError:
            if missing.is_over():
                return asked
        except JobServerUnavailableError:
            if missing.is_over():
                raise
        if not deadline.sleep(_LOOK_SECONDS):
            log.warning(
                "The Ray job %s did not end within %g s after it was asked to stop. Ray stops a job that waits for "
                "resources only when it is scheduled.",
                submission_id,
                seconds,
            )
            return asked


def dashboard_link(url: str | None, *, in_event: bool) -> dict[str, dg.MetadataValue[Any]]:
    """Return metadata with a link to Ray's dashboard, if there is one to show.

    A link to an address of this machine is dead once the step has ended, and may later open what another step runs. It
    is shown while it is good, and never kept with an asset.

    Args:
        url: The link; None: there is no dashboard.
        in_event: Whether it is shown in an event of the step. Otherwise it is kept with an asset.
    """
    if url is None:
        return {}
    if not is_of_this_machine(url):
        return {_LINK_KEY: dg.MetadataValue.url(url)}
    return {_LINK_KEY: dg.MetadataValue.text(f"{url} (while the step runs)")} if in_event else {}

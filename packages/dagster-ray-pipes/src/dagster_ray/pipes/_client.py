"""`PipesRayJobClient`: Pipes for any Ray job server."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self, get_args, get_type_hints

import dagster as dg
from dagster import PipesClient, PipesContextInjector, PipesEnvContextInjector
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from typing_extensions import override

from dagster_ray.core import BaseRayResource, StepContext, require_ray_resource
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.core.step_report.config import Progress
from dagster_ray.core.variables import TEXT_MAPS, plain_value, resolved, variable_of, variables
from dagster_ray.pipes._follower import Patience
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._job_run import CompletedRayJob, JobRun, RequireMessages, RunSettings, check_context
from dagster_ray.pipes._reader import MessageChannel
from dagster_ray.pipes._reattach import (
    Attempt,
    CallIdentity,
    call_identity,
    choose,
    choose_numbered,
    is_of_step,
    numbered,
)
from dagster_ray.pipes._submission import RayJob, checked_job
from dagster_ray.pipes._submitted_job import Place
from dagster_ray.pipes._verdicts import rejected_jobs
from dagster_ray.pipes.errors import JobExistsError, JobNotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The options of a Pipes client, perhaps as references to variables; a client with more of them inherits.

    The fields are the keyword parameters of `PipesRayJobClient`, which has their defaults and says what they mean.
    """

    context_injector: PipesContextInjector | None
    forward_termination: bool
    termination_timeout: float
    require_messages: RequireMessages
    message_channel: MessageChannel
    forward_logs: bool
    server_timeout: float
    progress: Progress
    retry_infrastructure: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidFieldError if `progress` is neither a variable nor one of its values."""
        known = get_args(Progress)
        if variable_of(self.progress) is None and self.progress not in known:
            raise InvalidFieldError("progress", f"is {self.progress!r}", f"use one of: {', '.join(known)}")

    @property
    def are_known(self) -> bool:
        """Whether no option waits for a variable, so that all can be checked at once."""
        return not any(variables(self.given()))

    def given(self) -> dict[str, Any]:
        """Return the options by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_values(self, environ: Mapping[str, str]) -> Self:
        """Return options that hold the values of their variables.

        Raises:
            MissingVariableError, InvalidVariableError: A variable is not set, or is not of the option's type.
        """
        hints = get_type_hints(type(self))
        return replace(
            self,
            **{
                name: resolved(value, environ, name)
                if name in TEXT_MAPS
                else plain_value(value, hints[name], environ, name)
                for name, value in self.given().items()
            },
        )

    def run_settings(self) -> RunSettings:
        """Return the settings of a run, as the options say; none of them waits for a variable any more."""
        return RunSettings(
            forward_termination=self.forward_termination,
            termination_seconds=self.termination_timeout,
            require_messages=self.require_messages,
            message_channel=self.message_channel,
            forward_logs=self.forward_logs,
            patience=Patience(server_seconds=self.server_timeout),
            progress=self.progress,
        )


class RayPipesClient(PipesClient, TreatAsResourceParam):
    """What the Pipes clients of dagster-ray have in common; for annotations of assets that run anywhere."""

    @abstractmethod
    @override
    def run(  # pyright: ignore[reportIncompatibleMethodOverride] - each Pipes client has parameters of its own
        self, *, context: StepContext, ray_job: Mapping[str, Any], extras: Mapping[str, Any] | None = None
    ) -> CompletedRayJob:
        """Run a Ray job to its end and return its results."""
        raise NotImplementedError


class PipesRayJobClient(RayPipesClient):
    """Runs Ray jobs with Pipes on any Ray job server.

    Each message and each line of the log arrives once; a step that died finds its job again when it is retried.
    One client may serve several steps of a process at once.

    Args:
        client: The job server; or its address, `http://host:port` of Ray's dashboard.
        address: The address, by name.
        context_injector: How the Pipes context is passed. None: in an environment variable.
        forward_termination: Whether the job is stopped when the step is interrupted. False: it continues, and a retry
            of the step follows it.
        termination_timeout: Seconds that a job has to end after it was asked to stop.
        require_messages: if_opened: a job that succeeds must close the Pipes session that it has opened. always: it
            must open one, too. never: what is missing is a warning.
        message_channel: How messages arrive. file: in a file of Ray's log folder. log: in the driver's log. auto: in
            a file if the dashboard reports the folder.
        forward_logs: Whether the driver's log goes to the step's compute log.
        server_timeout: Seconds for which a job server that has answered may be unavailable: while a job is submitted,
            and while it runs. Until it has answered, `timeout` of the `RayJobClient` holds.
        progress: What becomes of the progress of Ray Data and Ray Train. report: a line in the run's log at most once a
            minute, and a table at the end. bars: Ray's own progress bars and colors, in the job's log. off: neither.
            The bars of a job are switched off by `off` only.
        retry_infrastructure: How often a step is tried again because infrastructure failed: the job's node was lost,
            or the job server was away. A job that fails by itself is never retried by this.

    Raises:
        InvalidFieldError: Neither a client nor an address is given, or both; or `progress` has no such value.
    """

    def __init__(
        self,
        client: RayJobClient | str | None = None,
        *,
        address: str | None = None,
        context_injector: PipesContextInjector | None = None,
        forward_termination: bool = True,
        termination_timeout: float = 30.0,
        require_messages: RequireMessages = "if_opened",
        message_channel: MessageChannel = "auto",
        forward_logs: bool = True,
        server_timeout: float = 1800.0,
        progress: Progress = "report",
        retry_infrastructure: int = 0,
    ) -> None:
        """Take where jobs run; nothing is sent yet."""
        found = client if client is not None else address
        if found is None or (client is not None and address is not None):
            reason = "is missing" if found is None else "and `address` are both given"
            raise InvalidFieldError("client", reason, "give exactly one of `client` and `address`")
        if isinstance(retry_infrastructure, int) and retry_infrastructure < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidFieldError("retry_infrastructure", f"is {retry_infrastructure}", "give 0 or more")
        self._client = found if isinstance(found, RayJobClient) else RayJobClient(found)
        self._options = ClientOptions(
            context_injector=context_injector,
            forward_termination=forward_termination,
            termination_timeout=termination_timeout,
            require_messages=require_messages,
            message_channel=message_channel,
            forward_logs=forward_logs,
            server_timeout=server_timeout,
            progress=progress,
            retry_infrastructure=retry_infrastructure,
        )

    @override
    def run(
        self, *, context: StepContext, ray_job: RayJob | Mapping[str, Any], extras: Mapping[str, Any] | None = None
    ) -> CompletedRayJob:
        """Submit a job, follow it to its end and return its results.

        Args:
            context: The context of the asset or op.
            ray_job: The job: the parameters of Ray's job API.
            extras: What the job finds in its Pipes context.

        Raises:
            InvalidFieldError: `ray_job` has a wrong field; nothing was sent.
            PipesContextTooLargeError: The Pipes context does not fit; nothing was sent.
            JobExistsError: A job of another step or run has the `submission_id` that `ray_job` chooses.
            RayJobFailedError: The job has failed or was stopped.
            PipesMessagesMissingError: The job succeeded, but its Pipes session was not heard to its end.
            JobLostError: The job's node or cluster is gone.
            JobServerUnavailableError: The job server was away too long.
            dg.RetryRequested: Infrastructure failed, and `retry_infrastructure` allows another attempt.
        """
        from dagster_ray.core.failures.launcher import failures_told

        options = self._options.with_values(os.environ)
        with failures_told(context, lambda: self._client.address, options.retry_infrastructure):
            job = checked_job(ray_job)
            check_context(context, extras, options.context_injector)
            identity = call_identity(context, job, extras)
            settings = options.run_settings()
            client = self._client.patient(settings.patience.server_seconds)
            attempt = find_attempt(client, context, identity, job.get("submission_id"))
            run = JobRun(Place(client), context, settings, identity)
            return run.run(attempt, job, extras, options.context_injector or PipesEnvContextInjector())

    @classmethod
    def on_cluster(
        cls,
        resource_key: str = "ray_cluster",
        *,
        context_injector: PipesContextInjector | None = None,
        forward_termination: bool = True,
        termination_timeout: float = 30.0,
        require_messages: RequireMessages = "if_opened",
        message_channel: MessageChannel = "auto",
        forward_logs: bool = True,
        server_timeout: float = 1800.0,
        progress: Progress = "report",
        retry_infrastructure: int = 0,
    ) -> dg.ResourceDefinition:
        """Return a client of the cluster that another resource gives to the step, such as `LocalRay()`.

            resources={"ray_cluster": LocalRay(), "ray_pipes_client": PipesRayJobClient.on_cluster("ray_cluster")}

        Args:
            resource_key: The key of the other resource.
            context_injector: As for the constructor.
            forward_termination: As for the constructor.
            termination_timeout: As for the constructor.
            require_messages: As for the constructor.
            message_channel: As for the constructor.
            forward_logs: As for the constructor.
            server_timeout: As for the constructor.
            progress: As for the constructor.
            retry_infrastructure: As for the constructor.
        """
        options = ClientOptions(
            context_injector=context_injector, forward_termination=forward_termination,
            termination_timeout=termination_timeout, require_messages=require_messages,
            message_channel=message_channel, forward_logs=forward_logs, server_timeout=server_timeout,
            progress=progress, retry_infrastructure=retry_infrastructure,
        )  # fmt: skip

        def client_of(context: dg.InitResourceContext) -> Iterator[PipesRayJobClient]:
            cluster: object = getattr(context.resources, resource_key)
            url = require_ray_resource(cluster, where=f"the resource {resource_key}").dashboard_url
            if url is None:
                reason = f"is {resource_key!r}, whose cluster has no dashboard"
                raise InvalidFieldError("resource_key", reason, "start that cluster with its dashboard")
            needs: Mapping[str, str] = cluster.driver_environment() if isinstance(cluster, BaseRayResource) else {}
            with RayJobClient(url, token=needs.get("RAY_AUTH_TOKEN")) as client:
                yield cls(client, **options.given())

        return dg.ResourceDefinition(
            resource_fn=client_of,
            required_resource_keys={resource_key},
            description=f"Pipes on the Ray cluster of the resource {resource_key}.",
        )


def find_attempt(
    client: RayJobClient, context: StepContext, identity: CallIdentity, submission_id: str | None = None
) -> Attempt:
    """Ask a job server which job a call is about.

    Args:
        client: The job server.
        context: The context of the step.
        identity: Who calls.
        submission_id: The id that the user has chosen; None: one is derived from the call.

    Raises:
        JobExistsError: A job of another step or run has the chosen id.
    """

    def rejected() -> frozenset[str]:
        return rejected_jobs(context, identity)

    if submission_id is not None:
        jobs = _numbered_jobs(client, identity, submission_id)
        return choose_numbered(identity, submission_id, jobs, rejected)
    return choose(identity, [(run_id, _jobs(client, identity, run_id)) for run_id in identity.runs], rejected)


def _jobs(client: RayJobClient, identity: CallIdentity, run_id: str) -> list[JobDetails]:
    found: list[JobDetails] = []
    while (job := _job(client, identity.submission_id(run_id, len(found)))) is not None:
        found.append(job)
    return found


def _numbered_jobs(client: RayJobClient, identity: CallIdentity, submission_id: str) -> list[JobDetails]:
    found: list[JobDetails] = []
    while (job := _job(client, name := numbered(submission_id, len(found)))) is not None:
        if not is_of_step(identity, job):
            raise JobExistsError(client.address, name)
        found.append(job)
    return found


def _job(client: RayJobClient, submission_id: str) -> JobDetails | None:
    try:
        return client.details(submission_id)
    except JobNotFoundError:
        return None

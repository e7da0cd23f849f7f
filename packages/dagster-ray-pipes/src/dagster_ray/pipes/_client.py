"""`PipesRayJobClient`: Pipes for any Ray job server."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypedDict, get_type_hints

import dagster as dg
from dagster import PipesClient, PipesContextInjector, PipesEnvContextInjector
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from typing_extensions import Unpack, override

from dagster_ray.core import require_ray_resource
from dagster_ray.core.errors import UnknownFieldError
from dagster_ray.core.variables import TEXT_MAPS, plain_value, resolved, variables
from dagster_ray.pipes._follower import Patience
from dagster_ray.pipes._invocation import CompletedRayJob
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._job_run import JobRun, Place, RequireMessages, RunSettings, check_context
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
from dagster_ray.pipes._step_context import StepContext
from dagster_ray.pipes._submission import RayJob, checked_job
from dagster_ray.pipes._verdicts import rejected_jobs
from dagster_ray.pipes.errors import InvalidSubmissionError, JobExistsError, JobNotFoundError


class ClientOptions(TypedDict, total=False):
    """What the Pipes clients of dagster-ray take.

    Keys:
        context_injector: How the Pipes context travels. Unset: in an environment variable.
        forward_termination: Whether the job is stopped when the step is interrupted. False: it goes on, and a retry of
            the step follows it.
        termination_timeout: Seconds that a job has to end after it was asked to stop.
        require_messages: if_opened: a job that succeeds must close the Pipes session that it has opened. always: it
            must open one, too. never: what is missing is a warning.
        message_channel: Where messages travel. file: in a file of Ray's log folder. log: in the driver's log. auto: in
            a file where the dashboard tells the folder.
        forward_logs: Whether the driver's log goes to the step's compute log.
        server_timeout: Seconds for which a job server that has answered may be away: while a job is submitted, and
            while it runs. Until it has answered, `timeout` of the `RayJobClient` holds.
    """

    context_injector: PipesContextInjector | None
    forward_termination: bool
    termination_timeout: float
    require_messages: RequireMessages
    message_channel: MessageChannel
    forward_logs: bool
    server_timeout: float


def with_values_of(options: Mapping[str, Any], kind: type[Any]) -> Any:
    """Return the options of a client with what the variables of this process say in place of references.

    Args:
        options: The options.
        kind: The TypedDict that has their types.

    Raises:
        UnknownFieldError: There is no option of a name.
        MissingVariableError, InvalidVariableError: A variable is not set, or is not of the option's type.
    """
    hints = get_type_hints(kind)
    for name in options:
        if name not in hints:
            near = get_close_matches(name, hints, n=1)
            raise UnknownFieldError("The Pipes client", name, near[0] if near else None, tuple(hints))
    return {
        name: resolved(value, os.environ, name)
        if name in TEXT_MAPS
        else plain_value(value, hints[name], os.environ, name)
        for name, value in options.items()
    }


def settings_of(given: ClientOptions) -> RunSettings:
    """Return the settings of a run, as a client's options say."""
    options: ClientOptions = with_values_of(given, ClientOptions)
    return RunSettings(
        forward_termination=options.get("forward_termination", True),
        termination_seconds=options.get("termination_timeout", 30.0),
        require_messages=options.get("require_messages", "if_opened"),
        message_channel=options.get("message_channel", "auto"),
        forward_logs=options.get("forward_logs", True),
        patience=Patience(server_seconds=options.get("server_timeout", 1800.0)),
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
        options: See `ClientOptions`.

    Raises:
        InvalidSubmissionError: Neither a client nor an address is given, or both.
    """

    def __init__(
        self,
        client: RayJobClient | str | None = None,
        *,
        address: str | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        """Take where jobs run; nothing is sent yet."""
        found = client if client is not None else address
        if found is None or (client is not None and address is not None):
            raise InvalidSubmissionError("client", "must be given, or `address`: exactly one of them")
        self._client = found if isinstance(found, RayJobClient) else RayJobClient(found)
        self._injector = options.get("context_injector")
        self._options = options
        if not any(variables(options)):
            settings_of(options)

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
            InvalidSubmissionError: `ray_job` has a wrong field; nothing was sent.
            PipesContextTooLargeError: The Pipes context does not fit; nothing was sent.
            JobExistsError: A job of another step or run has the `submission_id` that `ray_job` chooses.
            RayJobFailedError: The job has failed or was stopped.
            PipesMessagesMissingError: The job succeeded, but its Pipes session was not heard to its end.
            JobLostError: The job's node or cluster is gone.
            JobServerUnavailableError: The job server was away too long.
        """
        job = checked_job(ray_job)
        check_context(context, extras, self._injector)
        identity = call_identity(context, job, extras)
        settings = settings_of(self._options)
        client = self._client.patient(settings.patience.server_seconds)
        attempt = find_attempt(client, context, identity, job.get("submission_id"))
        run = JobRun(Place(client), context, settings, identity)
        return run.run(attempt, job, extras, self._injector or PipesEnvContextInjector())

    @classmethod
    def on_cluster(cls, resource_key: str = "ray_cluster", **options: Unpack[ClientOptions]) -> dg.ResourceDefinition:
        """Return a client of the cluster that another resource gives to the step, such as `LocalRay()`.

            resources={"ray_cluster": LocalRay(), "ray_pipes_client": PipesRayJobClient.on_cluster("ray_cluster")}

        Args:
            resource_key: The key of the other resource.
            options: What the client's constructor takes, without an address.
        """

        def client_of(context: dg.InitResourceContext) -> Iterator[PipesRayJobClient]:
            cluster: object = getattr(context.resources, resource_key)
            url = require_ray_resource(cluster, where=f"the resource {resource_key}").dashboard_url
            if url is None:
                raise InvalidSubmissionError("resource_key", f"is {resource_key!r}, whose cluster has no dashboard")
            with RayJobClient(url) as client:
                yield cls(client, **options)

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

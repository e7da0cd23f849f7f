"""One run of a Pipes client: a job from its submission to its last message."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias, cast

import dagster as dg
from dagster import (
    AssetCheckResult,
    MaterializeResult,
    PipesContextInjector,
    PipesEnvContextInjector,
    PipesSession,
    open_pipes_session,
)
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster._core.pipes.context import build_external_execution_context_data
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, encode_param

from dagster_ray.core import (
    DagsterRayError,
    StepContext,
    interrupts_deferred,
    is_interrupt,
    log_of,
    lost_interrupts_raised,
    run_of,
)
from dagster_ray.core.step_report.config import Progress
from dagster_ray.pipes._follower import JobFollower, Patience
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._job_progress import driver_variables, progress_reported
from dagster_ray.pipes._reader import MessageChannel, PipesRayJobMessageReader, message_file
from dagster_ray.pipes._reattach import SUBMITTING, Attempt, CallIdentity, delivered_logs
from dagster_ray.pipes._runtime_env import unknown_keys
from dagster_ray.pipes._submission import NONCE
from dagster_ray.pipes._submitted_job import FILE_KEY, Place, StatusLines, job_metadata, named_job, stop_job
from dagster_ray.pipes._verdicts import JOB_KEY, OBJECT_KEY, PREFIX, Verdict, report_event, report_verdict
from dagster_ray.pipes.errors import (
    JobExistsError,
    JobLostError,
    JobNotFoundError,
    PipesContextTooLargeError,
    PipesMessagesMissingError,
    RayJobFailedError,
    SubmissionRefusedError,
)

CONTEXT_VARIABLE = DAGSTER_PIPES_CONTEXT_ENV_VAR
"""The environment variable in which a job finds its Pipes context."""
CONTEXT_LIMIT_BYTES = 96 * 1024
"""Linux refuses an environment variable of 128 KiB with its name; the shell of the entrypoint needs room as well."""
RequireMessages = Literal["never", "if_opened", "always"]
Result: TypeAlias = MaterializeResult[Any] | AssetCheckResult
_LOOK_SECONDS = 0.5


class CompletedRayJob(PipesClientCompletedInvocation, tuple[Result, ...]):
    """What a Pipes client returns: the results of a job that has succeeded.

    It is the tuple of its results, so an asset may return it as it is: Dagster takes each result of a returned tuple.
    `get_results`, `get_materialize_result`, `get_asset_check_result` and `get_custom_messages` return what they
    return for every Pipes client.
    """

    def __new__(cls, session: PipesSession, metadata: Mapping[str, Any]) -> Self:
        """Take the session, whose messages are all there, and metadata that each result gets."""
        results = cast("Any", PipesClientCompletedInvocation(session, metadata)).get_results()
        return super().__new__(cls, cast("Sequence[Result]", results))

    def __init__(self, session: PipesSession, metadata: Mapping[str, Any]) -> None:
        """Keep the session, which `get_results` and the others ask."""
        super().__init__(session, metadata)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a Pipes client was made with."""

    forward_termination: bool = True
    termination_seconds: float = 30.0
    """Seconds that a job has to end after it was asked to stop."""
    require_messages: RequireMessages = "if_opened"
    message_channel: MessageChannel = "auto"
    forward_logs: bool = True
    patience: Patience = field(default_factory=Patience)
    """For how long a job server may be away."""
    progress: Progress = "report"

    def leaves_job(self, error: BaseException) -> bool:
        """Return whether the job outlives a step that `error` ends: one that is interrupted, without forwarding."""
        interrupted = is_interrupt(error) or isinstance(error, (SystemExit, GeneratorExit))
        return interrupted and not self.forward_termination


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise PipesContextTooLargeError if an environment variable is too large for the job."""
    for name, value in variables.items():
        if len(value) > CONTEXT_LIMIT_BYTES:
            raise PipesContextTooLargeError(name, len(value), CONTEXT_LIMIT_BYTES)


def check_context(
    context: StepContext, extras: Mapping[str, Any] | None, injector: PipesContextInjector | None = None
) -> None:
    """Raise PipesContextTooLargeError if the Pipes context is too large for an environment variable.

    To be called before anything is created; the session itself is opened later.

    Args:
        context: The context of the step.
        extras: What the job's Pipes context carries.
        injector: How the context travels. None: in an environment variable. Where it travels in another way, only the
            variables that the session makes count, when it is open.
    """
    if injector is None or isinstance(injector, PipesEnvContextInjector):
        context_text(context, extras)


def context_text(context: StepContext, extras: Mapping[str, Any] | None) -> str:
    """Return the Pipes context as the value of `CONTEXT_VARIABLE`.

    Args:
        context: The context of the step.
        extras: What the job's Pipes context carries.

    Raises:
        PipesContextTooLargeError: It is too large for an environment variable.
    """
    text = encode_param({"data": build_external_execution_context_data(context, extras)})
    check_variables({CONTEXT_VARIABLE: text})
    return text


class JobRun:
    """Submits, follows and judges one job."""

    def __init__(self, place: Place, context: StepContext, settings: RunSettings, identity: CallIdentity) -> None:
        """Take where the job runs, the step, the client's settings and who calls."""
        self._place, self._client = place, place.client
        self._context, self._settings, self._identity = context, settings, identity
        self._log = log_of(context)
        self._nonce: str | None = None
        """What the metadata of the job contain that this run may stop; None: nothing that is ours was sent."""
        self._started = time.monotonic()

    def run(
        self,
        attempt: Attempt,
        job: Mapping[str, Any],
        extras: Mapping[str, Any] | None,
        injector: PipesContextInjector,
        on_submitted: Callable[[str], None] = lambda _: None,
    ) -> CompletedRayJob:
        """Run a job to its end and return its results.

        Args:
            attempt: Which job it is, and whether it is there already.
            job: What `checked_job` returned.
            extras: What the job's Pipes context carries.
            injector: How the context travels.
            on_submitted: Called with the submission id once the job is there.
        """
        reader = self._reader(attempt)
        session_of = open_pipes_session(self._context, injector, reader, extras)
        try:
            with session_of as session:
                try:
                    self._submit(attempt, job, session, reader)
                    on_submitted(attempt.submission_id)
                    session.report_launched({"extras": {"submission_id": attempt.submission_id}})
                    details = self._follow(reader)
                except BaseException as error:
                    self._stop_if_wanted(attempt, reader, error)
                    raise
            self._judge(details, reader)
        except (RayJobFailedError, PipesMessagesMissingError, JobLostError) as error:
            self._conclude(attempt.submission_id, "bad", f"The step failed with {error.code}")
            raise
        self._conclude(attempt.submission_id, "good", "The step has read it to its end")
        return CompletedRayJob(session, self._metadata(details, reader))

    def _reader(self, attempt: Attempt) -> PipesRayJobMessageReader:
        settings, submission_id = self._settings, attempt.submission_id
        if attempt.existing is None:
            file = message_file(self._client, settings.message_channel, submission_id) or ""
            delivered = ()
        else:
            file = attempt.existing.metadata.get(FILE_KEY, "")
            delivered = delivered_logs(self._context, self._identity, submission_id, self._log)
        return PipesRayJobMessageReader(
            self._client,
            forward_logs=settings.forward_logs,
            patience=settings.patience,
            route=self._place.route,
            trusts_agents=self._place.trusts_agents,
            file=file,
            delivered=delivered,
        )

    def _submit(
        self, attempt: Attempt, job: Mapping[str, Any], session: PipesSession, reader: PipesRayJobMessageReader
    ) -> None:
        submission_id, address = attempt.submission_id, self._client.address
        if attempt.existing is not None:
            status = attempt.existing.status
            self._log.info("Following the Ray job %s on %s, which is %s already.", submission_id, address, status)
            self._nonce = attempt.existing.metadata.get(NONCE)
            said = f"The Ray job {submission_id} of an earlier attempt is followed."
            report_event(self._context, self._identity.step_key, said, self._named(submission_id, in_event=True))
            return
        there = self._place.variables
        variables = {name: text for name, text in session.get_bootstrap_env_vars().items() if name not in there}
        check_variables(variables)
        # Before the POST: the next attempt knows by this line which log messages came from the job.
        self._log.info("%s %s to %s.", SUBMITTING, submission_id, address)
        runtime_env = dict(job.get("runtime_env", {}))
        if unknown := unknown_keys(runtime_env):
            names = ", ".join(unknown)
            self._log.warning("Ray has no runtime_env key %s; only a plug-in of the cluster can use it.", names)
        own = runtime_env.get("env_vars", {})
        given = {name: text for name, text in own.items() if name not in there}
        runtime_env["env_vars"] = {**given, **driver_variables(self._settings.progress, own), **variables}
        metadata = job_metadata(run_of(self._context), self._identity, job.get("metadata", {}), reader.file)
        fields = {**job, "submission_id": submission_id, "runtime_env": runtime_env, "metadata": metadata}
        submission = self._client.prepare(fields)
        self._nonce = submission.nonce
        try:
            self._client.send(submission)
        except (JobExistsError, SubmissionRefusedError):
            self._nonce = None  # there is no job of ours
            raise
        said = f"The Ray job {submission_id} is submitted."
        report_event(self._context, self._identity.step_key, said, self._named(submission_id, in_event=True))

    def _follow(self, reader: PipesRayJobMessageReader) -> JobDetails:
        follower = reader.follower
        with progress_reported(self._settings.progress, self._client.server, follower, self._log) as tables:
            self._wait(follower)
            if follower.error is None:
                self._report(follower.submission_id, tables())  # while its files are read to their end
        follower.wait_drained()
        if follower.error is not None:
            raise follower.error
        if follower.details is None:
            raise JobNotFoundError(self._client.address, "")
        if follower.details.status == "STOPPED":
            self._place.check()  # an operator stops the job of a RayJob that somebody deletes
        return follower.details

    def _wait(self, follower: JobFollower) -> None:
        status = StatusLines(follower.submission_id, self._log, self._started)
        with lost_interrupts_raised() as raise_lost:
            while not follower.wait(_LOOK_SECONDS):
                raise_lost()
                status.tell(follower.details)
                self._place.check()
        status.tell(follower.details)

    def _report(self, submission_id: str, tables: Mapping[str, dg.MetadataValue[Any]]) -> None:
        if tables:
            metadata = {**self._named(submission_id, in_event=True), **tables}
            said = f"Progress of the Ray job {submission_id}."
            report_event(self._context, self._identity.step_key, said, metadata)

    # Ends

    def _judge(self, details: JobDetails, reader: PipesRayJobMessageReader) -> None:
        if reader.output.error is not None:
            error = reader.output.error
            self._log.warning("The log of %s is not whole in this step's output: %s", details.submission_id, error)
        if details.status != "SUCCEEDED":
            raise RayJobFailedError(
                details.submission_id, details.status, details.message, details.exit_code, reader.tail.lines
            )
        unread = reader.follower.unread
        if unread:
            self._log.warning("The log of %s could not be read to its end: %s", details.submission_id, unread)
        required = self._settings.require_messages
        unheard = not reader.opened if required == "always" else False
        unclosed = reader.opened and not reader.closed and required != "never"
        if unheard or unclosed or (unread and reader.opened and not reader.closed):
            reason = unread or "all that it wrote was read"
            advice = "find out why the last output could not be read, then run the step again" if unread else ""
            raise PipesMessagesMissingError(details.submission_id, reader.opened, reason, advice)

    def _stop_if_wanted(self, attempt: Attempt, reader: PipesRayJobMessageReader, error: BaseException) -> None:
        """Stop the job if it is ours, unless it is over or lost, or is to outlive an interrupted step."""
        if isinstance(error, JobLostError) or self._nonce is None:
            return  # there is nobody left to ask, or nothing to stop
        if self._settings.leaves_job(error):
            self._log.info("The Ray job %s goes on; a retry of the step will follow it.", attempt.submission_id)
            return
        with interrupts_deferred(redeliver=False):
            try:
                seconds = self._settings.termination_seconds
                if stop_job(self._client, attempt.submission_id, self._nonce, seconds, self._log):
                    self._conclude(attempt.submission_id, "bad", "The step has stopped it")
            except DagsterRayError as failed:
                self._log.warning("The Ray job %s could not be stopped: %s", attempt.submission_id, failed)
                return
            self._drain(reader)

    def _drain(self, reader: PipesRayJobMessageReader) -> None:
        """Read what a stopped job has left, within its patience."""
        try:
            follower = reader.follower
        except DagsterRayError:
            return  # it was never followed
        if follower.wait(self._settings.termination_seconds):
            follower.wait_drained()

    def _conclude(self, submission_id: str, verdict: Verdict, reason: str) -> None:
        """Record what this attempt concludes about its job, for later ones and for people."""
        marks = {JOB_KEY: self._nonce, OBJECT_KEY: self._place.uid}
        metadata: dict[str, dg.MetadataValue[Any]] = {
            **self._named(submission_id, in_event=True),
            **{key: dg.MetadataValue.text(mark) for key, mark in marks.items() if mark is not None},
        }
        message = f"{reason}: the Ray job {submission_id}."
        report_verdict(self._context, self._identity.step_key, verdict, message, metadata)
        self._place.judged(verdict)

    def _named(self, submission_id: str, *, in_event: bool) -> dict[str, dg.MetadataValue[Any]]:
        return named_job(self._place, submission_id, in_event=in_event)

    def _metadata(self, details: JobDetails, reader: PipesRayJobMessageReader) -> dict[str, dg.MetadataValue[Any]]:
        follower = reader.follower
        metadata = {**self._place.figures(), **self._named(details.submission_id, in_event=False)}
        if details.job_id is not None:
            metadata[f"{PREFIX}job_id"] = dg.MetadataValue.text(details.job_id)
        if follower.running_at is not None:
            queued = max(0.0, follower.running_at - self._started)
            metadata[f"{PREFIX}queued_seconds"] = dg.MetadataValue.float(round(queued, 3))
        if details.start_time is not None and details.end_time is not None:
            took = details.end_time - details.start_time
            metadata[f"{PREFIX}run_seconds"] = dg.MetadataValue.float(round(took, 3))
        return metadata

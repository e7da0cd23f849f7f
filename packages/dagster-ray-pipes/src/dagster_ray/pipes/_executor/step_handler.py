"""Submits the steps of a run as Ray jobs, watches them, and stops them."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import logging
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.context.system import StepOrchestrationContext
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from dagster_shared.error import SerializableErrorInfo
from typing_extensions import override

from dagster_ray.core import DagsterRayError
from dagster_ray.core.run_objects import entrypoint
from dagster_ray.pipes._driver_config import DriverConfig, config_of_tags
from dagster_ray.pipes._driver_errors import StepNotMovableError
from dagster_ray.pipes._executor.attempts import Attempt
from dagster_ray.pipes._executor.event_log import SUBMISSION_KEY, attempts_in_log
from dagster_ray.pipes._executor.health import fault_of
from dagster_ray.pipes._executor.run_launcher import STOP_WAIT
from dagster_ray.pipes._executor.step_places import StepPlaces, StepServer, WatchedPlace, WatchedPlaces
from dagster_ray.pipes._job_run import CONTEXT_LIMIT_BYTES
from dagster_ray.pipes._reattach import CallIdentity, is_of_step
from dagster_ray.pipes._submission import NONCE, Submission
from dagster_ray.pipes._submitted_job import StatusLines, job_metadata, named_job, stop_job
from dagster_ray.pipes.errors import JobLostError, JobNotFoundError, JobServerAnswerError, JobServerUnavailableError

TERMINATION_SECONDS = 30.0
_STOP_SECONDS = "25"
_STOPPERS = 256
_DIGEST = "the worker of the step"


@dataclass(frozen=True, slots=True)
class StepJobs:
    """How the jobs of steps are submitted.

    Args:
        driver: What each driver takes, unless the step's tag says otherwise.
        variables: Environment variables of each job.
        metadata: Metadata of each job.
        server_timeout: Seconds for which a job server that has answered may be away.
        look_seconds: Least seconds between two looks at a job, where Dagster asks more often.
    """

    driver: DriverConfig
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    server_timeout: float = 1800.0
    look_seconds: float = 0.0


@dataclass(slots=True)
class _StepJob:
    """The job of a step's last attempt.

    Attributes:
        identity: What the job's metadata say of the step.
        submission_id: The job.
        lines: Tells its status to the run's log.
        since: When its submission began, as a monotonic time.
        body: What is to be submitted; None: the job server has it.
        submission: What is sent; None: it is not prepared yet, or the job server has it.
        nonce: By what the job is known as ours; None: it is unknown, or nothing was sent.
        where: Where it is submitted; None while that is not known.
        is_placed: Whether an event of the step names its place.
        looked_at: When it was looked at last, as a monotonic time.
    """

    identity: CallIdentity
    submission_id: str
    lines: StatusLines
    since: float
    body: Mapping[str, Any] | None = None
    submission: Submission | None = None
    nonce: str | None = None
    where: WatchedPlace | None = None
    is_placed: bool = False
    looked_at: float = float("-inf")


class RayStepHandler(StepHandler):
    """Runs each step of one run as a Ray job: `dagster api execute_step`."""

    def __init__(self, places: StepPlaces, jobs: StepJobs, clock: Callable[[], float] = time.monotonic) -> None:
        """Take where steps are submitted, what is submitted there, and a monotonic clock."""
        self._jobs, self._clock = jobs, clock
        self._places = WatchedPlaces(places, clock)
        self._known: Mapping[str, Attempt] | None = None
        """What the event log had of the run when it was first asked: not empty if the run is resumed."""
        self._launched: dict[str, _StepJob] = {}
        self._stopping: dict[str, Future[None]] | None = None

    @property
    @override
    def name(self) -> str:
        """The name of the handler in the run's log."""
        return "RayStepHandler"

    # Submission

    @override
    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Submit a step. A step that cannot be submitted has failed, by its retry policy; the run goes on."""
        context, step = step_handler_context, step_of(step_handler_context)
        key = step.step.key
        number = self._next_number(context, key)
        identity = CallIdentity((context.dagster_run.run_id,), key, _DIGEST, 0)
        submission_id = identity.submission_id(context.dagster_run.run_id, number)
        job = _StepJob(identity, submission_id, StatusLines(submission_id, step.log, clock=self._clock), self._clock())
        self._find_place(job)  # what hinders it is told after the event that begins the attempt
        yield DagsterEvent.step_worker_starting(
            step, f"The step {key} runs as the Ray job {submission_id}.", _named(job)
        )
        try:
            job.body = self._body(context, identity, submission_id)
            self._launched[key] = job
            self._submit(job, step)
        except Exception as error:  # noqa: BLE001 - what hinders one step must not end the others
            yield failed_step(context, step, error)

    def _find_place(self, job: _StepJob) -> Exception | None:
        """Note where a job is to run, as far as that is known; return why it will run nowhere."""
        try:
            where = self._places.of(job.submission_id)
        except Exception as error:  # noqa: BLE001 - the step fails with it
            return error
        if where is not job.where:  # what was prepared for another cluster may lack its packages here
            job.where, job.submission = where, None
        return None

    def _next_number(self, context: StepHandlerContext, key: str) -> int:
        if (launched := self._launched.get(key)) is not None:
            return int(launched.submission_id.rpartition("-")[2]) + 1
        known = self._attempts(context).get(key)
        return 0 if known is None else known.number + 1

    def _attempts(self, context: StepHandlerContext) -> Mapping[str, Attempt]:
        if self._known is None:
            self._known = attempts_in_log(context.instance, context.dagster_run.run_id)
        return self._known

    def _body(self, context: StepHandlerContext, identity: CallIdentity, submission_id: str) -> dict[str, Any]:
        """Return what is submitted. Dagster's arguments travel in the environment, as its Kubernetes executor does it.

        They have the instance's `dagster.yaml` as it is: references to environment variables stay references.
        """
        arguments, key = context.execute_step_args, identity.step_key
        given = {each["name"]: each["value"] for each in arguments.get_command_env()}
        size = sum(map(len, given.values()))
        if size > CONTEXT_LIMIT_BYTES:
            reason = f"Dagster's arguments have {size} bytes; the job's environment can hold {CONTEXT_LIMIT_BYTES}"
            raise StepNotMovableError(f"The step {key}", reason, "split the job into jobs of fewer steps")
        config = self._jobs.driver.overridden_by(config_of_tags(context.step_tags[key], f"the step {key}"))
        own = {"DAGSTER_RUN_JOB_NAME": context.dagster_run.job_name, "DAGSTER_RUN_STEP_KEY": key, **given}
        variables = {STOP_WAIT: _STOP_SECONDS, **self._jobs.variables, **config.runtime_env.get("env_vars", {}), **own}
        return {
            **config.of_job,
            "entrypoint": shlex.join(arguments.get_command_args(skip_serialized_namedtuple=True)),
            "submission_id": submission_id,
            "runtime_env": {**config.runtime_env, "env_vars": variables},
            "metadata": job_metadata(context.dagster_run, identity, self._jobs.metadata),
        }

    def _submit(self, job: _StepJob, step: StepOrchestrationContext) -> None:
        """Submit a job; if its place is not up, or the server is away, the next look at the step tries again.

        The id is fixed, and what is sent stays the same, so that a job whose answer was lost does not run twice.
        """
        if job.body is None:
            return
        if (hindrance := self._find_place(job)) is not None:
            raise hindrance
        where = job.where
        if where is None or not where.watch.may_ask():
            return
        try:
            where.place.check()
            job.submission = job.submission or where.client.prepare(job.body)
            job.nonce = job.submission.nonce
            where.client.send(job.submission)
        except JobLostError:
            job.nonce = None  # the next look finds another place, if there is to be one
        except (JobServerUnavailableError, JobServerAnswerError) as error:
            seconds = self._clock() - job.since
            if not where.client.server.answers and not self._known:
                raise  # nobody has ever answered at this address, nor an earlier process of the run
            if seconds > self._jobs.server_timeout:
                reason = error.reason if isinstance(error, JobServerUnavailableError) else error.problem
                raise JobServerUnavailableError(error.address, error.call, seconds, reason, "server_timeout") from error
            where.watch.missed(error)
        else:
            job.body = job.submission = None
            where.watch.heard()
            where.place.submitted(job.submission_id)
            self._name_place(job, step)

    def _name_place(self, job: _StepJob, step: StepOrchestrationContext) -> None:
        """Let an event of the step name the cluster, if that was not known when the step was launched."""
        if not job.is_placed:
            job.is_placed = True
            said = f"The Ray job {job.submission_id} is submitted."
            DagsterEvent.engine_event(step, said, EngineEventData(metadata=_named(job)))

    # While it runs

    @override
    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Return whether the step can still come to its end. What is unknown is healthy, for a bounded time."""
        context, step = step_handler_context, step_of(step_handler_context)
        job = self._job_of(context, step)
        if job is None:
            return CheckStepHealthResult.unhealthy(f"the step {step.step.key} was not submitted as a Ray job")
        known = self._attempts(context).get(step.step.key)
        if known is not None and known.is_unprepared and known.submission_id == job.submission_id:
            # A resumed executor never reads the event again of which it would have made a failure or a retry.
            return CheckStepHealthResult.unhealthy("its resources failed while the run had no worker")
        try:
            self._submit(job, step)
        except Exception as error:  # noqa: BLE001 - it would be tried for ever, and told each time
            return CheckStepHealthResult.unhealthy(str(error))
        now = self._clock()
        if job.body is not None or now - job.looked_at < self._jobs.look_seconds:
            return CheckStepHealthResult.healthy()
        job.looked_at = now

        def has_ended() -> bool:
            found = attempts_in_log(context.instance, context.dagster_run.run_id).get(step.step.key)
            return found is not None and found.has_ended and found.submission_id == job.submission_id

        fault = self._fault(job, has_ended)
        return CheckStepHealthResult.healthy() if fault is None else CheckStepHealthResult.unhealthy(str(fault))

    def _fault(self, job: _StepJob, has_ended: Callable[[], bool]) -> Exception | None:
        """Look at a job that was submitted; return why its step will never end by itself."""
        where = job.where
        try:
            if where is None:
                where = job.where = self._places.of(job.submission_id)
            if where is None:
                return None  # it is coming up again, for another process of the run
            where.place.check()
        except JobLostError as error:
            lost = JobLostError(job.submission_id, error.address, error.reason, error.advice)
            return None if has_ended() else lost
        except DagsterRayError as error:
            return None if has_ended() else error
        look = where.watch.look(job.submission_id)
        job.lines.tell(look.details)
        fault = fault_of(job.submission_id, where.client.address, look, self._jobs.server_timeout, has_ended)
        try:
            return fault if fault is None else where.place.explained(fault)
        except Exception:  # noqa: BLE001 - the step would never end
            return fault

    def _job_of(self, context: StepHandlerContext, step: StepOrchestrationContext) -> _StepJob | None:
        """Return the job of a step; None if none was submitted, also by an earlier process of the run."""
        key, run_id = step.step.key, context.dagster_run.run_id
        if key not in self._launched and (known := self._attempts(context).get(key)) is not None:
            identity = CallIdentity((run_id,), key, _DIGEST, 0)
            lines = StatusLines(known.submission_id, step.log, clock=self._clock)
            self._launched[key] = _StepJob(identity, known.submission_id, lines, self._clock(), is_placed=True)
        return self._launched.get(key)

    # Its end from outside

    def job_of(self, step_key: str) -> str | None:
        """Return the Ray job of a step's last attempt, as far as this process has to do with it."""
        job = self._launched.get(step_key)
        return None if job is None else job.submission_id

    @override
    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Stop a step's job and wait for its end, at most 30 s.

        Dagster terminates all steps of a run, one after the other: the first call asks for all of them at once.
        """
        context, step = step_handler_context, step_of(step_handler_context)
        job = self._job_of(context, step)
        if job is None:
            return
        yield DagsterEvent.engine_event(
            step,
            f"Stopping the Ray job {job.submission_id}.",
            EngineEventData(metadata={SUBMISSION_KEY: dg.MetadataValue.text(job.submission_id)}),
        )
        if self._stopping is None:
            self._stopping = self._stop_all(context.instance, context.dagster_run.run_id, step.log)
        if (future := self._stopping.get(step.step.key)) is not None:
            self._await(future, job, step.log)

    def stop_steps(self, instance: dg.DagsterInstance, run_id: str, log: logging.Logger) -> None:
        """Stop the jobs of all steps that run and wait for their ends, at most 30 s, unless Dagster has done it."""
        if self._stopping is not None:
            return
        self._stopping = self._stop_all(instance, run_id, log)
        for key in self._stopping:
            log.info("Stopping the Ray job %s.", self._launched[key].submission_id)
        for key, future in self._stopping.items():
            self._await(future, self._launched[key], log)

    def end_objects(self, run: dg.DagsterRun, log: logging.Logger) -> None:
        """End what `RayIOManager` holds for the run, by a job that is not waited for.

        Where this fails, the actor that holds the objects ends itself, later.
        """
        body = {
            "entrypoint": entrypoint(run.run_id),
            "metadata": {"job_name": "end of objects", **run.dagster_execution_info},
            "runtime_env": dict(self._jobs.driver.runtime_env),
        }
        where = self._places.newest
        if where is None:
            return
        try:
            where.client.submit(**cast("Any", body))
        except Exception as error:  # noqa: BLE001 - the run has ended as it has ended
            log.warning("The objects of the run stay in the object store until nobody needs them. %s", error)

    def _stop_all(self, instance: dg.DagsterInstance, run_id: str, log: logging.Logger) -> dict[str, Future[None]]:
        attempts = attempts_in_log(instance, run_id)
        running = {
            key: job for key, job in self._launched.items() if (known := attempts.get(key)) and not known.has_ended
        }
        for job in running.values():
            if job.where is None and job.body is None:
                self._find_place(job)  # here, since its threads ask for none
        pool = ThreadPoolExecutor(min(_STOPPERS, max(1, len(running))), thread_name_prefix="stop ray jobs")
        try:
            return {key: pool.submit(self._stop, job, log) for key, job in running.items()}
        finally:
            pool.shutdown(wait=False)  # its threads end with the last job

    def _await(self, future: Future[None], job: _StepJob, log: logging.Logger) -> None:
        try:
            future.result()
        except DagsterRayError as error:
            log.warning("The Ray job %s could not be stopped. %s", job.submission_id, error)

    def _stop(self, job: _StepJob, log: logging.Logger) -> None:
        if job.where is None:
            return
        client = job.where.client
        nonce = self._nonce_of(job, client) if job.nonce is None and job.body is None else job.nonce
        if nonce is not None:
            stop_job(client, job.submission_id, nonce, TERMINATION_SECONDS, log)
        client.server.end_thread()

    def _nonce_of(self, job: _StepJob, client: StepServer) -> str | None:
        """Return by what the job of an earlier process of the run is known, if it is the step's."""
        try:
            details = client.details(job.submission_id)
        except JobNotFoundError:
            return None
        return details.metadata.get(NONCE) if is_of_step(job.identity, details) else None


def _named(job: _StepJob) -> dict[str, dg.MetadataValue[Any]]:
    """Return the metadata of an event that name a job, and its place as far as that is known."""
    job.is_placed = job.where is not None
    if job.where is None:
        return {SUBMISSION_KEY: dg.MetadataValue.text(job.submission_id)}
    return named_job(job.where.place, job.submission_id)


def step_of(context: StepHandlerContext) -> StepOrchestrationContext:
    """Return the context of the one step that a call of Dagster's executor is about."""
    (key,) = list(context.execute_step_args.step_keys_to_execute or [])
    step = context.get_step_context(key)
    if not isinstance(step, StepOrchestrationContext):
        raise TypeError(f"Dagster gave a {type(step).__name__} for the step {key}")
    return step


def failed_step(context: StepHandlerContext, step: StepOrchestrationContext, error: Exception) -> DagsterEvent:
    """Let a step fail, or ask for its retry, as Dagster does where a step turns out to be unhealthy."""
    told = SerializableErrorInfo(message=str(error), stack=[], cls_name=type(error).__name__)
    known_state = context.execute_step_args.known_state
    if known_state is None:
        raise error
    # The second name is that of Dagster up to 1.12.5; either method writes the event too.
    names = ("log_failure_or_retry_event_after_error", "get_failure_or_retry_event_after_error")
    written = next(getattr(step.executor, name) for name in names if hasattr(step.executor, name))
    return written(step, told, known_state)

"""One attempt of a step whose body runs in the cluster: submit its worker, pass its events on, and judge the end."""

import contextlib
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.errors import raise_execution_interrupts
from dagster._core.events import DagsterEvent
from dagster._utils.interrupts import check_captured_interrupt

from dagster_ray.core import DagsterRayError, Deadline, interrupts_deferred, log_of, lost_interrupts_raised
from dagster_ray.core.cluster_step.lines import Line
from dagster_ray.core.cluster_step.pointers import folder_of
from dagster_ray.core.cluster_step.reference import step_reference
from dagster_ray.pipes._driver_config import DriverConfig, config_of_tags
from dagster_ray.pipes._driver_errors import DriverEventsMissingError
from dagster_ray.pipes._follower import JobFollower
from dagster_ray.pipes._job_answers import log_name
from dagster_ray.pipes._job_run import RunSettings
from dagster_ray.pipes._reader import head_log_folder
from dagster_ray.pipes._reattach import Attempt, CallIdentity
from dagster_ray.pipes._sinks import LogSink, StepOutput, Tail
from dagster_ray.pipes._step_driver import movable
from dagster_ray.pipes._step_driver.attempts import earlier_attempts, find_job
from dagster_ray.pipes._step_driver.code import DriverOptions, folder_name, job_of_code, runtime_env_of
from dagster_ray.pipes._step_driver.delivery import Delivery, RetryOf, UnreadableEventError
from dagster_ray.pipes._step_driver.received import ReceivedLines
from dagster_ray.pipes._step_driver.verdict import Told, judged
from dagster_ray.pipes._submission import NONCE, checked_job
from dagster_ray.pipes._submitted_job import FILE_KEY, Place, StatusLines, job_metadata, named_job, stop_job
from dagster_ray.pipes._verdicts import JOB_KEY, OBJECT_KEY, PREFIX, report_event, report_verdict
from dagster_ray.pipes.errors import JobExistsError, JobLostError, SubmissionRefusedError

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext

_LOOK_SECONDS = 0.5
_DIGEST = "the body of the step"
_CLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a resource says of the worker.

    Args:
        display_name: The cluster's name for logs.
        runtime_env: The resource's runtime environment, with the values of variables.
        options: The `driver_*` fields.
        settings: How a job is followed.
        startup_seconds: Seconds that each phase of the cluster took.
    """

    display_name: str
    runtime_env: Mapping[str, Any]
    options: DriverOptions
    settings: RunSettings
    startup_seconds: Mapping[str, float]


class StepRun:
    """Runs the body of one step in the cluster of a resource."""

    def __init__(
        self, context: "StepExecutionContext", place: Place, wanted: Wanted, retry: RetryOf | None = None
    ) -> None:
        """Take the step, where its job runs, how, and what is asked when its body has failed."""
        self._step, self._place, self._wanted, self._retry = context, place, wanted, retry
        self._context = dg.OpExecutionContext(context)
        self._log = log_of(self._context)
        self._client = place.client.patient(wanted.settings.patience.server_seconds)
        self._identity = CallIdentity((context.run_id,), context.step.key, _DIGEST, 0)
        self._nonce: str | None = None
        """What the metadata of the job contain that this run may stop; None: nothing that is ours was sent."""
        self._tail, self._output, self._lines = Tail(), StepOutput(), ReceivedLines()
        self._submission_id = ""
        self._told = Told()
        self._begun = time.time()  # noqa: TID251 - to be compared with the worker's clock

    def events(self) -> Iterator[DagsterEvent]:
        """Yield the events of the step, each of them stored; the last one ends it.

        Raises:
            dg.Failure: The step cannot run in the cluster, now and later.
            DagsterRayError: It did not come to its end, for a reason that another attempt may not meet.
        """
        with self._client.server.checked_by(self._place.check):
            yield from self._events()

    def _events(self) -> Iterator[DagsterEvent]:
        with _interruptible():
            step = self._step
            earlier = earlier_attempts(step.instance, step.run_id, step.step.key)
            attempt = find_job(self._client, self._identity, earlier)
        again = attempt.existing is not None
        delivery = Delivery(self._step, again=again, retry=self._retry, figures=self._place.figures)
        follower: JobFollower | None = None
        try:
            with _interruptible():
                file = self._submitted(attempt)
                self._place.submitted(attempt.submission_id)
            if again:
                yield DagsterEvent.step_restarted_event(self._step, self._step.previous_attempt_count)
            follower = self._follow(file)
            yield from self._delivered(follower, delivery)
            self._judge(follower, delivery)
        except BaseException as error:
            known = self._place.explained(error) if isinstance(error, DagsterRayError) else error
            self._give_up(follower, delivery, error)
            if known is not error:
                raise known from error
            raise
        finally:
            self._lines.close()
            if follower is not None:
                follower.close()

    # Submission

    def _submitted(self, attempt: Attempt) -> str:
        """Submit the worker, or find the one of an earlier process of the step; return its file's path."""
        self._submission_id = attempt.submission_id
        if attempt.existing is not None:
            self._nonce = attempt.existing.metadata.get(NONCE)
            said = f"The Ray job {attempt.submission_id} of an earlier attempt, which is {attempt.existing.status}, is"
            self._report(f"{said} followed.")
            return attempt.existing.metadata.get(FILE_KEY, "")
        job = job_of_code(movable.reconstructable(self._step), self._wanted.options, self._step.step.key)
        for warning in movable.check_io_managers(self._step):
            self._log.warning(warning)
        folder = head_log_folder(self._client)
        file = f"{folder}/dagster-step-{attempt.submission_id}.jsonl"
        has_folder = self._wanted.options.code == "upload"
        name = self._wanted.display_name
        reference = step_reference(self._step, job, attempt.submission_id, file, name, has_folder=has_folder)
        with tempfile.TemporaryDirectory(prefix="dagster-ray-") as scratch:
            takes = self._takes()
            env = runtime_env_of(takes.runtime_env, folder_of(job), reference, self._wanted.options, Path(scratch))
            body = {
                "entrypoint": f"python -m dagster_ray.core.step_worker {folder_name(reference)}",
                "submission_id": attempt.submission_id,
                "runtime_env": env,
                "metadata": job_metadata(self._step.dagster_run, self._identity, {}, file),
                **{name: value for name, value in takes.of_job.items() if name != "runtime_env"},
            }
            submission = self._client.prepare(checked_job(body))
        self._nonce = submission.nonce
        try:
            self._client.send(submission)
        except (JobExistsError, SubmissionRefusedError):
            self._nonce = None  # there is no job of ours
            raise
        self._report(f"The Ray job {attempt.submission_id} is submitted; the body of the step runs there.")
        return file

    def _takes(self) -> DriverConfig:
        """Return what the driver takes: by the resource, and by the tag of the op or asset in its place."""
        step, wanted = self._step, self._wanted
        return wanted.options.config(wanted.runtime_env).overridden_by(
            config_of_tags(step.step.tags, f"op {step.op_def.name}")
        )

    def _report(self, message: str) -> None:
        wanted = self._wanted
        seconds = {**wanted.startup_seconds, "startup": sum(wanted.startup_seconds.values())}
        metadata = {
            f"{PREFIX}cluster": dg.MetadataValue.text(wanted.display_name),
            **named_job(self._place, self._submission_id),
            **{f"{PREFIX}{phase}_seconds": dg.MetadataValue.float(round(took, 3)) for phase, took in seconds.items()},
        }
        report_event(self._context, self._step.step.key, message, metadata)

    # While it runs

    def _follow(self, file: str) -> JobFollower:
        sinks = {
            PurePosixPath(file).name: self._lines,
            log_name(self._submission_id): LogSink(self._output.write, self._tail),
        }
        patience, place = self._wanted.settings.patience, self._place
        follower = JobFollower(self._client, sinks, patience, place.route, trusts_agents=place.trusts_agents)
        follower.start(self._submission_id)
        return follower

    def _delivered(self, follower: JobFollower, delivery: Delivery) -> Iterator[DagsterEvent]:
        """Yield events until the job has ended and its files are read, or an interrupt comes after the step's end."""
        status = StatusLines(self._submission_id, self._log, pending=self._place.pending)
        while True:
            while (line := self._lines.next()) is not None:
                yield from self._taken(line, delivery)
                if check_captured_interrupt():  # a backlog of lines may take the database minutes
                    break
            if not delivery.is_over:
                with _interruptible():
                    status.tell(follower.details)
            elif check_captured_interrupt():
                return  # the step has ended by itself; what its worker still tears down is of no interest now
            if follower.is_read:
                if (line := self._lines.next()) is None:
                    return
                yield from self._taken(line, delivery)
            elif delivery.is_over:
                self._lines.wait(_LOOK_SECONDS)
                try:
                    self._place.check()
                except JobLostError:
                    return  # the cluster is gone, and nothing more comes from there
            else:
                with _interruptible():
                    self._lines.wait(_LOOK_SECONDS)
                    self._place.check()

    def _taken(self, line: Line, delivery: Delivery) -> Iterator[DagsterEvent]:
        match line.kind:
            case "event":
                if not delivery.is_over:
                    yield from self._passed_on(line, delivery)
                elif _is_of_teardown(line):
                    delivery.without_end(line)
            case "handshake":
                self._told.handshake = line.value
                if delivery.is_first:
                    self._compare_clocks(line.value.get("clock"))
            case "problem":
                self._told.problem = line.value
            case "end":
                self._told.ended = True

    def _passed_on(self, line: Line, delivery: Delivery) -> Iterator[DagsterEvent]:
        was_over = delivery.is_over
        yield from delivery.deliver(line)
        if delivery.is_over and not was_over:
            self._place.judged("good" if delivery.end is dg.DagsterEventType.STEP_SUCCESS else "bad")

    def _compare_clocks(self, clock: object) -> None:
        if not isinstance(clock, float):
            return
        ahead = clock - time.time()  # noqa: TID251 - the worker's clock is of this kind, too
        off = ahead if ahead > 0 else min(0.0, clock - self._begun)
        if abs(off) > _CLOCK_SECONDS:
            said = (
                "The clock of the cluster is %.1f s %s that of the step's process, and so are the times of its events."
            )
            self._log.warning(said, abs(off), "ahead of" if off > 0 else "behind")

    # Ends

    def _judge(self, follower: JobFollower, delivery: Delivery) -> None:
        """Raise if the step did not come to its end; what happens after the end changes nothing."""
        if delivery.is_over:
            return
        if follower.error is not None:
            raise follower.error
        if self._lines.broken is not None:
            status = "unknown" if follower.details is None else follower.details.status
            raise DriverEventsMissingError(self._submission_id, status, self._lines.broken, self._tail.lines)
        raise judged(self._submission_id, follower.details, self._told, follower.unread, self._tail.lines)

    def _give_up(self, follower: JobFollower | None, delivery: Delivery, error: BaseException) -> None:
        """Stop the worker if it is ours, and store what it has said; what would end the step is left out."""
        with interrupts_deferred(redeliver=False):
            details = None if follower is None else follower.details
            if not (isinstance(error, JobLostError) or self._nonce is None or (details and details.is_over)):
                self._stop(self._nonce)
            if follower is not None:
                self._store_rest(follower, delivery)
            judged_bad = (DagsterRayError, UnreadableEventError, dg.Failure, dg.RetryRequested)
            if isinstance(error, judged_bad) and self._nonce is not None:
                marks = {JOB_KEY: self._nonce, OBJECT_KEY: self._place.uid}
                metadata: dict[str, dg.MetadataValue[Any]] = {
                    **named_job(self._place, self._submission_id),
                    **{key: dg.MetadataValue.text(mark) for key, mark in marks.items() if mark is not None},
                }
                message = f"The step could not use the Ray job {self._submission_id}."
                report_verdict(self._context, self._step.step.key, "bad", message, metadata)
                self._place.judged("bad")

    def _stop(self, nonce: str) -> None:
        try:
            stop_job(self._client, self._submission_id, nonce, self._wanted.settings.termination_seconds, self._log)
        except DagsterRayError as failed:
            self._log.warning("The Ray job %s could not be stopped: %s", self._submission_id, failed)

    def _store_rest(self, follower: JobFollower, delivery: Delivery) -> None:
        """Store what the worker has written until it ended, as far as it can be read soon."""
        deadline = Deadline(self._wanted.settings.termination_seconds)
        with contextlib.suppress(Exception):  # the step's own error matters more
            if lost := delivery.let_go(deadline):
                self._log.warning("%d events of the step could not be stored in the time that its end has.", lost)
            while not deadline.is_over():
                line = self._lines.next()
                if line is not None and line.kind == "event":
                    with contextlib.suppress(UnreadableEventError):  # the lines after it can be read
                        delivery.without_end(line)
                elif line is None and follower.is_read:
                    return
                elif line is None:
                    self._lines.wait(min(_LOOK_SECONDS, deadline.remaining_seconds()))


@contextlib.contextmanager
def _interruptible() -> Generator[None]:
    """Raise an interrupt at once while the block runs; elsewhere Dagster keeps it for later."""
    with raise_execution_interrupts(), lost_interrupts_raised() as raise_lost:
        yield
        raise_lost()


def _is_of_teardown(line: Line) -> bool:
    """Return whether an event may come after the step's end: a line of the log, or one that is about no step's work."""
    return '"dagster_event": null' in line.value or '"event_type_value": "ENGINE_EVENT"' in line.value

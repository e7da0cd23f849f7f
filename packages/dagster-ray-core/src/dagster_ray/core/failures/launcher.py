"""`StepWithRetries`: what a step finds in place of a cluster if infrastructure failures are retried.

Dagster passes no error of a step's body to its resources, and takes a request for a retry only from where a step runs.
So Dagster launches the step through this object, which runs it where it would run anyway, and sees its error. It also
adds figures of the cluster to the outputs of a body that runs here, because no resource sees an output.
"""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from dagster._core.definitions.scoped_resources_builder import IContainsGenerator, ScopedResourcesBuilder
from dagster._core.definitions.step_launcher import StepLauncher
from dagster._core.errors import DagsterInvalidPropertyError, raise_execution_interrupts
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.execute_step import core_dagster_event_sequence_for_step
from dagster._core.execution.plan.utils import RetryRequestedFromPolicy

from dagster_ray.core._dagster_context import DagsterContext, log_of
from dagster_ray.core._phases import StepOutcome
from dagster_ray.core._signals import is_interrupt
from dagster_ray.core.failures.causes import Judgement, Loss, is_retried, judged
from dagster_ray.core.failures.reading import facts_of, facts_of_info
from dagster_ray.core.failures.record import FailedStep, report_failure, retries_of
from dagster_ray.core.step_report.around import StepReport, add_to_outputs

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext
    from ray._private.worker import BaseContext

    from dagster_ray.core._config import Lifecycle
    from dagster_ray.core._protocol import RayResource

_EXHAUSTED = re.compile(r"Exceeded max_retries of (\d{1,9})$")
"""What Dagster says of a step that has asked for one retry too many (dagster/_core/execution/plan/execute_plan.py)."""


class StepWithRetries:
    """A `RayResource` that stands for another one, and by which Dagster launches the step.

    The body itself gets the resource that it would get without retries.

    Attributes:
        is_lost: Whether there is no cluster that a step could use: its set-up or an earlier attempt has failed.
    """

    def __init__(
        self,
        resource: "RayResource",
        offer: Callable[[], object],
        renew: Callable[[], None],
        losses: Callable[[], Sequence[Loss]],
        failed: Exception | None,
        *,
        report: StepReport,
    ) -> None:
        """Take the resource and what can be done with it.

        Args:
            resource: The resource.
            offer: Returns what the step would find without retries: the resource, or what launches the step elsewhere.
            renew: Cleans the cluster up and brings another one.
            losses: Returns what became of the cluster's pods lately.
            failed: What the set-up has raised, if the first attempt of the step is to fail with it.
            report: The figures of the step.
        """
        self._report = report
        self._resource, self._offer, self._renew, self._losses = resource, offer, renew, losses
        self._failed, self.is_lost = failed, failed is not None

    # Of the protocol, and whatever else the resource has: for other resources that were given this one

    @property
    def lifecycle(self) -> "Lifecycle":
        """Which phases run."""
        return self._resource.lifecycle

    @property
    def display_name(self) -> str:
        """The cluster's name for logs."""
        return self._resource.display_name

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard's URL for this process."""
        return self._found.dashboard_url

    @property
    def context(self) -> "BaseContext":
        """What `ray.init` returned."""
        return self._found.context

    @property
    def address(self) -> str:
        """Where drivers connect."""
        return self._found.address

    @property
    def job_id(self) -> str:
        """Ray's id of the step's driver."""
        return self._found.job_id

    def create(self, context: DagsterContext) -> None:
        """Ask for the cluster, unless it is there."""
        self._found.create(context)

    def wait(self, context: DagsterContext) -> None:
        """Wait for the cluster, unless it is ready."""
        self._found.wait(context)

    def connect(self, context: DagsterContext) -> None:
        """Connect this process, unless it is connected."""
        self._found.connect(context)

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """Do nothing: the resource cleans up when Dagster tears it down."""

    def __getattr__(self, name: str) -> Any:
        """Return what the resource has beside the protocol."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._found, name)

    @property
    def _found(self) -> "RayResource":
        """What stands behind this object; raises the set-up's error if that is not there."""
        if self._failed is not None:
            raise self._failed
        return cast("RayResource", self._offer())

    # Of Dagster

    def launch_step(self, step_context: "StepExecutionContext") -> Iterator[DagsterEvent]:
        """Run the step where it would run without retries, and yield its events. Dagster calls it."""
        try:
            yield from self._ready(step_context)
            inner = self._offer()
            if (launch := getattr(inner, "launch_step", None)) is not None:
                yield from launch(step_context, partial(self._after_event, step_context))
            else:
                _give(step_context, self, inner)
                if self._report.is_wanted:
                    add_to_outputs(step_context, self._report)
                yield from core_dagster_event_sequence_for_step(step_context)
        except DecidedRetry:
            raise
        except Exception as error:
            request = self._after(step_context, error)
            if request is None:
                raise
            raise request from (error.__cause__ or error if isinstance(error, dg.RetryRequested) else error)

    def _ready(self, step_context: "StepExecutionContext") -> Iterator[DagsterEvent]:
        """Bring another cluster if an earlier attempt of this process has lost its own."""
        if not self.is_lost:
            return
        try:
            with raise_execution_interrupts():
                self._set_up()
            self.is_lost = False
        except BaseException as error:
            yield _begun(step_context)
            if isinstance(error, Exception) and (request := policy_request(step_context)) is not None:
                raise request from error
            raise

    def _set_up(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        self._renew()

    def _after(self, step_context: "StepExecutionContext", error: Exception) -> dg.RetryRequested | None:
        """Return what to raise in place of an error; None for the error itself."""
        if is_interrupt(error.__cause__):
            return None
        judgement = judged(facts_of(error), self._losses)
        self.is_lost = self.is_lost or judgement.failure_class == "infrastructure"
        is_final = isinstance(error, dg.Failure) and not error.allow_retries
        allowed = 0 if is_final else self._allowed
        return after_failure(step_context, self._resource.display_name, allowed, judgement, error)

    def _after_event(self, step_context: "StepExecutionContext", event: DagsterEvent) -> dg.RetryRequested | None:
        """Return what to raise in place of an event that ends a step which runs elsewhere; None to pass it on."""
        info = getattr(event.event_specific_data, "error", None)
        judgement = judged(facts_of_info(info), self._losses)
        self.is_lost = self.is_lost or judgement.failure_class == "infrastructure"
        said = Exception() if info is None else _exhausted(info.message)
        own = policy_request(step_context)
        if own is not None and isinstance(said, dg.RetryRequested) and said.max_retries == own.max_retries:
            said = own  # the worker's words have no delay
        request = after_failure(step_context, self._resource.display_name, self._allowed, judgement, said)
        if request is None or request.max_retries <= step_context.previous_attempt_count:
            return None
        return request

    @property
    def _allowed(self) -> int:
        return self._resource.lifecycle.retry_infrastructure


# A virtual subclass: Dagster asks `isinstance` and nothing more. To inherit would make its constructor warn that step
# launchers are superseded by Pipes, which cannot run the body of an asset as it is.
StepLauncher.register(StepWithRetries)


class DecidedRetry(dg.RetryRequested):
    """A request for a retry by a step's own policy or body, with the count that it should have."""


class InfrastructureRetry(DecidedRetry):
    """A request for a retry because infrastructure has failed."""


def after_failure(
    step_context: "StepExecutionContext", cluster: str, allowed: int, judgement: Judgement, error: Exception
) -> DecidedRetry | None:
    """Report a failure of a step, and return the retry that follows from it; None if the error itself does.

    A retry policy of the step, and a request of the body's own, keep their counts: Dagster counts all attempts
    together, so that those which infrastructure has cost are added to what they allow.

    Args:
        step_context: Dagster's context of the step.
        cluster: The cluster's name for logs.
        allowed: How often the step may be tried again because of infrastructure.
        judgement: Whose failure it was.
        error: What the step has raised.
    """
    instance, run, key = step_context.instance, step_context.dagster_run, step_context.step.key
    attempts = step_context.previous_attempt_count
    try:
        done = min(retries_of(instance, run.run_id, key), attempts)
        again = is_retried(judgement, done=done, allowed=allowed) and not step_context.retry_mode.disabled
        report_failure(FailedStep(instance, run, key, cluster), judgement, (done + 1, allowed) if again else None)
    except Exception as failed:  # noqa: BLE001 - any storage can sit behind it; what is not counted is not retried
        said = "%s: the failure could not be stored, so the step is not tried again for it: %s"
        log_of(dg.OpExecutionContext(step_context)).warning(said, cluster, type(failed).__name__)
        return None
    if again:
        return InfrastructureRetry(max_retries=attempts + 1)
    return _own_request(step_context, error, done) if done else None


def _own_request(step_context: "StepExecutionContext", error: Exception, done: int) -> DecidedRetry | None:
    """Return a request of the step's own, with the retries that infrastructure has cost left out of its count."""
    if not isinstance(error, dg.RetryRequested):
        return None
    policy = step_context.op_retry_policy
    if isinstance(error, RetryRequestedFromPolicy) and policy is not None:
        delay = policy.calculate_delay(max(1, step_context.previous_attempt_count + 1 - done))
        return DecidedRetry(max_retries=policy.max_retries + done, seconds_to_wait=delay)
    return DecidedRetry(max_retries=error.max_retries + done, seconds_to_wait=error.seconds_to_wait)


def policy_request(step_context: "StepExecutionContext") -> RetryRequestedFromPolicy | None:
    """Return what Dagster raises for an error of a body whose step has a retry policy; None if it has none."""
    policy = step_context.op_retry_policy
    if policy is None:
        return None
    delay = policy.calculate_delay(step_context.previous_attempt_count + 1)
    return RetryRequestedFromPolicy(max_retries=policy.max_retries, seconds_to_wait=delay)


def is_tried_again(context: dg.OpExecutionContext | dg.AssetExecutionContext, error: BaseException) -> bool:
    """Return whether Dagster tries a step again after an error, if the step's body does not catch it.

    Args:
        context: The context of the step; False for that of a direct call.
        error: What the body raises.
    """
    step = _step_of(context)
    if step is None or step.retry_mode.disabled:
        return False
    request = error if isinstance(error, dg.RetryRequested) else policy_request(step)
    return request is not None and step.previous_attempt_count < request.max_retries


def _step_of(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> "StepExecutionContext | None":
    """Return the context of a step; None for that of a direct call."""
    try:
        return context.get_step_execution_context()
    except DagsterInvalidPropertyError:
        return None


def _exhausted(message: str) -> Exception:
    """Return the request that an event says was one too many; any other error if it says something else."""
    found = _EXHAUSTED.match(message.strip())
    return Exception() if found is None else dg.RetryRequested(max_retries=int(found[1]))


def _give(step_context: "StepExecutionContext", found: object, inner: object) -> None:
    """Let a step's body find a resource in place of the object by which it was launched."""
    present = step_context.resources
    given = {key: inner if value is found else value for key, value in present.original_resource_dict.items()}
    builder = ScopedResourcesBuilder(given, contains_generator=isinstance(present, IContainsGenerator))
    cast("Any", step_context)._resources = builder.build({*given})  # noqa: SLF001 - Dagster has no way for it


def _begun(step_context: "StepExecutionContext") -> DagsterEvent:
    """Return the event by which a step begins, for one whose body never does."""
    if step_context.previous_attempt_count:
        return DagsterEvent.step_restarted_event(step_context, step_context.previous_attempt_count)
    return DagsterEvent.step_start_event(step_context)


@contextmanager
def failures_told(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    cluster: Callable[[], str],
    allowed: int,
    losses: Callable[[], Sequence[Loss]] = tuple,
) -> Generator[None]:
    """Write whose failure it was into the log of the run if the block fails, and request a retry of the step if it may.

    Args:
        context: The context of the step; that of a direct call is left alone.
        cluster: Returns the cluster's name for logs.
        allowed: How often the step may be tried again because of infrastructure.
        losses: Returns what became of the cluster's pods lately.

    Raises:
        DecidedRetry: Infrastructure has failed, or the step has a retry policy that shall not count such failures.
    """
    try:
        yield
    except DecidedRetry:
        raise
    except Exception as error:
        step = _step_of(context)
        if step is None or is_interrupt(error):
            raise
        own = policy_request(step)
        request = after_failure(step, cluster(), allowed, judged(facts_of(error), losses), own or error)
        if request is None:
            raise
        raise request from error

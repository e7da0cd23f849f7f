"""Run the phases of any `RayResource` around a block of work, and find out how the work ended."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import dagster as dg

from dagster_ray.core._dagster_context import DagsterContext, last_event_id, log_of, run_is_over, run_of, step_key_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import StepEvent, StepOutcome, outcome_of_events, phases_of_setup
from dagster_ray.core._protocol import RayResource, require_ray_resource
from dagster_ray.core._signals import interrupts_deferred, is_being_interrupted
from dagster_ray.core.errors import CleanupFailedError, DagsterRayError
from dagster_ray.core.failures.causes import Judgement, Loss, judged
from dagster_ray.core.failures.evidence import EvidenceOfRun
from dagster_ray.core.failures.reading import facts_of
from dagster_ray.core.failures.record import FailedStep, entries_after, report_failure, report_failures
from dagster_ray.core.step_report.around import StepReport

# A step that has an event of these types after its success is not known to have succeeded.
_TYPES = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_RESTARTED,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
}


@dataclass(slots=True, eq=False)
class _InUse:
    """A resource that is set up for a run in this process; equal to itself alone, whatever its resource compares."""

    resource: RayResource
    wanted: "_Wanted"
    after: int | None
    """The run's last event before its set-up; None if that is not known."""
    report: StepReport
    offered: object = None
    """What the step finds."""
    users: int = 1


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What makes two requests of a process ask for one cluster."""

    run_id: str
    kind: type
    configuration: Mapping[str, Any]


# Dagster sets a resource up once for each place that it is bound to: the step's parameter, and each resource or IO
# manager that depends on it. A process has one driver, so they are one use of one cluster.
_in_use: list[_InUse] = []
_in_use_lock = threading.Lock()


@contextmanager
def run_phases(resource: RayResource, context: dg.InitResourceContext) -> Generator[RayResource]:
    """Create, await and connect a cluster as its lifecycle says, and clean up when the block is left.

    `BaseRayResource` does this by itself. A backend that only conforms to the protocol does it in its own
    resource function:

        @dg.resource
        def ray_cluster(context):
            with run_phases(MyCluster(), context) as cluster:
                yield cluster

    With `retry_infrastructure` in the lifecycle, what is yielded stands for the resource, and Dagster launches the step
    through it.

    A configurable resource with all phases on that is set up in this process for the same run already, with the same
    configuration, is yielded again instead: the last block to be left cleans it up.

    SIGINT and SIGTERM wait while cleanup runs. Nothing is created when the run has ended already: Dagster
    initializes resources once more after some runs.

    Raises:
        NotARayResourceError: `resource` lacks members of the protocol.
        CleanupFailedError: The step succeeded but cleanup did not. After a step that did not succeed, a
            failed cleanup is logged instead, so that it does not hide the step's own error.
    """
    with phases_around(resource, context, lambda: resource) as found:
        yield cast("RayResource", found)


@contextmanager
def phases_around(
    resource: RayResource, context: dg.InitResourceContext, offer: Callable[[], object]
) -> Generator[object]:
    """As `run_phases`, for a resource whose steps find something else than itself.

    Args:
        resource: The resource.
        context: The context of its set-up.
        offer: Returns what the step finds. Called when the cluster is there.
    """
    require_ray_resource(resource, where="run_phases")
    if run_is_over(context):
        log_of(context).info("The run has ended, so %s is not created again.", resource.display_name)
        yield offer()
        return
    wanted = _wanted(resource, context)
    found = _joined(wanted)
    use = found or _begun(resource, context, wanted)
    evidence = EvidenceOfRun(use.resource, context, use.after)
    error: BaseException | None = None
    set_up = found is not None
    try:
        if not set_up:
            failed = None
            try:
                for phase in _set_up(resource, context):
                    phase(context)
            except Exception as raised:
                if not _is_retried(raised, resource, context):
                    raise
                failed = raised  # the step's: Dagster takes no request for a retry from a set-up
            set_up = True
            use.offered = _reported(use, context, offer, failed, evidence)
            if wanted is not None:
                with _in_use_lock:
                    _in_use.append(use)
        yield use.offered
    except BaseException as raised:
        error = raised
        raise
    finally:
        interrupted = is_being_interrupted(error)
        # Reading the outcome is deferred as well: an interrupt there would end us before the delete call.
        with interrupts_deferred(redeliver=not interrupted):
            if _is_last(use):
                _end(use, context, error, evidence, has_set_up=set_up or interrupted)


def _begun(resource: RayResource, context: dg.InitResourceContext, wanted: _Wanted | None) -> _InUse:
    report = StepReport(resource, context)
    return _InUse(resource, wanted or _Wanted("", object, {}), last_event_id(context), report)


def _reported(
    use: _InUse,
    context: dg.InitResourceContext,
    offer: Callable[[], object],
    failed: Exception | None,
    evidence: EvidenceOfRun,
) -> object:
    """Begin to report on a cluster that was set up, unless that failed; return what the step finds."""
    if failed is None:
        use.report.begin()
    renew = partial(_renew, use.resource, context, use.report, evidence)
    return offered(use.resource, context, offer, renew, failed, report=use.report)


def _wanted(resource: RayResource, context: dg.InitResourceContext) -> _Wanted | None:
    """Return by what a second request for the same cluster is recognized; None if each request gets its own."""
    run, on = run_of(context), resource.lifecycle
    if run is None or not (on.create and on.wait and on.connect) or not isinstance(resource, dg.ConfigurableResource):
        return None
    kind: type[dg.ConfigurableResource[Any]] = type(resource)  # pyright: ignore[reportUnknownVariableType]
    fields = {name: getattr(resource, name) for name in kind.model_fields}
    return _Wanted(run.run_id, kind, fields)


def _joined(wanted: _Wanted | None) -> _InUse | None:
    if wanted is None:
        return None
    with _in_use_lock:
        for use in _in_use:
            if use.wanted == wanted:
                use.users += 1
                return use
    return None


def _is_last(use: _InUse) -> bool:
    with _in_use_lock:
        use.users -= 1
        if use.users == 0 and use in _in_use:
            _in_use.remove(use)
        return use.users == 0


def _end(
    use: _InUse,
    context: dg.InitResourceContext,
    error: BaseException | None,
    evidence: EvidenceOfRun,
    *,
    has_set_up: bool,
) -> None:
    """Report how the use of a resource ended, and clean up."""
    outcome = _outcome_of(use, context, error, has_set_up=has_set_up)
    judgement = report_end(use.resource, context, outcome, error, use.after)
    evidence.keep(outcome, error, judgement)
    use.report.end(asks=outcome is not StepOutcome.INTERRUPTED)
    _clean_up(use.resource, context, outcome)


def _outcome_of(
    use: _InUse, context: dg.InitResourceContext, error: BaseException | None, *, has_set_up: bool
) -> StepOutcome:
    """Return how the use of a resource ended.

    Args:
        use: The use.
        context: The context of its set-up.
        error: What has reached us.
        has_set_up: Whether the set-up is done, or was interrupted.
    """
    if not has_set_up:
        return StepOutcome.SETUP_FAILED
    outcome = step_outcome(context, error, use.after)
    if outcome is StepOutcome.SUCCEEDED and getattr(use.offered, "is_lost", False):
        return StepOutcome.SETUP_FAILED  # no step has used it, so that none has tried again
    return outcome


def _set_up(resource: RayResource, context: dg.InitResourceContext) -> Iterator[Callable[[DagsterContext], object]]:
    """Yield the methods of the phases that the lifecycle wants, each after its line in the log."""
    on = resource.lifecycle
    connects = on.connect and not getattr(resource, "driver_in_cluster", False)
    for n, phase in enumerate(phases_of_setup(create=on.create, wait=on.wait, connect=connects)):
        # Dagster's run page hides DEBUG, so the start shows itself in one line; what moves is told by the backend.
        log_of(context).log(logging.DEBUG if n else logging.INFO, "%s: %s", resource.display_name, phase.value)
        yield getattr(resource, phase.value)


def _is_retried(error: Exception, resource: RayResource, context: dg.InitResourceContext) -> bool:
    """Return whether a set-up that has failed is tried again, by the step that finds no cluster."""
    if retries_allowed(resource) == 0 or run_of(context) is None or is_being_interrupted(error):
        return False
    if judged(facts_of(error), lambda: losses_of(resource, context)).failure_class != "infrastructure":
        return False
    log_of(context).warning("The set-up of %s failed: %s", resource.display_name, error)
    return True


def _renew(resource: RayResource, context: dg.InitResourceContext, report: StepReport, evidence: EvidenceOfRun) -> None:
    """Clean up a cluster that was lost, and bring another one."""
    with interrupts_deferred(redeliver=True):
        evidence.keep(StepOutcome.RETRY_REQUESTED, None, None)
        report.end()
        _clean_up(resource, context, StepOutcome.RETRY_REQUESTED)
    if (begin_again := getattr(resource, "begin_again", None)) is not None:
        begin_again()
    for phase in _set_up(resource, context):
        phase(context)
    report.begin()


def _clean_up(resource: RayResource, context: dg.InitResourceContext, outcome: StepOutcome) -> None:
    try:
        resource.cleanup(context, outcome)
    except Exception as error:
        if outcome is not StepOutcome.SUCCEEDED:
            log_of(context).exception(
                "Cleanup of %s (outcome of the step: %s) failed: %s", resource.display_name, outcome.value, error
            )
            return
        if isinstance(error, DagsterRayError):
            raise
        raise CleanupFailedError(resource.display_name, f"{type(error).__name__}: {error}") from error


_LOSSES_SECONDS = 4.0
"""What the question for lost nodes may take of the 20 s that a cleanup has."""


def retries_allowed(resource: RayResource) -> int:
    """Return how often a failure of infrastructure is retried; 0 for a lifecycle of others without the field."""
    return getattr(resource.lifecycle, "retry_infrastructure", 0)


def losses_of(resource: RayResource, context: dg.InitResourceContext) -> Sequence[Loss]:
    """Return what became of the cluster's pods lately, where the resource can tell. Never raises."""
    tell = getattr(resource, "losses", None)
    try:
        return () if tell is None else tell(context, Deadline(_LOSSES_SECONDS))
    except Exception as error:  # noqa: BLE001 - whatever a backend raises, the step's own error matters more
        log_of(context).warning("What became of the nodes of %s could not be read: %s", resource.display_name, error)
        return ()


def offered(
    resource: RayResource,
    context: dg.InitResourceContext,
    offer: Callable[[], object],
    renew: Callable[[], None],
    failed: Exception | None,
    *,
    report: StepReport,
) -> object:
    """Return what a step finds: what `offer` returns, or what stands for it if Dagster launches the step through that.

    It does if failures of infrastructure are retried, or figures are added to what a body makes in this process.

    Args:
        resource: The resource.
        context: The context of its set-up.
        offer: Returns what the step finds without retries.
        renew: Cleans the cluster up and brings another one.
        failed: What the set-up has raised, if the step is to fail with it.
        report: The figures of the step.
    """
    adds_figures = report.is_wanted and not getattr(resource, "driver_in_cluster", False)
    if retries_allowed(resource) == 0 and not adds_figures:
        return offer()
    # It needs much of Dagster's execution, which a code location does not load to read its configuration.
    from dagster_ray.core.failures.launcher import StepWithRetries

    return StepWithRetries(resource, offer, renew, lambda: losses_of(resource, context), failed, report=report)


def report_end(
    resource: RayResource,
    context: dg.InitResourceContext,
    outcome: StepOutcome,
    error: BaseException | None,
    after: int | None,
) -> Judgement | None:
    """Write whose failure it was into the log of the run, if a step failed and no event says so yet. Never raises.

    Returns:
        Whose failure the set-up's error was; None if that did not fail.

    Args:
        resource: The resource.
        context: The context of its set-up.
        outcome: How the work ended.
        error: What the set-up has raised, if it did.
        after: The run's last event before the set-up; None if that is not known, and nothing is written then.
    """
    name, instance, run = resource.display_name, context.instance, run_of(context)
    if outcome in {StepOutcome.FAILED, StepOutcome.RETRY_REQUESTED}:
        if after is None:
            return None
        report_failures(context, name, after, lambda: losses_of(resource, context))
    elif outcome is StepOutcome.SETUP_FAILED and isinstance(error, Exception) and instance is not None and run:
        judgement = judged(facts_of(error), lambda: losses_of(resource, context))
        try:
            report_failure(FailedStep(instance, run, step_key_of(context), name), judgement)
        except Exception as refusal:  # noqa: BLE001 - any storage can sit behind it; the cleanup follows
            log_of(context).warning("The class of the failure could not be stored: %s", type(refusal).__name__)
        return judgement
    return None


def _events_after(instance: dg.DagsterInstance, run_id: str, event_id: int) -> tuple[StepEvent, ...]:
    events = [entry.dagster_event for entry in entries_after(instance, run_id, event_id, _TYPES)]
    return tuple(StepEvent(event.step_key, event.event_type_value) for event in events if event and event.step_key)


def step_outcome(context: DagsterContext, error: BaseException | None, after: int | None) -> StepOutcome:
    """Return how the step ended. Call it during teardown.

    Dagster does not pass the step's exception to a resource's teardown: it resumes the resource's generator as if
    nothing had happened. So the outcome is read from three places: an exception that reaches us, the exception that is
    on its way through the frames below (an interrupt), and the events of the run that came after the set-up began.

    Args:
        context: The context of the resource's set-up.
        error: What was thrown into the resource's generator, if anything was.
        after: What `last_event_id` returned before set-up.
    """
    if is_being_interrupted(error):
        return StepOutcome.INTERRUPTED
    # Dagster does not resume a generator when a signal came between the step and its teardown.
    if error is not None and not isinstance(error, GeneratorExit):
        return StepOutcome.FAILED
    instance, run = context.instance, run_of(context)
    if instance is None or run is None or after is None:
        return StepOutcome.UNKNOWN
    try:
        events = _events_after(instance, run.run_id, after)
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and cleanup must happen whatever it raises
        log_of(context).warning(
            "The run's events could not be read, so how the step ended is not known.", exc_info=True
        )
        return StepOutcome.UNKNOWN
    return outcome_of_events(events, step_key_of(context))

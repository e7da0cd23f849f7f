"""Run the phases of any `RayResource` around a block of work."""

import logging
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import dagster as dg

from dagster_ray.core._dagster_context import log_of, run_is_over, run_of
from dagster_ray.core._outcome import is_being_interrupted, last_event_id, step_outcome
from dagster_ray.core._phases import StepOutcome, phases_of_setup
from dagster_ray.core._protocol import RayResource, require_ray_resource
from dagster_ray.core._signals import interrupts_deferred
from dagster_ray.core.errors import CleanupFailedError, DagsterRayError
from dagster_ray.core.failures.around import losses_of, offered, report_end, retries_allowed
from dagster_ray.core.failures.causes import judged
from dagster_ray.core.failures.evidence import EvidenceOfRun
from dagster_ray.core.failures.reading import facts_of
from dagster_ray.core.step_report.around import StepReport


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
            failed = _set_up_or_failure(resource, context)
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
                setup_failed = not set_up and not interrupted
                outcome = StepOutcome.SETUP_FAILED if setup_failed else step_outcome(context, error, use.after)
                if outcome is StepOutcome.SUCCEEDED and getattr(use.offered, "is_lost", False):
                    outcome = StepOutcome.SETUP_FAILED  # no step has used it, so that none has tried again
                judgement = report_end(use.resource, context, outcome, error, use.after)
                evidence.keep(outcome, error, judgement)
                use.report.end()
                _clean_up(use.resource, context, outcome)


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


def _set_up(resource: RayResource, context: dg.InitResourceContext) -> None:
    on = resource.lifecycle
    connects = on.connect and not getattr(resource, "driver_in_cluster", False)
    for n, phase in enumerate(phases_of_setup(create=on.create, wait=on.wait, connect=connects)):
        # Dagster's run page hides DEBUG, so the start shows itself in one line; what moves is told by the backend.
        log_of(context).log(logging.DEBUG if n else logging.INFO, "%s: %s", resource.display_name, phase.value)
        getattr(resource, phase.value)(context)


def _set_up_or_failure(resource: RayResource, context: dg.InitResourceContext) -> Exception | None:
    """Run the phases; return their error if the step is to fail with it, so that it can be tried again.

    Dagster takes no request for a retry from the set-up of a resource.
    """
    try:
        _set_up(resource, context)
    except Exception as error:
        if retries_allowed(resource) == 0 or run_of(context) is None or is_being_interrupted(error):
            raise
        judgement = judged(facts_of(error), lambda: losses_of(resource, context))
        if judgement.failure_class == "infrastructure":
            log_of(context).warning("The set-up of %s failed: %s", resource.display_name, error)
            return error
        raise
    return None


def _renew(resource: RayResource, context: dg.InitResourceContext, report: StepReport, evidence: EvidenceOfRun) -> None:
    """Clean up a cluster that was lost, and bring another one."""
    with interrupts_deferred(redeliver=True):
        evidence.keep(StepOutcome.RETRY_REQUESTED, None, None)
        report.end()
        _clean_up(resource, context, StepOutcome.RETRY_REQUESTED)
    if (begin_again := getattr(resource, "begin_again", None)) is not None:
        begin_again()
    _set_up(resource, context)
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

"""What happens around a step because it may fail: what it finds, and what the log says of its end."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dagster_ray.core._dagster_context import log_of, run_of, step_key_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import StepOutcome
from dagster_ray.core.failures.causes import Judgement, Loss, judged
from dagster_ray.core.failures.reading import facts_of
from dagster_ray.core.failures.record import FailedStep, report_failure, report_failures

if TYPE_CHECKING:
    from dagster_ray.core._protocol import RayResource
    from dagster_ray.core.step_report.around import StepReport

_LOSSES_SECONDS = 4.0
"""What the question for lost nodes may take of the 20 s that a cleanup has."""


def retries_allowed(resource: "RayResource") -> int:
    """Return how often a failure of infrastructure is retried; 0 for a lifecycle of others without the field."""
    return getattr(resource.lifecycle, "retry_infrastructure", 0)


def losses_of(resource: "RayResource", context: dg.InitResourceContext) -> Sequence[Loss]:
    """Return what became of the cluster's pods lately, where the resource can tell. Never raises."""
    tell = getattr(resource, "losses", None)
    try:
        return () if tell is None else tell(context, Deadline(_LOSSES_SECONDS))
    except Exception as error:  # noqa: BLE001 - whatever a backend raises, the step's own error matters more
        log_of(context).warning("What became of the nodes of %s could not be read: %s", resource.display_name, error)
        return ()


def offered(
    resource: "RayResource",
    context: dg.InitResourceContext,
    offer: Callable[[], object],
    renew: Callable[[], None],
    failed: Exception | None,
    *,
    report: "StepReport",
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
    resource: "RayResource",
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

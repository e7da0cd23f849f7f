"""Lets a backend keep what is known of a failure while its cluster is there, and links that in the run's log."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dagster_ray.core._dagster_context import last_event_id, log_of, run_of, step_key_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import StepOutcome
from dagster_ray.core.failures.causes import Failure, Judgement, Kept, Loss, judged
from dagster_ray.core.failures.reading import facts_of
from dagster_ray.core.failures.record import FailedStep, failures_after, report_kept

if TYPE_CHECKING:
    from dagster_ray.core._protocol import RayResource

EVIDENCE_SECONDS = 10.0
"""What keeping evidence may take of the 20 s that a cleanup has."""
_NOT_KEPT = "%s: the evidence of the failure could not be kept: %s"
_FROM_LOG = {StepOutcome.FAILED, StepOutcome.RETRY_REQUESTED}


class EvidenceOfRun:
    """Keeps the evidence of each failure once, however often the cluster of a resource is replaced."""

    def __init__(self, resource: "RayResource", context: dg.InitResourceContext, after: int | None) -> None:
        """Take the resource, the context of its set-up, and the run's last event before it; None if not known."""
        self._resource, self._context, self._after = resource, context, after

    def keep(self, outcome: StepOutcome, error: BaseException | None, judgement: Judgement | None) -> None:
        """Let the resource keep what it knows, if it wants to and a step failed. Never raises.

        Args:
            outcome: How the work ended.
            error: What the set-up has raised, if it did.
            judgement: Whose failure that was.
        """
        keep = getattr(self._resource, "keep_evidence", None)
        if keep is None or (outcome not in _FROM_LOG and outcome is not StepOutcome.SETUP_FAILED):
            return
        context = self._context
        try:
            failures = self._failures(outcome, error, judgement)
            if not failures:
                return
            kept: Mapping[str | None, Kept] = keep(context, failures, Deadline(EVIDENCE_SECONDS))
            instance, run = context.instance, run_of(context)
            if instance is None or run is None:
                return
            for step_key, own in kept.items():
                report_kept(FailedStep(instance, run, step_key, self._resource.display_name), own)
        except Exception as refusal:  # noqa: BLE001 - the step's own error matters more, and the cluster is cleaned up
            log_of(context).warning(_NOT_KEPT, self._resource.display_name, type(refusal).__name__)

    def _failures(
        self, outcome: StepOutcome, error: BaseException | None, judgement: Judgement | None
    ) -> list[Failure]:
        context = self._context
        if outcome not in _FROM_LOG:
            if error is None or judgement is None:
                return []
            text = "".join(traceback.format_exception(error))
            return [Failure(step_key_of(context), text, judgement)]
        instance, run, after = context.instance, run_of(context), self._after
        if instance is None or run is None or after is None:
            return []
        found = failures_after(instance, run.run_id, after)
        self._after = last_event_id(context)
        own = step_key_of(context)
        return [failure for failure in found if own is None or failure.step_key == own]


def evidence_of_call(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    cluster: str,
    error: Exception,
    losses: Callable[[], Sequence[Loss]],
    keep: Callable[[Failure], Mapping[str | None, Kept]],
) -> None:
    """Let a call that a step's body makes, such as that of a Pipes client, keep what it knows of its failure.

    What is kept is linked in the run's log. Never raises.

    Args:
        context: The context of the step, or of a direct call.
        cluster: The cluster's name for logs.
        error: What the call raises.
        losses: Returns what became of the cluster's pods lately.
        keep: Keeps it, and returns it by the step's key.
    """
    key, instance, run = step_key_of(context), context.instance, run_of(context)
    try:
        text = "".join(traceback.format_exception(error))
        kept = keep(Failure(key, text, judged(facts_of(error), losses)))
        if run is not None and key in kept:
            report_kept(FailedStep(instance, run, key, cluster), kept[key])
    except Exception as refusal:  # noqa: BLE001 - the step's own error matters more, and the cluster is cleaned up
        log_of(context).warning(_NOT_KEPT, cluster, type(refusal).__name__)

"""What is read from Dagster's contexts."""

import logging
from typing import TypeAlias

import dagster as dg
from dagster._core.errors import DagsterInvalidPropertyError

from dagster_ray.core._safe_log import safe_log

DagsterContext: TypeAlias = dg.InitResourceContext | dg.OpExecutionContext | dg.AssetExecutionContext
"""What the phases take: the context of a resource's set-up, or that of a step which calls a phase itself."""


def log_of(context: DagsterContext) -> logging.Logger:
    """Return the context's logger, whose lines appear in the run's event log. Its calls never raise.

    While Dagster's storage is away, lines go to stderr. Outside a run it is the logger `dagster_ray`.
    """
    return safe_log(context.log or logging.getLogger("dagster_ray"))


def step_key_of(context: DagsterContext) -> str | None:
    """Return the key of the step that the context belongs to; None when a resource serves several steps.

    The metadata of Dagster's logger has it also during a resource's set-up (dagster/_core/log_manager.py).
    """
    key = None if context.log is None else context.log.metadata.get("step_key")
    return key if isinstance(key, str) else None


def run_of(context: DagsterContext) -> dg.DagsterRun | None:
    """Return the run that the context belongs to; None outside of a run."""
    try:
        return context.run
    except DagsterInvalidPropertyError:  # the context of an op or asset that is called directly
        return None


def run_is_over(context: DagsterContext) -> bool:
    """Return whether the run is known to have ended already.

    `dagster job execute` initialises all resources once more after the run, to let the caller look at
    outputs (dagster/_core/execution/job_execution_result.py); no cluster is wanted then.
    """
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        return False
    try:
        record = instance.get_run_by_id(run.run_id)
    except Exception:  # noqa: BLE001 - any storage can sit behind it
        log_of(context).warning("Dagster's storage could not be read, so the run counts as under way.", exc_info=True)
        return False
    return record is not None and record.is_finished

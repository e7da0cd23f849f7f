"""What is read from the context of a step, which may also be that of an asset or op that a test calls directly."""

from typing import TypeAlias

import dagster as dg
from dagster._core.errors import DagsterInvalidPropertyError

StepContext: TypeAlias = dg.OpExecutionContext | dg.AssetExecutionContext


def run_of(context: StepContext) -> dg.DagsterRun | None:
    """Return the step's run; None if the asset or op was called directly."""
    try:
        return context.run
    except DagsterInvalidPropertyError:
        return None


def step_key_of(context: StepContext) -> str | None:
    """Return the step's key; None if the asset or op was called directly."""
    try:
        return context.get_step_execution_context().step.key
    except DagsterInvalidPropertyError:
        return None

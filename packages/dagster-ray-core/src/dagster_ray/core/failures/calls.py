"""Failures of a call that a step's body makes, such as that of a Pipes client: reported, and retried if they may be."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import dagster as dg
from dagster._core.errors import DagsterInvalidPropertyError

from dagster_ray.core._outcome import is_interrupt
from dagster_ray.core.failures.causes import Loss, judged
from dagster_ray.core.failures.launcher import DecidedRetry, after_failure, policy_request
from dagster_ray.core.failures.reading import facts_of


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
        try:
            step = context.get_step_execution_context()
        except DagsterInvalidPropertyError:
            step = None
        if step is None or is_interrupt(error):
            raise
        own = policy_request(step)
        request = after_failure(step, cluster(), allowed, judged(facts_of(error), losses), own or error)
        if request is None:
            raise
        raise request from error

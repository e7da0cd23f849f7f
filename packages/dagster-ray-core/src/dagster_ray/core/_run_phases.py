"""Run the phases of any `RayResource` around a block of work."""

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg

from dagster_ray.core._dagster_context import log_of, run_is_over
from dagster_ray.core._outcome import is_being_interrupted, last_event_id, step_outcome
from dagster_ray.core._phases import StepOutcome, phases_of_setup
from dagster_ray.core._protocol import RayResource, require_ray_resource
from dagster_ray.core._signals import interrupts_deferred
from dagster_ray.core.errors import CleanupFailedError, DagsterRayError


@contextmanager
def run_phases(resource: RayResource, context: dg.InitResourceContext) -> Generator[RayResource]:
    """Create, await and connect a cluster as its lifecycle says, and clean up when the block is left.

    `BaseRayResource` does this by itself. A backend that only conforms to the protocol does it in its own
    resource function:

        @dg.resource
        def ray_cluster(context):
            with run_phases(MyCluster(), context) as cluster:
                yield cluster

    SIGINT and SIGTERM wait while cleanup runs. Nothing is created when the run has ended already: Dagster
    initialises resources once more after some runs.

    Raises:
        NotARayResourceError: `resource` lacks members of the protocol.
        CleanupFailedError: The step succeeded but cleanup did not. After a step that did not succeed, a
            failed cleanup is logged instead, so that it does not hide the step's own error.
    """
    require_ray_resource(resource, where="run_phases")
    if run_is_over(context):
        log_of(context).info("The run has ended, so %s is not created again.", resource.display_name)
        yield resource
        return
    after = last_event_id(context)
    error: BaseException | None = None
    set_up = False
    try:
        _set_up(resource, context)
        set_up = True
        yield resource
    except BaseException as raised:
        error = raised
        raise
    finally:
        interrupted = is_being_interrupted(error)
        # Reading the outcome is deferred as well: an interrupt there would end us before the delete call.
        with interrupts_deferred(redeliver=not interrupted):
            setup_failed = not set_up and not interrupted
            outcome = StepOutcome.SETUP_FAILED if setup_failed else step_outcome(context, error, after)
            _clean_up(resource, context, outcome)


def _set_up(resource: RayResource, context: dg.InitResourceContext) -> None:
    on = resource.lifecycle
    for phase in phases_of_setup(create=on.create, wait=on.wait, connect=on.connect):
        log_of(context).debug("%s: %s", resource.display_name, phase.value)
        getattr(resource, phase.value)(context)


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

"""What a step with `driver="cluster"` finds in place of a connected cluster: Dagster launches the step through it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

import dagster as dg
from dagster._core.definitions.step_launcher import StepLauncher
from dagster._core.execution.plan.utils import RetryRequestedFromPolicy
from dagster_shared.error import DagsterError

from dagster_ray.core import BaseRayResource, DagsterContext, Lifecycle, StepOutcome
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.pipes._driver_errors import DriverElsewhereError, DriverStartError, StepNotMovableError
from dagster_ray.pipes._step_driver.delivery import RetryOf, UnreadableEventError
from dagster_ray.pipes._step_driver.run import StepRun, Wanted
from dagster_ray.pipes._submitted_job import Place
from dagster_ray.pipes.errors import PackageTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dagster._core.events import DagsterEvent
    from dagster._core.execution.context.system import StepExecutionContext
    from ray._private.worker import BaseContext

_PERMANENT = (
    DriverStartError,
    InvalidFieldError,
    PackageTooLargeError,
    StepNotMovableError,
)


class StepInCluster:
    """A `RayResource` in the step's own process: it has the cluster, and no driver.

    Dagster finds `launch_step` at the resources that a step requires itself, and calls it in place of the body.
    """

    def __init__(
        self, resource: BaseRayResource, place: Callable[[dg.OpExecutionContext], Place], wanted: Wanted
    ) -> None:
        """Take the resource, whose cluster accepts jobs, what finds its job server, and what is submitted."""
        self._resource, self._place, self._wanted = resource, place, wanted

    # Of the protocol

    @property
    def lifecycle(self) -> Lifecycle:
        """Which phases run."""
        return self._resource.lifecycle  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    @property
    def display_name(self) -> str:
        """The cluster's name for logs."""
        return self._resource.display_name

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard's URL for this process."""
        return self._resource.dashboard_url

    @property
    def startup_seconds(self) -> "Mapping[str, float]":
        """Seconds that each finished phase took."""
        return self._resource.startup_seconds

    @property
    def is_connected(self) -> bool:
        """False: the driver is in the cluster."""
        return False

    @property
    def context(self) -> "BaseContext":
        """Raise: only the body has it."""
        return self._elsewhere("context")

    @property
    def address(self) -> str:
        """Raise: only the body has it."""
        return self._elsewhere("address")

    @property
    def job_id(self) -> str:
        """Raise: only the body has it."""
        return self._elsewhere("job_id")

    def create(self, context: DagsterContext) -> None:
        """Do nothing: the cluster is there."""

    def wait(self, context: DagsterContext) -> None:
        """Do nothing: the cluster accepts jobs."""

    def connect(self, context: DagsterContext) -> None:  # noqa: ARG002 - of the protocol
        """Raise: only the body connects."""
        self._elsewhere("connect")

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """Do nothing: the resource cleans up when Dagster tears it down."""

    def _elsewhere(self, member: str) -> NoReturn:
        raise DriverElsewhereError(self.display_name, member)

    # Of Dagster

    def launch_step(
        self, step_context: "StepExecutionContext", retry: "RetryOf | None" = None
    ) -> "Iterator[DagsterEvent]":
        """Run the step's body in the cluster, and yield its events. Dagster calls it.

        Args:
            step_context: Dagster's context of the step.
            retry: Returns what to raise in place of an event by which the body has failed; None to pass it on.
        """
        try:
            place = self._place(dg.OpExecutionContext(step_context))
            yield from StepRun(step_context, place, self._wanted, retry).events()
        except (DagsterError, dg.Failure, dg.RetryRequested):
            raise
        except UnreadableEventError as error:
            advice = "install the same dagster in the image and in the code location"
            refusal = DriverStartError(step_context.step.key, str(error), advice)
            raise dg.Failure(str(refusal), allow_retries=False) from error
        except _PERMANENT as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except Exception as error:
            _retry_by_policy(step_context, error)
            raise


# A virtual subclass: Dagster asks `isinstance` and nothing more. To inherit would make its constructor warn that step
# launchers are superseded by Pipes, which cannot run the body of an asset as it is.
StepLauncher.register(StepInCluster)


def _retry_by_policy(context: "StepExecutionContext", error: Exception) -> None:
    """Raise a request for a retry if the step has a policy, as Dagster does for an error of a body.

    Interrupts are not retried here: Dagster's own boundary would start a second attempt after a termination.
    """
    policy = context.op_retry_policy
    if policy is None:
        return
    delay = policy.calculate_delay(context.previous_attempt_count + 1)
    raise RetryRequestedFromPolicy(max_retries=policy.max_retries, seconds_to_wait=delay) from error

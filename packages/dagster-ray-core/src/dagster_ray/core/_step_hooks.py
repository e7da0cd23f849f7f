"""The hooks of a `BaseRayResource`: those of users who subclass a backend, and what a backend may tell of a failure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from dagster_ray.core._dagster_context import DagsterContext
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import StepOutcome
from dagster_ray.core.failures.causes import Failure, Kept, Loss

if TYPE_CHECKING:
    from dagster_ray.core.step_report.around import Measurement


class StepHooks:
    """What is called around the phases. Each does nothing unless a subclass overrides it."""

    def check_run(self, context: dg.InitResourceContext) -> None:
        """Raise if no step of the run can be served. Called before the first phase; the default takes every run."""

    def on_create(self, context: DagsterContext) -> None:
        """Run after the cluster was asked for. For users who subclass; does nothing."""

    def on_ready(self, context: DagsterContext) -> None:
        """Run when drivers can connect. For users who subclass; does nothing."""

    def on_connect(self, context: DagsterContext) -> None:
        """Run when the driver is connected. For users who subclass; does nothing."""

    def on_cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """Run after cleanup, whatever the lifecycle decided. For users who subclass; does nothing."""

    @property
    def is_measured(self) -> bool:
        """Whether figures of the cluster are measured and added to what a step makes; the default says no."""
        return False

    def measure(self, context: DagsterContext) -> "Measurement | None":  # noqa: ARG002 - of those who override
        """Measure the cluster from now on; the default does not.

        Called when the cluster is there, or at the end of a set-up that failed, if `is_measured`.

        Args:
            context: The context of the resource's set-up.
        """
        return None

    def losses(self, context: DagsterContext, deadline: Deadline) -> Sequence[Loss]:  # noqa: ARG002 - of those who override
        """Return what became of the cluster's pods lately; the default knows nothing of them.

        Asked when a step failed with an error that leaves open whether its own code, memory or a lost node was the
        reason.

        Args:
            context: The context of the resource's set-up.
            deadline: Ends the reads, some seconds later.
        """
        return ()

    def keep_evidence(
        self,
        context: DagsterContext,  # noqa: ARG002 - of those who override
        failures: Sequence[Failure],  # noqa: ARG002
        deadline: Deadline,  # noqa: ARG002
    ) -> Mapping[str | None, Kept]:
        """Return what was kept of each failure, by the step's key, before anything is cleaned up; by default nothing.

        The driver is still connected if it was. The run's log links what is kept of each step. An error costs a
        warning.

        Args:
            context: The context of the resource's set-up.
            failures: The steps that failed, at least one; several if one process ran them on one cluster.
            deadline: Ends it, some seconds later, however many they are.
        """
        return {}

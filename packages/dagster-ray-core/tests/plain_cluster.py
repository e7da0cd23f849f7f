"""A backend that only has the protocol's members; nothing of this project stands behind it."""

from typing import TYPE_CHECKING

from dagster_ray.core import DagsterContext, Lifecycle, StepOutcome
from dagster_ray.core.errors import NotConnectedError

if TYPE_CHECKING:
    from ray._private.worker import BaseContext


class PlainCluster:
    """It connects to nothing, so its `context` raises."""

    address = "ray://plain:10001"
    dashboard_url = None
    job_id = "01000000"
    display_name = "Plain cluster"

    def __init__(self, lifecycle: Lifecycle | None = None) -> None:
        self.lifecycle = lifecycle or Lifecycle()
        self.calls: list[str] = []

    @property
    def context(self) -> "BaseContext":
        raise NotConnectedError(self.display_name, "context", "it never connects")

    def create(self, context: DagsterContext) -> None:
        self.calls.append("create")

    def wait(self, context: DagsterContext) -> None:
        self.calls.append("wait")

    def connect(self, context: DagsterContext) -> None:
        self.calls.append("connect")

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        self.calls.append(f"cleanup: {outcome.value}")

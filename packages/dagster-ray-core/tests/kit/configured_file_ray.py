"""`FileRay` as a ConfigurableResource, with a nested default where Dagster does not find it."""

from pathlib import Path
from typing import Any

import dagster as dg
from file_ray import FileRay
from pydantic import ConfigDict, Field, PrivateAttr

from dagster_ray.core import DagsterContext, Lifecycle, StepOutcome, run_phases


class ConfiguredFileRay(dg.ConfigurableResource[Any]):
    """The trap of a nested default: at execution Dagster takes that of the class `Lifecycle`."""

    directory: str
    timeout: float = 600.0
    lifecycle: Lifecycle = Field(default_factory=lambda: Lifecycle(cleanup="on_exception"))
    name: str | None = None
    ready: bool = True

    _inner: FileRay | None = PrivateAttr(default=None)
    model_config = ConfigDict(extra="forbid")

    @property
    def _lifecycle(self) -> Lifecycle:
        return self.lifecycle  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    @property
    def inner(self) -> FileRay:
        if self._inner is None:
            self._inner = FileRay(
                self.directory, lifecycle=self._lifecycle, timeout=self.timeout, name=self.name, ready=self.ready
            )
        return self._inner

    @property
    def context(self) -> Any:
        return self.inner.context

    @property
    def job_id(self) -> str:
        return self.inner.job_id

    @property
    def address(self) -> str:
        return self.inner.address

    @property
    def dashboard_url(self) -> str | None:
        return self.inner.dashboard_url

    @property
    def display_name(self) -> str:
        return self.inner.display_name

    @property
    def cluster(self) -> Path | None:
        return self.inner.cluster

    def create(self, context: DagsterContext) -> None:
        self.inner.create(context)

    def wait(self, context: DagsterContext) -> None:
        self.inner.wait(context)

    def connect(self, context: DagsterContext) -> None:
        self.inner.connect(context)

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        self.inner.cleanup(context, outcome)

    def yield_for_execution(self, context: dg.InitResourceContext) -> Any:
        return run_phases(self, context)

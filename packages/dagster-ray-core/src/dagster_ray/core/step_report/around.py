"""What happens around a step to report figures of its cluster: they are measured, added to its outputs, and logged."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
from dagster._core.events import EngineEventData
from typing_extensions import Protocol

from dagster_ray.core._connection import token_of_environment
from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of, step_key_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core.step_report.dashboard import DashboardReader
from dagster_ray.core.step_report.progress_watch import Job, ProgressWatch

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext

    from dagster_ray.core._protocol import RayResource

PREFIX = "dagster_ray/"
_READ_SECONDS = 3.0
"""What reading the figures may take, and all that is asked at the end of a step together.

A pod has 30 s to end, of which the cleanup may take 20, and a cluster costs money until it is deleted.
"""
_CLOSE_SECONDS = 0.5
"""What the threads of a step that was interrupted are waited for."""
_FRESH_SECONDS = 5.0
"""For how long figures that were read are used again: a step may have thousands of outputs."""

Figure = float | int | str | bool
_USERS = {"ray.data", "ray.train"}
"""Modules without which a driver has no progress of Ray Data or Ray Train."""


class Measurement(Protocol):
    """What a backend measures of a step's cluster, from its construction on."""

    def read(self, deadline: Deadline) -> Mapping[str, Figure]:
        """Return the figures until now, by names without a prefix. May raise.

        Args:
            deadline: Ends what is asked for them. If it is over, only what is known already is returned.
        """
        ...

    def close(self, deadline: Deadline) -> None:
        """End what measures. May raise.

        Args:
            deadline: Ends the wait for threads.
        """
        ...


def metadata_of(figures: Mapping[str, Figure]) -> dict[str, dg.MetadataValue[Any]]:
    """Return figures as metadata: numbers as numbers, which Dagster plots."""
    found: dict[str, dg.MetadataValue[Any]] = {}
    for name, figure in figures.items():
        if isinstance(figure, bool):
            found[PREFIX + name] = dg.MetadataValue.bool(figure)
        elif isinstance(figure, str):
            found[PREFIX + name] = dg.MetadataValue.text(figure)
        elif isinstance(figure, int):
            found[PREFIX + name] = dg.MetadataValue.int(figure)
        else:
            found[PREFIX + name] = dg.MetadataValue.float(round(figure, 9))
    return found


class Measured(Protocol):
    """What has a cluster that may be measured. A `BaseRayResource` does."""

    @property
    def display_name(self) -> str:
        """The cluster's name for logs."""
        ...

    @property
    def is_measured(self) -> bool:
        """Whether figures are wanted."""
        ...

    def measure(self, context: DagsterContext) -> Measurement | None:
        """Measure the cluster from now on; None if there is nothing to measure. May raise."""
        ...


class Figures:
    """Reads a measurement as metadata, without ever raising."""

    def __init__(self, measurement: Measurement, cluster: str, log: logging.Logger) -> None:
        """Take a measurement, the cluster's name for logs, and where trouble is told."""
        self._measurement, self._cluster, self._log = measurement, cluster, log
        self._last: tuple[Deadline, dict[str, dg.MetadataValue[Any]]] | None = None

    def metadata(self, final: Deadline | None = None) -> dict[str, dg.MetadataValue[Any]]:
        """Return the figures until now; those of some seconds ago unless they are the final ones.

        Args:
            final: Ends the reading of the final figures. None: a step goes on.
        """
        if self._last is not None and not self._last[0].is_over() and final is None:
            return self._last[1]
        found: dict[str, dg.MetadataValue[Any]] = {}
        try:
            found = metadata_of(self._measurement.read(final or Deadline(_READ_SECONDS)))
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, the step goes on without figures
            self._log.warning("%s: the figures of the step could not be read: %s", self._cluster, error)
        self._last = Deadline(_FRESH_SECONDS), found
        return found

    def close(self, deadline: Deadline) -> None:
        """End what measures."""
        try:
            self._measurement.close(deadline)
        except Exception as error:  # noqa: BLE001 - as above
            self._log.warning("%s: what measures the step did not end: %s", self._cluster, error)


class StepReport:
    """The figures of one cluster and of those that step in for it. None of its methods raises.

    Args:
        resource: What has the cluster. A resource that only conforms to `RayResource` is not measured.
        context: The context of the step, or of the resource's set-up.
    """

    def __init__(self, resource: "RayResource | Measured", context: DagsterContext) -> None:
        """Measure nothing yet."""
        self._resource, self._context = cast("Measured", resource), context
        self._figures: Figures | None = None
        self._progress: JobProgress | None = None
        self._steps = set[str]()

    @property
    def is_wanted(self) -> bool:
        """Whether figures belong to what the step makes."""
        return getattr(self._resource, "is_measured", False) is True

    def begin(self) -> None:
        """Measure, and report progress, from now on, if the resource wants it."""
        if self._progress is None:
            self._progress = JobProgress.of(self._resource, self._context)
        self._measure()

    def _measure(self) -> None:
        if not self.is_wanted or self._figures is not None:
            return
        name, log = self._resource.display_name, log_of(self._context)
        try:
            measurement = self._resource.measure(self._context)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, the step runs without figures
            log.warning("%s: the step cannot be measured: %s", name, error)
            return
        self._figures = None if measurement is None else Figures(measurement, name, log)

    def metadata(self) -> dict[str, dg.MetadataValue[Any]]:
        """Return the figures until now; empty if nothing is measured."""
        return {} if self._figures is None else self._marked(self._figures.metadata())

    def serves(self, step_key: str) -> None:
        """Note that a step uses the cluster: figures count from its start, so those of the second one are shared."""
        self._steps.add(step_key)

    def _marked(self, metadata: dict[str, dg.MetadataValue[Any]]) -> dict[str, dg.MetadataValue[Any]]:
        is_shared = metadata and len(self._steps) > 1
        return {**metadata, f"{PREFIX}shared": dg.MetadataValue.bool(True)} if is_shared else metadata

    def end(self, *, asks: bool = True) -> None:
        """Write the figures into the log of the run, and measure no longer.

        Tables, figures and the end of the threads share one deadline, because the cluster is deleted after them.

        Args:
            asks: Whether anything is asked any more. False for a step that was interrupted, whose process has few
                seconds left: the figures are those that are known already.
        """
        deadline = Deadline(_READ_SECONDS if asks else _CLOSE_SECONDS)
        asking = deadline if asks else Deadline(0.0)
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.end(asking, deadline)
        if asks:
            self._measure()  # a set-up that failed has cost something, too
        figures, self._figures = self._figures, None
        if figures is None:
            return
        if metadata := self._marked(figures.metadata(asking)):
            report_event(self._context, "Figures of", self._resource.display_name, metadata)
        figures.close(deadline)


class JobProgress:
    """Reports the progress of a driver in this process, in the log of the run. None of its methods raises."""

    def __init__(self, job: Job, cluster: str, context: DagsterContext) -> None:
        """Start; lines are written from now on.

        Args:
            job: The driver.
            cluster: The cluster's name for logs.
            context: The context of the step, or of the resource's set-up.
        """
        self._watch, self._cluster, self._context = ProgressWatch(job, log_of(context)), cluster, context

    @classmethod
    def of(cls, resource: "RayResource | Measured", context: DagsterContext) -> "JobProgress | None":
        """Start if a resource wants it, and its driver is in this process; return None otherwise.

        Args:
            resource: The resource, or what stands for it.
            context: The context of the step, or of the resource's set-up.
        """
        job = job_of(resource)
        return None if job is None else cls(job, resource.display_name, context)

    def end(self, asking: Deadline, deadline: Deadline) -> None:
        """Write the tables into the log of the run, and no more lines.

        Args:
            asking: Ends the question for the tables; after it, nothing is asked.
            deadline: Ends the wait for the thread.
        """
        tables = {PREFIX + name: dg.MetadataValue.md(table) for name, table in self._watch.tables(asking).items()}
        if tables:
            report_event(self._context, "Progress on", self._cluster, tables)
        self._watch.close(deadline)


def job_of(resource: object) -> Job | None:
    """Return the driver in this process whose progress a resource wants reported; None if there is none."""
    if getattr(resource, "progress", "off") != "report" or getattr(resource, "driver_in_cluster", False):
        return None
    known = cast("Any", resource)  # only a `BaseRayResource` has the field

    def place() -> tuple[str | None, str | None]:
        token = known.driver_environment().get("RAY_AUTH_TOKEN") or token_of_environment(os.environ)
        return known.dashboard_url, token

    return Job(DashboardReader(place), lambda: known.job_id, lambda: not sys.modules.keys().isdisjoint(_USERS))


def report_event(
    context: DagsterContext, what: str, cluster: str, metadata: Mapping[str, dg.MetadataValue[Any]]
) -> None:
    """Write one event about a cluster into the log of the run, or a line if there is no run. Never raises.

    Args:
        context: The context of the step or of its resource.
        what: What the event is about, before the cluster's name.
        cluster: The cluster's name for logs.
        metadata: What the event says.
    """
    message, instance, run = f"{what} {cluster}.", context.instance, run_of(context)
    log = log_of(context)
    if instance is None or run is None:
        words = ", ".join(f"{key.removeprefix(PREFIX)}: {value.value}" for key, value in metadata.items())
        log.info("%s %s", message, words)
        return
    data = EngineEventData(metadata={f"{PREFIX}cluster": dg.MetadataValue.text(cluster), **metadata})
    try:
        instance.report_engine_event(message, run, data, step_key=step_key_of(context))
    except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and the cleanup follows
        log.warning("%s It could not be stored: %s", message, type(error).__name__)


def add_to_outputs(step_context: "StepExecutionContext", report: StepReport) -> None:
    """Let each output of a step, and so each materialization, have the figures at the time when it is stored.

    Dagster asks the step's context for more metadata of an output after the body has returned it.
    """
    given = step_context.get_output_metadata
    report.serves(step_context.step.key)

    def with_figures(output_name: str, mapping_key: str | None = None) -> Mapping[str, Any]:
        return {**report.metadata(), **(given(output_name, mapping_key) or {})}

    step_context.get_output_metadata = with_figures

"""The cluster as a step's body sees it that runs inside: a driver of the job's own cluster, and no phases."""

import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from typing_extensions import Protocol

from dagster_ray.core import _connection, _driver, _driver_output
from dagster_ray.core._dagster_context import DagsterContext, code_folders_of, log_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import StepOutcome
from dagster_ray.core._protocol import RayResource
from dagster_ray.core._startup import Progress
from dagster_ray.core.step_report.around import JobProgress

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

    from dagster_ray.core._config import Lifecycle

_CONNECT_SECONDS = 120.0
_DRAIN_SECONDS = 5.0
_TABLES_SECONDS = 8.0
_CLOSE_SECONDS = 0.5
"""Ray kills a job 3 s after it was asked to stop."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What a worker knows of the cluster that it runs in."""

    display_name: str
    address: str
    """The cluster's GCS."""


_inside: list[Inside] = []
_interrupted = threading.Event()


def enter(display_name: str) -> None:
    """Say that this process is a worker in a cluster, whose resources connect to that cluster."""
    _inside[:] = [Inside(display_name, os.environ.get("RAY_ADDRESS") or "auto")]


def inside() -> Inside | None:
    """Return the cluster that this process runs in as a worker; None in all other processes."""
    return _inside[0] if _inside else None


def note_interrupt() -> None:
    """Say that the step of this worker was interrupted. Dagster tears resources down as if nothing had happened."""
    _interrupted.set()


class Configured(RayResource, Protocol):
    """What the configured resource is asked for besides: `BaseRayResource` has it."""

    @property
    def data_execution_options(self) -> Any:
        """Limits of Ray Data for this driver."""
        ...

    def init_options(self) -> Mapping[str, Any]:
        """Return keyword arguments of `ray.init`."""
        ...

    def on_connect(self, context: DagsterContext) -> None:
        """Run code of the author's after connecting."""
        ...


class ClusterInside:
    """A `RayResource` in the body of a step that runs in the cluster.

    Whatever else is asked of it, the configured resource answers.
    """

    def __init__(self, resource: Configured, here: Inside, progress: Progress) -> None:
        self._resource, self._here, self._progress = resource, here, progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resource, name)

    @property
    def lifecycle(self) -> "Lifecycle":
        """Of the phases only connect is left here."""
        return self._resource.lifecycle

    @property
    def context(self) -> "BaseContext":
        """What `ray.init` returned."""
        return self._resource.context

    @property
    def address(self) -> str:
        """The `host:port` of the cluster's GCS, as it is reached inside."""
        live = self._progress.live
        known: Mapping[str, Any] = {} if live is None else getattr(live.context, "address_info", {})
        return str(known.get("gcs_address") or self._here.address)

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard's URL as Ray tells it to its driver; otherwise the resource's own, which may be of outside."""
        return self._progress.dashboard_url or self._resource.dashboard_url

    @property
    def driver_in_cluster(self) -> bool:
        """False: the driver is in this process."""
        return False

    @property
    def job_id(self) -> str:
        """Ray's id of this driver."""
        return self._resource.job_id

    @property
    def display_name(self) -> str:
        """The cluster's name for logs."""
        return self._here.display_name

    def create(self, context: DagsterContext) -> None:
        """Do nothing: the cluster is there."""

    def wait(self, context: DagsterContext) -> None:
        """Do nothing: the cluster is there."""

    def connect(self, context: DagsterContext) -> None:
        """Connect this process with `ray.init`; does nothing if it is connected already.

        The resource's `runtime_env` is that of the whole job, so `ray.init` does not get it again.
        """
        if self._progress.live is not None:
            return
        if self._progress.connection is not None:  # the body has ended that driver
            _driver.process_driver.leave(self._progress.connection)
        options = {name: value for name, value in self._resource.init_options().items() if name != "runtime_env"}
        self._progress.created = self._progress.ready = True
        self._progress.connection = _connection.connect(
            self._here.display_name,
            self._here.address,
            options,
            Deadline(_CONNECT_SECONDS),
            code_folders=lambda: code_folders_of(context, is_elsewhere=True),
        )
        if (limits := self._resource.data_execution_options) is not None:
            _connection.limit_ray_data(limits)
        self._resource.on_connect(context)

    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """Disconnect; the step's process cleans up the cluster."""
        del outcome
        connection, self._progress.connection = self._progress.connection, None
        if connection is None:
            return
        try:
            if connection.driver is not None and _driver.is_connected(connection):
                self._drain(context)
        finally:
            _driver.process_driver.leave(connection)

    def _drain(self, context: DagsterContext) -> None:
        prints = self._resource.init_options().get("log_to_driver") is not False
        if prints and not _driver_output.drain_task_output(_DRAIN_SECONDS):
            log_of(context).warning(
                "Output of remote tasks may be missing: not all of it arrived within %g s.", _DRAIN_SECONDS
            )


@contextmanager
def connected_inside(
    resource: Configured, here: Inside, progress: Progress, context: dg.InitResourceContext
) -> Generator[ClusterInside]:
    """Connect a worker to its cluster around its step, if the lifecycle says that a resource connects.

    The worker itself reports the progress of Ray Data and Ray Train: only here is it known whether the body uses them.
    """
    cluster = ClusterInside(resource, here, progress)
    if cluster.lifecycle.connect:
        cluster.connect(context)
    reported = JobProgress.of(cluster, context)
    try:
        yield cluster
    finally:
        if reported is not None:
            is_over = _interrupted.is_set()
            deadline = Deadline(_CLOSE_SECONDS if is_over else _TABLES_SECONDS)
            reported.end(Deadline(0.0) if is_over else deadline, deadline)
        cluster.cleanup(context, StepOutcome.UNKNOWN)

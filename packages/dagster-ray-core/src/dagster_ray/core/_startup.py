"""How far one execution of a resource has come, how long each phase took, and the event that tells it to Dagster."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster._core.events import EngineEventData

from dagster_ray.core import _driver
from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of, step_key_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import Phase
from dagster_ray.core._protocol import RayResource
from dagster_ray.core.errors import NotConnectedError, NotCreatedError


@dataclass(slots=True)
class Progress:
    """The state of one execution."""

    deadline: Deadline | None = None
    create_begun: bool = False
    created: bool = False
    ready: bool = False
    left: bool = False
    deleted: bool = False
    connection: _driver.Connection | None = None
    evidence_seconds: float = 0.0
    """What keeping evidence of a failure has taken of the cleanup's budget."""
    seconds: dict[Phase, float] = field(default_factory=dict[Phase, float])

    @property
    def live(self) -> _driver.Connection | None:
        """The connection, unless the step's own code has ended it."""
        connection = self.connection
        return connection if connection is not None and _driver.is_connected(connection) else None

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard's URL as Ray tells it to its driver; None without a driver, or without a dashboard."""
        connection = self.live
        location: str | None = None if connection is None else connection.context.dashboard_url
        if not location:
            return None
        return location if "://" in location else f"http://{location}"

    @contextmanager
    def phase(self, phase: Phase, budget_seconds: float) -> Generator[Deadline]:
        """Let the one deadline run during a phase, and note how long the phase took."""
        if self.deadline is None:
            self.deadline = Deadline(budget_seconds)
        deadline = self.deadline
        deadline.resume()
        before = deadline.spent_seconds()
        try:
            yield deadline
        finally:
            deadline.pause()
            self.seconds[phase] = deadline.spent_seconds() - before

    def require_created(self, target: str, phase: Phase) -> None:
        """Raise `NotCreatedError` if nothing was asked for yet."""
        if not self.created:
            raise NotCreatedError(target, phase.value)

    def connected(self, target: str, member: str) -> _driver.Connection:
        """Return the live connection; raise `NotConnectedError` if there is none."""
        if (connection := self.live) is not None:
            return connection
        if self.connection is not None:
            why = "it was disconnected, by `ray.shutdown` in the step's own code or because its cluster was lost"
        elif not self.create_begun:
            why = "its phases did not run; Dagster runs them for a step unless the lifecycle switches them off"
        elif not self.ready:
            why = "the cluster was asked for but nothing waited for it"
        else:
            why = "the cluster is ready but `connect` did not run, or the resource was cleaned up already"
        raise NotConnectedError(target, member, why)


PREFIX = "dagster_ray/"


def startup_metadata(
    resource: RayResource, seconds: Mapping[str, float] | None = None
) -> dict[str, dg.MetadataValue[Any]]:
    """Return what a connected resource says of itself, ready for Dagster: `metadata=startup_metadata(ray_cluster)`.

    Keys: `dagster_ray/cluster`, `dagster_ray/dashboard` (a link, if there is a dashboard that outlives the step's
    process), `dagster_ray/job_id`, and for each phase `dagster_ray/<phase>_seconds`, with
    `dagster_ray/startup_seconds` as their sum.

    A dashboard at an address of this machine (Ray in the step's process, or a port-forward) is left out: after the
    step the link is dead, and later it may open another run's dashboard.

    Args:
        resource: The resource, connected.
        seconds: Seconds that each phase took. None: what the resource has measured; backends that do not inherit
            from `BaseRayResource` need not measure anything.
    """
    url = resource.dashboard_url
    return _metadata(resource, seconds, None if url is None or is_of_this_machine(url) else dg.MetadataValue.url(url))


def is_of_this_machine(url: str) -> bool:
    """Return whether a URL leads to the machine that opens it: localhost, or a loopback address.

    Nothing is left there to answer when the step is over.
    """
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # it is a name
        return host == "localhost" or host.endswith(".localhost")


def _metadata(
    resource: RayResource, seconds: Mapping[str, float] | None, dashboard: dg.MetadataValue[Any] | None
) -> dict[str, dg.MetadataValue[Any]]:
    took: Mapping[str, float] = getattr(resource, "startup_seconds", {}) if seconds is None else seconds
    metadata: dict[str, dg.MetadataValue[Any]] = {
        f"{PREFIX}cluster": dg.MetadataValue.text(resource.display_name),
    }
    # Dagster shows the first few entries; the rest only after a click.
    if dashboard is not None:
        metadata[f"{PREFIX}dashboard"] = dashboard
    metadata[f"{PREFIX}job_id"] = dg.MetadataValue.text(resource.job_id)
    if took:
        metadata[f"{PREFIX}startup_seconds"] = dg.MetadataValue.float(round(sum(took.values()), 3))
    for phase, phase_seconds in took.items():
        metadata[f"{PREFIX}{phase}_seconds"] = dg.MetadataValue.float(round(phase_seconds, 3))
    return metadata


def _dashboard_of_event(resource: RayResource) -> dg.MetadataValue[Any] | None:
    url = resource.dashboard_url
    if url is None:
        return None
    if is_of_this_machine(url):
        return dg.MetadataValue.text(f"{url} (on the step's machine, while the step runs)")
    return dg.MetadataValue.url(url)


def report_startup(resource: RayResource, seconds: Mapping[str, float], context: DagsterContext) -> None:
    """Write the start-up into the event log of the run, under its step; outside a run, into the log.

    A resource's set-up cannot add metadata to the step's outputs: they do not exist yet. An engine event is
    shown beside the step's own events, with the dashboard as a link, or as text if the link would end with the step.
    """
    message = f"Connected to {resource.display_name} after {sum(seconds.values()):.1f} s."
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        log_of(context).info(message)
        return
    data = EngineEventData(metadata=_metadata(resource, seconds, _dashboard_of_event(resource)))
    try:
        instance.report_engine_event(message, run, data, step_key=step_key_of(context))
    except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and the driver is connected
        log_of(context).warning("%s Its metadata could not be stored: %s", message, type(error).__name__)

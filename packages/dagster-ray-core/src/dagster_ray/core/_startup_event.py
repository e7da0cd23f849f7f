"""The event by which a step's start-up shows in Dagster: which cluster, where its dashboard is, how long it took."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster._core.events import EngineEventData

from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of, step_key_of
from dagster_ray.core._protocol import RayResource

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

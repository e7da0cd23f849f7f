"""The event by which a step's start-up shows in Dagster: which cluster, where its dashboard is, how long it took."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.events import EngineEventData

from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of, step_key_of
from dagster_ray.core._protocol import RayResource

PREFIX = "dagster_ray/"


def startup_metadata(resource: RayResource, seconds: Mapping[str, float]) -> dict[str, dg.MetadataValue[Any]]:
    """Return what a connected resource says of itself, ready for Dagster.

    Keys: `dagster_ray/cluster`, `dagster_ray/job_id`, `dagster_ray/dashboard` (if there is one) and for each
    phase `dagster_ray/<phase>_seconds`, with `dagster_ray/startup_seconds` as their sum.
    """
    metadata: dict[str, dg.MetadataValue[Any]] = {
        f"{PREFIX}cluster": dg.MetadataValue.text(resource.display_name),
        f"{PREFIX}job_id": dg.MetadataValue.text(resource.job_id),
        f"{PREFIX}startup_seconds": dg.MetadataValue.float(round(sum(seconds.values()), 3)),
    }
    if resource.dashboard_url is not None:
        metadata[f"{PREFIX}dashboard"] = dg.MetadataValue.url(resource.dashboard_url)
    for phase, took in seconds.items():
        metadata[f"{PREFIX}{phase}_seconds"] = dg.MetadataValue.float(round(took, 3))
    return metadata


def report_startup(resource: RayResource, seconds: Mapping[str, float], context: DagsterContext) -> None:
    """Write the start-up into the event log of the run, under its step; outside a run, into the log.

    A resource's set-up cannot add metadata to the step's outputs: they do not exist yet. An engine event is
    shown beside the step's own events, with the dashboard as a link.
    """
    message = f"Connected to {resource.display_name} after {sum(seconds.values()):.1f} s."
    instance, run = context.instance, run_of(context)
    if instance is None or run is None:
        log_of(context).info(message)
        return
    data = EngineEventData(metadata=startup_metadata(resource, seconds))
    instance.report_engine_event(message, run, data, step_key=step_key_of(context))

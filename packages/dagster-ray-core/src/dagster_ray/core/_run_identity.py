"""What Dagster's contexts and environment tell about who asks for a cluster, and about its image."""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from dagster_ray.core._dagster_context import DagsterContext, log_of, run_of, step_key_of
from dagster_ray.core._identity import Identity

INSTANCE_ID_VARIABLE = "DAGSTER_RAY_INSTANCE_ID"
_RETRIES = {dg.DagsterEventType.STEP_RESTARTED, dg.DagsterEventType.STEP_UP_FOR_RETRY}


@dataclass(frozen=True, slots=True)
class ImageCandidates:
    """Where the image of the step's own code may stand.

    Args:
        run_tags: Tags of the run; Dagster's Kubernetes launcher sets `dagster/image`.
        code_origin_image: The container image of the code location, as the run's origin has it.
        environ_image: `DAGSTER_CURRENT_IMAGE` of this process.
    """

    run_tags: Mapping[str, str] = field(default_factory=dict[str, str])
    code_origin_image: str | None = None
    environ_image: str | None = None


def _resource_key(context: DagsterContext) -> str | None:
    """Return the key under which the resource is bound; only its own set-up knows it."""
    name = None if context.log is None else context.log.metadata.get("resource_name")
    return name if isinstance(name, str) else None


def _attempt(context: DagsterContext, run_id: str, step_key: str | None) -> int:
    """Count the attempts of the step before this one.

    The event of a retry's request is stored before its set-up, that of its start after it; so the larger of
    both counts is right during set-up and in the step. An unreadable log counts as a first attempt.
    """
    if step_key is None or (instance := context.instance) is None:
        return 0
    try:
        records = instance.get_records_for_run(run_id, of_type=_RETRIES).records
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and a name is needed whatever it raises
        log_of(context).warning("The run's events could not be read; the step counts as tried once.", exc_info=True)
        return 0
    events = [record.event_log_entry.dagster_event for record in records]
    types = [event.event_type for event in events if event is not None and event.step_key == step_key]
    return max(types.count(kind) for kind in _RETRIES)


def configured_instance_id(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the id that `DAGSTER_RAY_INSTANCE_ID` gives the Dagster instance; None if it is unset or blank.

    Args:
        environ: The environment. None: that of this process.
    """
    environment = os.environ if environ is None else environ
    return environment.get(INSTANCE_ID_VARIABLE, "").strip() or None


def instance_id_of(instance: dg.DagsterInstance | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the id that distinguishes the runs of a Dagster instance from those of other instances.

    This is `DAGSTER_RAY_INSTANCE_ID` if it is set, otherwise the id of the run storage. A copy of a database has the
    storage id of its original, so only the variable distinguishes the two. A storage of Dagster+ or of a third party
    may have no id (dagster/_core/storage/runs/sql_run_storage.py has one).

    Args:
        instance: The instance. None: only the environment is read.
        environ: The environment. None: that of this process.
    """
    configured = configured_instance_id(environ)
    if configured is not None:
        return configured
    read = getattr(getattr(instance, "run_storage", None), "get_run_storage_id", None)
    if read is None:
        return None
    try:
        return str(read())
    except Exception:  # noqa: BLE001 - any storage can sit behind it, and without an id only less is known
        return None


def _asset_keys(context: DagsterContext, run: dg.DagsterRun, step_key: str | None) -> tuple[str, ...]:
    """Return the assets of the step; during set-up those of the run's selection that the step is named after."""
    if not isinstance(context, dg.InitResourceContext):
        return tuple(key.to_user_string() for key in context.selected_asset_keys) if context.has_assets_def else ()
    selected = run.asset_selection or ()
    own = [key for key in selected if "__".join(key.path) == step_key]
    return tuple(key.to_user_string() for key in (own or (selected if len(selected) == 1 else ())))


def identity_of(
    context: DagsterContext,
    attempt: int | None = None,
    *,
    resource_key: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Identity:
    """Return who asks for a cluster. Works outside of a run too, and each call then has a name of its own.

    Args:
        context: The context of a resource's set-up, or that of a step.
        attempt: How often the step was tried before. None: counted from the events of the run.
        resource_key: The resource's key. None: what the context of a resource's set-up says.
        environ: The environment. None: that of this process.
    """
    environment = os.environ if environ is None else environ
    run = run_of(context)
    key = resource_key or _resource_key(context)
    deployment = environment.get("DAGSTER_CLOUD_DEPLOYMENT_NAME")
    git_sha = environment.get("DAGSTER_CLOUD_GIT_SHA")
    if run is None:
        nonce = uuid.uuid4().hex
        return Identity(resource_key=key, attempt=attempt or 0, nonce=nonce, deployment=deployment, git_sha=git_sha)
    step_key = step_key_of(context)
    if attempt is None:
        attempt = _attempt(context, run.run_id, step_key)
    info = run.dagster_execution_info  # job, code location and partition, where known
    return Identity(
        run_id=run.run_id,
        step_key=step_key,
        attempt=attempt,
        resource_key=key,
        code_location=info.get("dagster/code-location") or run.tags.get("dagster/code_location"),
        git_sha=git_sha,
        deployment=deployment,
        instance_id=instance_id_of(context.instance, environment),
        job=run.job_name,
        asset_keys=_asset_keys(context, run, step_key),
        partition_key=info.get("dagster/partition"),
        backfill_id=run.tags.get("dagster/backfill"),
    )


def image_candidates(context: DagsterContext, environ: Mapping[str, str] | None = None) -> ImageCandidates:
    """Return where the image of the step's code may stand; most of it is empty outside of containers."""
    environment = os.environ if environ is None else environ
    run = run_of(context)
    origin = None if run is None else run.job_code_origin
    return ImageCandidates(
        run_tags=dict(run.tags) if run is not None else {},
        code_origin_image=None if origin is None else origin.repository_origin.container_image,
        environ_image=environment.get("DAGSTER_CURRENT_IMAGE"),
    )

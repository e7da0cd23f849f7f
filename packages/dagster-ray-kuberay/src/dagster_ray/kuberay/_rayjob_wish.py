"""From a resource's fields and a step's context to the RayJob that is wanted."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import importlib.metadata
import logging
import math
import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster_ray.core import CleanupPolicy, DagsterContext, Deadline, identity_of, image_candidates
from dagster_ray.kuberay._image import ChosenImage, choose_image
from dagster_ray.kuberay._labels import cleanup_labels
from dagster_ray.kuberay._manifests import RenderInput, metadata_text, render_rayjob
from dagster_ray.kuberay._portable import PRE_RUNNING_DEADLINE
from dagster_ray.kuberay._rayjob_creation import CREATION_ANNOTATION, Wish
from dagster_ray.kuberay._step_pod import owner_reference

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes import KubernetesApi
    from dagster_ray.kuberay.configs import InteractiveRayJobConfig

# The operator's own limit comes after ours, so that a step that lives says itself why it failed.
_OPERATOR_GRACE_SECONDS = 60
_NAMES = 5
_NAME_LIMIT = 47


@dataclass(frozen=True, slots=True)
class Settings:
    """The fields of a resource that a RayJob follows from."""

    config: "InteractiveRayJobConfig"
    image: str | None
    env_vars: Mapping[str, str]
    queue: str | None
    priority: str | None
    timeout_seconds: float
    cleanup: CleanupPolicy
    """When the step deletes the RayJob; one that it never deletes does not end with its pod either."""


def wish_for(
    settings: Settings, context: DagsterContext, api: "KubernetesApi", deadline: Deadline, log: logging.Logger
) -> Wish:
    """Return the RayJob that is wanted for this step.

    Raises:
        InvalidSpecError, SpecFileError, MissingVariableError: The spec cannot be rendered.
    """
    config = settings.config.with_file()
    identity = identity_of(context)
    namespace = namespace_of(config, api)
    ray_version = importlib.metadata.version("ray")
    image = image_of(settings.image, context, ray_version)
    log.info("The cluster's image is %s (%s).", *image)
    creation_id = uuid.uuid4().hex
    common = RenderInput(
        name="",
        namespace=namespace,
        labels={**identity.labels, **cleanup_labels(settings.cleanup)},
        annotations={**identity.annotations, CREATION_ANNOTATION: creation_id},
        image=image.image,
        ray_version=ray_version,
        env_vars=settings.env_vars,
        queue=settings.queue,
        priority=settings.priority,
        pre_running_deadline_seconds=operator_deadline(settings.timeout_seconds),
        owner_reference=owner_reference(api, namespace, deadline, log) if settings.cleanup != "never" else None,
        environ=os.environ,
    )
    own_name = metadata_text(config, "name", os.environ)
    names = (own_name,) if own_name else _names(identity.cluster_name(limit=_NAME_LIMIT - 2))

    def render(name: str) -> dict[str, Any]:
        return render_rayjob(config, dataclasses.replace(common, name=name))

    return Wish(namespace, names, creation_id, render, fields_of_ours(config))


def namespace_of(config: "InteractiveRayJobConfig", api: "KubernetesApi") -> str:
    """Return the namespace of the RayJob: the configuration's, else the account's."""
    return metadata_text(config, "namespace", os.environ) or api.namespace


def fields_of_ours(config: "InteractiveRayJobConfig") -> frozenset[str]:
    """Return the paths of fields that are set without the user's asking."""
    given = config.plain()["spec"]
    return frozenset({PRE_RUNNING_DEADLINE} if "preRunningDeadlineSeconds" not in given else ())


def image_of(explicit: str | None, context: DagsterContext, ray_version: str) -> ChosenImage:
    """Return the image of containers that name none, and where it was found."""
    found = image_candidates(context)
    python = platform.python_version()
    return choose_image(explicit, found.run_tags, found.code_origin_image, found.environ_image, ray_version, python)


def operator_deadline(timeout_seconds: float) -> int:
    """Return after how many seconds the operator gives up a RayJob that no driver has come to.

    It counts from the creation of the cluster, after any queue (KubeRay rayjob_controller.go: status.startTime).
    """
    return math.ceil(timeout_seconds) + _OPERATOR_GRACE_SECONDS


def _names(first: str) -> tuple[str, ...]:
    """Return names to try: an earlier process of this step may have left its own behind."""
    return (first, *(f"{first}-{number}" for number in range(2, _NAMES + 1)))

"""From a resource's fields and a step's context to the RayJob or RayCluster that is wanted."""

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
from functools import partial
from typing import TYPE_CHECKING

from dagster_ray.core import CleanupPolicy, DagsterContext, Deadline, Identity, identity_of, image_candidates
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._labels import cleanup_labels
from dagster_ray.kuberay._operator_rules.names import NAME_LIMITS
from dagster_ray.kuberay._spec.image import ChosenImage, choose_image
from dagster_ray.kuberay._spec.manifests import RenderInput, metadata_text, named, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.portable import PRE_RUNNING_DEADLINE
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, Wish
from dagster_ray.kuberay._steps.step_pod import owner_reference

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

# The operator's own limit comes after ours, so that a step that lives says itself why it failed.
_OPERATOR_GRACE_SECONDS = 60
_NAMES = 5
_SUFFIX = len("-2")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a resource or a client says of its clusters beside their configuration."""

    image: str | None
    env_vars: Mapping[str, str]
    queue: str | None
    priority: str | None
    timeout_seconds: float
    cleanup: CleanupPolicy
    """When the step deletes what it made; what it never deletes does not end with its pod either."""


def rayjob_wish(
    plain: Json,
    settings: Settings,
    context: DagsterContext,
    api: "KubernetesApi",
    *,
    deadline: Deadline,
    log: logging.Logger,
) -> Wish:
    """Return the RayJob that is wanted for this step.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    common, identity = _of_one_step(plain, settings, context, api, deadline=deadline, log=log)
    common = dataclasses.replace(common, pre_running_deadline_seconds=operator_deadline(settings.timeout_seconds))
    names = _names(plain, identity, NAME_LIMITS["RayJob"])

    rayjob = render_rayjob(plain, dataclasses.replace(common, name=names[0]))
    creation_id = common.annotations[CREATION_ANNOTATION]
    return Wish(RAYJOBS, common.namespace, names, creation_id, partial(named, rayjob), fields_of_ours(plain))


def raycluster_wish(
    plain: Json,
    settings: Settings,
    context: DagsterContext,
    api: "KubernetesApi",
    *,
    deadline: Deadline,
    log: logging.Logger,
) -> Wish:
    """Return the RayCluster that is wanted for this step alone.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    common, identity = _of_one_step(plain, settings, context, api, deadline=deadline, log=log)
    names = _names(plain, identity, NAME_LIMITS["RayCluster"])

    raycluster = render_raycluster(plain, dataclasses.replace(common, name=names[0]))
    creation_id = common.annotations[CREATION_ANNOTATION]
    return Wish(RAYCLUSTERS, common.namespace, names, creation_id, partial(named, raycluster), frozenset())


def render_input(
    plain: Json,
    settings: Settings,
    identity: Identity,
    context: DagsterContext,
    api: "KubernetesApi",
    *,
    log: logging.Logger,
) -> RenderInput:
    """Return the facts of a step that go into a manifest, but for its name and its owner."""
    ray_version = importlib.metadata.version("ray")
    image = image_of(settings.image, context, ray_version)
    log.info("The cluster's image is %s (%s).", *image)
    return RenderInput(
        name="",
        namespace=namespace_of(plain, api),
        labels=identity.labels,
        annotations={**identity.annotations, CREATION_ANNOTATION: uuid.uuid4().hex},
        image=image.image,
        ray_version=ray_version,
        env_vars=settings.env_vars,
        queue=settings.queue,
        priority=settings.priority,
        environ=os.environ,
    )


def _of_one_step(
    plain: Json,
    settings: Settings,
    context: DagsterContext,
    api: "KubernetesApi",
    *,
    deadline: Deadline,
    log: logging.Logger,
) -> tuple[RenderInput, Identity]:
    """Return the facts of an object that one step has for itself, with what they say of its end."""
    identity = identity_of(context)
    common = render_input(plain, settings, identity, context, api, log=log)
    owner = owner_reference(api, common.namespace, deadline, log) if settings.cleanup != "never" else None
    labels = {**common.labels, **cleanup_labels(settings.cleanup)}
    return dataclasses.replace(common, labels=labels, owner_reference=owner), identity


def namespace_of(plain: Json, api: "KubernetesApi") -> str:
    """Return the namespace of the object: the configuration's, else the account's."""
    return metadata_text(plain, "namespace", os.environ) or api.namespace


def fields_of_ours(plain: Json) -> frozenset[str]:
    """Return the paths of fields that are set without the user's asking."""
    given = plain["spec"]
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


def _names(plain: Json, identity: Identity, limit: int) -> tuple[str, ...]:
    """Return names to try: an earlier process of this step may have left its own behind."""
    own = metadata_text(plain, "name", os.environ)
    if own:
        return (own,)
    first = identity.cluster_name(limit=limit - _SUFFIX)
    return (first, *(f"{first}-{number}" for number in range(2, _NAMES + 1)))

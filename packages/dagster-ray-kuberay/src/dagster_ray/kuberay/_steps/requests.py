"""From a resource's fields and a step's context to the RayJob or RayCluster that is asked for."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_ray.core import CleanupPolicy, DagsterContext, Identity, identity_of, image_candidates
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.dashboard import of_this_process
from dagster_ray.kuberay._kubernetes.kinds import PODS, RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._labels import DRIVER_IN_CLUSTER, DRIVER_LABEL, cleanup_labels
from dagster_ray.kuberay._operator_rules.names import NAME_LIMITS
from dagster_ray.kuberay._spec.acceptance import PRE_RUNNING_DEADLINE
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.image import ChosenImage, choose_image
from dagster_ray.kuberay._spec.manifests import RenderInput, metadata_text, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.secrets import EnvValue
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, ClusterRequest
from dagster_ray.kuberay._steps.ending import with_retry_window
from dagster_ray.kuberay._steps.step_cluster import StepCluster

# The operator's own limit comes after ours, so that a step that lives says itself why it failed.
_OPERATOR_GRACE_SECONDS = 60
_NAMES = 5
_SUFFIX = len("-2")
_NO_IMAGE = "image-is-not-known"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a resource or a client says of its clusters beside their configuration."""

    image: str | None
    env_vars: Mapping[str, EnvValue]
    queue: str | None
    priority: str | None
    timeout_seconds: float
    cleanup: CleanupPolicy
    """When the step deletes what it made; what it never deletes does not end with its pod either."""
    driver_in_cluster: bool = False
    """Whether bodies run in the cluster, which then goes on without the step's process, for a later attempt."""


def rayjob_request(plain: Json, settings: Settings, cluster: StepCluster) -> ClusterRequest:
    """Return the RayJob that is wanted for this step.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    common, names = _of_one_step(plain, settings, cluster, NAME_LIMITS["RayJob"])
    common = dataclasses.replace(common, pre_running_deadline_seconds=operator_deadline(settings.timeout_seconds))
    rayjob = with_known_images(render_rayjob(plain, common))
    if settings.driver_in_cluster:
        rayjob = with_retry_window(rayjob)
    return ClusterRequest(RAYJOBS, names, rayjob, fields_of_ours(plain))


def raycluster_request(plain: Json, settings: Settings, cluster: StepCluster) -> ClusterRequest:
    """Return the RayCluster that is wanted for this step alone.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    common, names = _of_one_step(plain, settings, cluster, NAME_LIMITS["RayCluster"])
    return ClusterRequest(RAYCLUSTERS, names, with_known_images(render_raycluster(plain, common)))


def render_input(plain: Json, settings: Settings, cluster: StepCluster, identity: Identity) -> RenderInput:
    """Return the facts of a step that go into a manifest, but for its name and its owner."""
    ray_version = local_ray()
    image = image_of(settings.image, cluster.context, ray_version)
    cluster.log.info("The cluster's image is %s (%s).", *image)
    return RenderInput(
        name="",
        namespace=namespace_of(plain, cluster),
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
    plain: Json, settings: Settings, cluster: StepCluster, limit: int
) -> tuple[RenderInput, tuple[str, ...]]:
    """Return the facts of an object that one step has for itself, with what they say of its end, and its names."""
    identity = identity_of(cluster.context)
    common, names = render_input(plain, settings, cluster, identity), _names(plain, identity, limit)
    is_owned = settings.cleanup != "never" and not settings.driver_in_cluster
    owner = owner_reference(cluster, common.namespace) if is_owned else None
    driver = {DRIVER_LABEL: DRIVER_IN_CLUSTER} if settings.driver_in_cluster else {}
    labels = {**common.labels, **cleanup_labels(settings.cleanup), **driver}
    return dataclasses.replace(common, name=names[0], labels=labels, owner_reference=owner), names


def namespace_of(plain: Json, cluster: StepCluster) -> str:
    """Return the namespace of the object: the configuration's, else the account's."""
    return metadata_text(plain, "namespace", os.environ) or cluster.api.namespace


def fields_of_ours(plain: Json) -> frozenset[str]:
    """Return the paths of fields that are set without the user's asking."""
    given = plain["spec"]
    return frozenset({PRE_RUNNING_DEADLINE} if "preRunningDeadlineSeconds" not in given else ())


def local_ray() -> str | None:
    """Return the version of this process' Ray; None without one, which only a driver in the step needs."""
    try:
        return of_this_process().ray_version
    except importlib.metadata.PackageNotFoundError:
        return None


def image_of(explicit: str | None, context: DagsterContext, ray_version: str | None) -> ChosenImage:
    """Return the image of containers that name none, and where it was found.

    Without a Ray here no public image can match it; `with_known_images` then refuses what needs one.
    """
    found = image_candidates(context)
    python, ours = platform.python_version(), ray_version or _NO_IMAGE
    chosen = choose_image(explicit, found.run_tags, found.code_origin_image, found.environ_image, ours, python)
    if ray_version is None and "public image" in chosen.source:
        return ChosenImage(_NO_IMAGE, "no image is known")
    return chosen


def with_known_images(manifest: Json) -> Json:
    """Return a manifest whose containers all have an image.

    Raises:
        InvalidSpecError: One has none, and none is known.
    """
    if f'"{_NO_IMAGE}"' in json.dumps(manifest):
        reason = "is not set, and without ray in the step's environment no public image matches"
        raise InvalidSpecError("image", reason, "set `image`, or the image of each container of the spec")
    return manifest


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


def step_pod() -> tuple[str, str] | None:
    """Return namespace and name of the pod that this process runs in; None outside of Kubernetes."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ or not _NAMESPACE_FILE.exists():
        return None
    name = os.environ.get("POD_NAME") or os.environ.get("HOSTNAME")
    return (_NAMESPACE_FILE.read_text().strip(), name) if name else None


def owner_reference(cluster: StepCluster, namespace: str) -> dict[str, Any] | None:
    """Return an ownerReference to this step's pod, so that its end takes the cluster along; None if there is none.

    An owner must be in the same namespace. Reading the pod needs `get` on pods unless the environment has POD_UID;
    without either the cluster has no owner, and the operator and the lifecycle are what ends it.
    """
    pod = step_pod()
    if pod is None or not cluster.api.in_cluster or pod[0] != namespace:
        return None
    uid = os.environ.get("POD_UID")
    if not uid:
        try:
            uid = str(cluster.api.get(PODS, namespace, pod[1], cluster.deadline)["metadata"]["uid"])
        except DagsterRayError as error:
            cluster.log.warning("The cluster gets no ownerReference to the step's pod: %s", error)
            return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod[1], "uid": uid}

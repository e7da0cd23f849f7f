"""From a call of `PipesKubeRayJobClient` to the RayJob that is wanted."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false

import dataclasses
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline, SecretRef, identity_of
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._labels import cleanup_labels
from dagster_ray.kuberay._pipes.attempts import ATTEMPT_ANNOTATION, CALL_LABEL, SUBMISSION_ANNOTATION
from dagster_ray.kuberay._pipes.job import PipesJob
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import (
    RenderInput,
    metadata_text,
    render_rayjob,
    render_selecting_rayjob,
)
from dagster_ray.kuberay._spec.plain_json import Json, merged
from dagster_ray.kuberay._status.cluster_state import Created
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, ClusterRequest
from dagster_ray.kuberay._steps.ending import with_retry_window
from dagster_ray.kuberay._steps.handed_secret import HandedSecret, place_of_secret
from dagster_ray.kuberay._steps.requests import (
    Settings,
    fields_of_ours,
    image_of,
    local_ray,
    namespace_of,
    operator_deadline,
    with_known_images,
)
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay.configs import InteractiveRayJobConfig

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi


@dataclass(frozen=True, slots=True)
class CallIds:
    """The names of one attempt of one call.

    Attributes:
        key: What names the call in its run.
        number: The attempt.
        name: The RayJob, unless the user names it.
        submission_id: Its Ray job.
    """

    key: str
    number: int
    name: str
    submission_id: str


def rayjob_of(template: InteractiveRayJobConfig, call: PipesJob) -> Json:
    """Return the RayJob of a call: what it says itself over the client's template.

    Raises:
        InvalidSpecError, SpecFileError: It cannot work.
        pydantic.ValidationError: The same, from the checks of the configuration.
    """
    if not call.template:
        return template.plain()
    own = InteractiveRayJobConfig(**call.template)
    return InteractiveRayJobConfig(**merged(template.plain(), own.plain())).plain()


def request_of(
    plain: Json,
    cluster: str | None,
    ids: CallIds,
    settings: Settings,
    *,
    step: StepCluster,
    handed: HandedSecret | None = None,
) -> ClusterRequest:
    """Return the RayJob that is wanted.

    Args:
        plain: What the configuration says.
        cluster: The RayCluster that it selects; None: it makes one.
        ids: The names of the attempt.
        settings: What the client says.
        step: The cluster of the step, for what is known of the step.
        handed: What the containers take from a Secret that goes with the RayJob; None: nothing.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    ray_version = local_ray()
    image = image_of(settings.image, step.context, ray_version)
    identity = identity_of(step.context)
    notes = {SUBMISSION_ANNOTATION: ids.submission_id, ATTEMPT_ANNOTATION: str(ids.number)}
    name, creation_id = metadata_text(plain, "name", os.environ) or ids.name, uuid.uuid4().hex
    # A key of its own: no container may take what a Secret holds that went with an earlier RayJob of this name.
    reference = {} if handed is None else {handed.variable: SecretRef(f"{name}-pipes", f"context-{creation_id[:8]}")}
    common = RenderInput(
        name=name,
        namespace=namespace_of(plain, step),
        labels={**identity.labels, **cleanup_labels(settings.cleanup), CALL_LABEL: ids.key},
        annotations={**identity.annotations, **notes, CREATION_ANNOTATION: creation_id},
        image=image.image,
        ray_version=ray_version,
        env_vars={**settings.env_vars, **reference},
        queue=settings.queue,
        priority=settings.priority,
        pre_running_deadline_seconds=operator_deadline(settings.timeout_seconds),
        environ=os.environ,
    )

    # What cannot be rendered is told before anything is asked for.
    if cluster is not None:
        rayjob = render_selecting_rayjob(plain, cluster, common)
    else:
        rayjob = with_retry_window(with_known_images(render_rayjob(plain, common)))
    request = ClusterRequest(RAYJOBS, (name,), rayjob, fields_of_ours(plain), handed)
    if handed is not None:
        place_of_secret(request.wanted.cluster_spec, handed.variable, request.wanted.target)
    return request


def existing_cluster(api: "KubernetesApi", namespace: str, name: str, deadline: Deadline) -> Mapping[str, Any]:
    """Return the RayCluster that a call selects; the operator would wait for it for ever.

    Raises:
        InvalidSpecError: It does not exist.
    """
    try:
        return api.get(RAYCLUSTERS, namespace, name, deadline)
    except NotFoundError as error:
        reason = f"names the RayCluster {namespace}/{name}, which does not exist"
        raise InvalidSpecError("clusterSelector", reason, "create it first, or leave the selector out") from error


def with_cluster_spec(job: Created, cluster: Mapping[str, Any]) -> Created:
    """Return a RayJob as if it had made the cluster that it selects, so that its token and ports are found."""
    spec = {**mapping(job.manifest.get("spec")), "rayClusterSpec": mapping(cluster.get("spec"))}
    return dataclasses.replace(job, manifest={**job.manifest, "spec": spec})

"""From a configuration and the facts of a step to the object that is sent. Pure.

The configuration is never changed, and rendering twice gives equal manifests.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster_ray.core.variables import variable_of
from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind
from dagster_ray.kuberay._spec.cluster_defaults import completed_cluster
from dagster_ray.kuberay._spec.head_ports import check_dashboard_name
from dagster_ray.kuberay._spec.plain_json import Json, references, with_values
from dagster_ray.kuberay._spec.pod_templates import annotation_values, label_values
from dagster_ray.kuberay._spec.rendering import RenderInput
from dagster_ray.kuberay._spec.rules import OLDEST, check_raycluster, check_rayjob
from dagster_ray.kuberay._spec.selection import CLUSTER_KEY
from dagster_ray.kuberay._spec.typed_values import typed

if TYPE_CHECKING:
    from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig

__all__ = [
    "DEFAULT_TTL_SECONDS",
    "RenderInput",
    "metadata_text",
    "render_raycluster",
    "render_rayjob",
    "render_selecting_rayjob",
]

API_VERSION = "ray.io/v1"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
DEFAULT_TTL_SECONDS = 60
_OF_THE_RAYJOB = ("activeDeadlineSeconds", "managedBy", "preRunningDeadlineSeconds")


def metadata_text(
    config: "InteractiveRayJobConfig | RayClusterConfig", key: str, environ: Mapping[str, str]
) -> str | None:
    """Return `metadata.name` or `metadata.namespace` of a configuration; None if it gives none.

    Raises:
        MissingVariableError: It comes from the environment, and the variable is not set.
    """
    value = config.plain()["metadata"].get(key)
    if (variable := variable_of(value)) is not None:
        value = variable.value(environ, f"metadata.{key}")
    return None if value is None else str(value)


def _metadata(given: Mapping[str, Any], wish: RenderInput) -> Json:
    queue = {QUEUE_LABEL: wish.queue, PRIORITY_LABEL: wish.priority}
    labels = label_values(mapping(given.get("labels")))
    labels |= {key: value for key, value in queue.items() if value is not None}
    annotations = annotation_values({**mapping(given.get("annotations")), **wish.annotations})
    metadata: Json = {**given, "name": wish.name, "namespace": wish.namespace, "labels": {**labels, **wish.labels}}
    if annotations:
        metadata["annotations"] = annotations
    if wish.owner_reference is not None:
        metadata["ownerReferences"] = [*given.get("ownerReferences", []), dict(wish.owner_reference)]
    return metadata


def _ending(spec: Mapping[str, Any]) -> Json:
    """Return when the cluster is deleted, where the user leaves it open.

    `shutdownAfterJobFinishes` works in all versions and after every kind of failure. Beside the older form of
    `deletionStrategy` it is allowed unless that keeps something, and `ttlSecondsAfterFinished` needs it; beside
    `deletionRules` it is refused.
    """
    strategy = mapping(spec.get("deletionStrategy"))
    if not strategy:
        wanted = spec.get("shutdownAfterJobFinishes", True)
        return {"shutdownAfterJobFinishes": wanted} | (
            {"ttlSecondsAfterFinished": DEFAULT_TTL_SECONDS} if wanted else {}
        )
    keeps = any(at(strategy, outcome, "policy") == "DeleteNone" for outcome in ("onSuccess", "onFailure"))
    return {} if "deletionRules" in strategy or keeps else {"shutdownAfterJobFinishes": True}


def _looked_up(config: "InteractiveRayJobConfig | RayClusterConfig", kind: CrdKind, environ: Mapping[str, str]) -> Json:
    """Return a configuration as plain JSON with the values of variables, each of the type that its field has."""
    plain = config.plain()
    return typed(with_values(plain, environ), kind, dict(references(plain)))


def render_rayjob(config: "InteractiveRayJobConfig", wish: RenderInput) -> Json:
    """Return the RayJob to send.

    Args:
        config: The user's configuration. Its `spec_file` is read, if it names one.
        wish: The facts of the step.

    Raises:
        InvalidSpecError: The API server, or every release of KubeRay, would refuse it.
        SpecFileError: The file cannot be used.
        MissingVariableError: A value comes from the environment, and the variable is not set in `wish.environ`.
    """
    plain = _looked_up(config, "RayJob", wish.environ)
    metadata, spec = _metadata(plain["metadata"], wish), plain["spec"]
    cluster = completed_cluster(
        mapping(spec.get("rayClusterSpec")),
        wish,
        mapping(spec.get("deletionStrategy")),
        queued=QUEUE_LABEL in metadata["labels"],
    )
    deadline = {"preRunningDeadlineSeconds": wish.pre_running_deadline_seconds}
    if wish.pre_running_deadline_seconds is None:
        deadline = {}
    rendered = {**_ending(spec), **deadline, **spec, "submissionMode": "InteractiveMode", "rayClusterSpec": cluster}
    check_rayjob(metadata, rendered, OLDEST)
    check_dashboard_name(cluster, "spec.rayClusterSpec")
    return {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": rendered}


def render_selecting_rayjob(config: "InteractiveRayJobConfig", cluster: str, wish: RenderInput) -> Json:
    """Return the RayJob to send for a job on a RayCluster that exists.

    Of the configuration's spec only what concerns the RayJob itself is used: the operator deletes nothing of a cluster
    that it did not make (KubeRay rayjob_controller.go).

    Args:
        config: The user's configuration. Its `spec_file` is read, if it names one.
        cluster: The RayCluster's name.
        wish: The facts of the step.

    Raises:
        InvalidSpecError: The API server, or every release of KubeRay, would refuse it.
        SpecFileError: The file cannot be used.
        MissingVariableError: A value comes from the environment, and the variable is not set in `wish.environ`.
    """
    plain = _looked_up(config, "RayJob", wish.environ)
    metadata = _metadata(plain["metadata"], wish)
    kept = {key: plain["spec"][key] for key in _OF_THE_RAYJOB if key in plain["spec"]}
    if wish.pre_running_deadline_seconds is not None:
        kept.setdefault("preRunningDeadlineSeconds", wish.pre_running_deadline_seconds)
    spec = {**kept, "submissionMode": "InteractiveMode", "clusterSelector": {CLUSTER_KEY: cluster}}
    check_rayjob(metadata, spec, OLDEST)
    return {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": spec}


def render_raycluster(config: "RayClusterConfig", wish: RenderInput) -> Json:
    """Return the RayCluster to send. `wish.pre_running_deadline_seconds` has no meaning for it.

    Args:
        config: The user's configuration. Its `spec_file` is read, if it names one.
        wish: The facts of the step.

    Raises:
        InvalidSpecError: The API server, or every release of KubeRay, would refuse it.
        SpecFileError: The file cannot be used.
        MissingVariableError: A value comes from the environment, and the variable is not set in `wish.environ`.
    """
    plain = _looked_up(config, "RayCluster", wish.environ)
    metadata = _metadata(plain["metadata"], wish)
    cluster = completed_cluster(plain["spec"], wish, {}, queued=QUEUE_LABEL in metadata["labels"])
    check_raycluster(metadata, cluster, OLDEST)
    return {"apiVersion": API_VERSION, "kind": "RayCluster", "metadata": metadata, "spec": cluster}

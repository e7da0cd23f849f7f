"""From what a configuration says and the facts of a step to the object that is sent. Pure.

A configuration comes as plain data: `metadata` and `spec` with camelCase names, as its `plain()` returns them. It is
never changed, and rendering twice gives equal manifests.
"""

from collections.abc import Mapping
from typing import Any

from dagster_ray.core.variables import variable_of
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import OLDEST, CrdKind
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._spec.cluster_defaults import RenderInput, completed_cluster, label_values
from dagster_ray.kuberay._spec.head_ports import check_dashboard_name
from dagster_ray.kuberay._spec.plain_json import Json, references, with_values
from dagster_ray.kuberay._spec.rules import check_object
from dagster_ray.kuberay._spec.typed_values import typed

__all__ = [
    "DEFAULT_TTL_SECONDS",
    "RenderInput",
    "metadata_text",
    "named",
    "render_raycluster",
    "render_rayjob",
    "render_selecting_rayjob",
]

API_VERSION = "ray.io/v1"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
DEFAULT_TTL_SECONDS = 60
_OF_THE_RAYJOB = ("activeDeadlineSeconds", "managedBy", "preRunningDeadlineSeconds")


def metadata_text(plain: Manifest, key: str, environ: Mapping[str, str]) -> str | None:
    """Return `metadata.name` or `metadata.namespace` of a configuration; None if it gives none.

    Raises:
        MissingVariableError: It comes from the environment, and the variable is not set.
    """
    value = plain["metadata"].get(key)
    if (variable := variable_of(value)) is not None:
        value = variable.value(environ, f"metadata.{key}")
    return None if value is None else str(value)


def named(
    manifest: Json, name: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
) -> Json:
    """Return a manifest under another name, with more labels and annotations; nothing is rendered again.

    Args:
        manifest: What a function of this module returned. It is not changed, and the result shares parts with it.
        name: The object's name.
        labels: Labels for the object and each pod. They win over those that are there.
        annotations: Annotations for the same; they win as well.
    """
    given = _with_notes(mapping(manifest.get("metadata")), labels or {}, annotations or {})
    spec: Json = manifest["spec"]
    if (labels or annotations) and "headGroupSpec" in spec:
        spec = _with_pod_notes(spec, labels or {}, annotations or {})
    elif (labels or annotations) and "rayClusterSpec" in spec:
        spec = {**spec, "rayClusterSpec": _with_pod_notes(spec["rayClusterSpec"], labels or {}, annotations or {})}
    return {**manifest, "metadata": {**given, "name": name}, "spec": spec}


def _with_notes(metadata: Manifest, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Json:
    added = {"labels": labels, "annotations": annotations}
    return {**metadata, **{key: {**mapping(metadata.get(key)), **more} for key, more in added.items() if more}}


def _with_pod_notes(cluster: Manifest, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Json:
    def noted(group: Manifest) -> Json:
        template = mapping(group.get("template"))
        metadata = _with_notes(mapping(template.get("metadata")), labels, annotations)
        return {**group, "template": {**template, "metadata": metadata}}

    workers = [noted(group) for group in mappings(cluster.get("workerGroupSpecs"))]
    found: Json = {**cluster, "headGroupSpec": noted(mapping(cluster.get("headGroupSpec")))}
    return {**found, "workerGroupSpecs": workers} if "workerGroupSpecs" in cluster else found


def _metadata(given: Mapping[str, Any], wish: RenderInput) -> Json:
    queue = {QUEUE_LABEL: wish.queue, PRIORITY_LABEL: wish.priority}
    labels = label_values(mapping(given.get("labels")))
    labels |= {key: value for key, value in queue.items() if value is not None}
    annotations = {**mapping(given.get("annotations")), **wish.annotations}
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


def _looked_up(plain: Json, kind: CrdKind, environ: Mapping[str, str]) -> Json:
    """Return what a configuration says with the values of variables, each of the type that its field has."""
    return typed(with_values(plain, environ), kind, dict(references(plain)))


def render_rayjob(plain: Json, wish: RenderInput) -> Json:
    """Return the RayJob to send.

    Args:
        plain: What the user's configuration says.
        wish: The facts of the step.

    Raises:
        InvalidSpecError: The API server, or every release of KubeRay, would refuse it.
        MissingVariableError: A value comes from the environment, and the variable is not set in `wish.environ`.
    """
    found = _looked_up(plain, "RayJob", wish.environ)
    metadata, spec = _metadata(found["metadata"], wish), found["spec"]
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
    check_object("RayJob", metadata, rendered, OLDEST)
    check_dashboard_name(cluster, "spec.rayClusterSpec")
    return {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": rendered}


def render_selecting_rayjob(plain: Json, cluster: str, wish: RenderInput) -> Json:
    """Return the RayJob to send for a job on a RayCluster that exists.

    Of the configuration's spec only what concerns the RayJob itself is used: the operator deletes nothing of a cluster
    that it did not make (KubeRay rayjob_controller.go).

    Args:
        plain: What the user's configuration says.
        cluster: The RayCluster's name.
        wish: The facts of the step.

    Raises:
        InvalidSpecError: The API server, or every release of KubeRay, would refuse it.
        MissingVariableError: A value comes from the environment, and the variable is not set in `wish.environ`.
    """
    found = _looked_up(plain, "RayJob", wish.environ)
    metadata = _metadata(found["metadata"], wish)
    kept = {key: found["spec"][key] for key in _OF_THE_RAYJOB if key in found["spec"]}
    if wish.pre_running_deadline_seconds is not None:
        kept.setdefault("preRunningDeadlineSeconds", wish.pre_running_deadline_seconds)
    spec = {**kept, "submissionMode": "InteractiveMode", "clusterSelector": {CLUSTER_LABEL: cluster}}
    check_object("RayJob", metadata, spec, OLDEST)
    return {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": spec}


def render_raycluster(plain: Json, wish: RenderInput) -> Json:
    """Return the RayCluster to send. `wish.pre_running_deadline_seconds` has no meaning for it.

    Args:
        plain: What the user's configuration says.
        wish: The facts of the step.

    Raises:
        InvalidSpecError: The API server, or every release of KubeRay, would refuse it.
        MissingVariableError: A value comes from the environment, and the variable is not set in `wish.environ`.
    """
    found = _looked_up(plain, "RayCluster", wish.environ)
    metadata = _metadata(found["metadata"], wish)
    cluster = completed_cluster(found["spec"], wish, {}, queued=QUEUE_LABEL in metadata["labels"])
    check_object("RayCluster", metadata, cluster, OLDEST)
    return {"apiVersion": API_VERSION, "kind": "RayCluster", "metadata": metadata, "spec": cluster}

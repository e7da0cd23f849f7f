"""What is put into the pod templates of a cluster; arguments are never changed. Pure."""

from collections.abc import Mapping
from typing import Any

from dagster_ray.core import Identity
from dagster_ray.kuberay._kubernetes.fields import mapping, mappings
from dagster_ray.kuberay._spec.completion import without_mark
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.rendering import RenderInput

# Requests equal limits, so that the pod gets what Ray counts on and is evicted last. The GCS and the dashboard of
# an idle head take about 1 GiB; a worker's share of 4 GiB leaves room for an object store.
DEFAULT_RESOURCES: Mapping[str, str] = {"cpu": "1", "memory": "4Gi"}
# With fork support, gRPC hangs in some of the processes that Ray Client's server starts on the head.
HEAD_ENV: Mapping[str, str] = {"GRPC_ENABLE_FORK_SUPPORT": "0"}


def default_resources() -> Json:
    """Return requests and limits for a Ray container that has none."""
    return {"requests": dict(DEFAULT_RESOURCES), "limits": dict(DEFAULT_RESOURCES)}


def label_values(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels with values that Kubernetes takes."""
    return {key: Identity.label_value(text) for key, text in labels.items()}


def _with_image(container: Mapping[str, Any], image: str) -> Json:
    return dict(container) if container.get("image") else {**container, "image": image}


def _env(container: Mapping[str, Any], ours: Mapping[str, str]) -> list[Json]:
    """Return the container's variables, then those of ours that it does not have."""
    given = [dict(variable) for variable in mappings(container.get("env"))]
    names = [variable.get("name") for variable in given]
    return given + [{"name": name, "value": value} for name, value in ours.items() if name not in names]


def _ray_container(container: Mapping[str, Any], name: str, env_vars: Mapping[str, str], *, completed: bool) -> Json:
    """Complete the first container, which is the one that the operator runs Ray in."""
    ray: Json = {"name": name, **container}
    if completed and not ray.get("resources"):
        ray["resources"] = default_resources()
    if env := _env(container, env_vars):
        ray["env"] = env
    return ray


def completed_template(template: Mapping[str, Any], wish: RenderInput, *, head: bool, completed: bool) -> Json:
    """Return a pod template with images, environment, and the labels of the identity.

    Args:
        template: The user's.
        wish: The facts of the step.
        head: Whether it is that of the head.
        completed: Whether a Ray container without resources gets some. One that is missing is added in any case.
    """
    metadata, spec = without_mark(mapping(template.get("metadata"))), dict(mapping(template.get("spec")))
    metadata["labels"] = label_values({**mapping(metadata.get("labels")), **wish.labels})
    annotations = {**mapping(metadata.get("annotations")), **wish.annotations}
    if annotations or "annotations" in metadata:
        metadata["annotations"] = annotations
    name, env = ("ray-head", {**HEAD_ENV, **wish.env_vars}) if head else ("ray-worker", wish.env_vars)
    containers: list[Any] = mappings(spec.get("containers", [{}]))
    if containers:
        containers[0] = _ray_container(containers[0], name, env, completed=completed or "containers" not in spec)
    spec["containers"] = [_with_image(container, wish.image) for container in containers]
    if "initContainers" in spec:
        spec["initContainers"] = [_with_image(each, wish.image) for each in mappings(spec["initContainers"])]
    return {**template, "metadata": metadata, "spec": spec}

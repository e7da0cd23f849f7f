"""The cluster that is meant by an incomplete specification, and its pod templates; no argument is changed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster_ray.core import Identity
from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._spec.completion import is_built, is_manifest, without_mark
from dagster_ray.kuberay._spec.head_ports import CLIENT, DASHBOARD, GCS, completed_ports
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.secrets import EnvValue, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderInput:
    """Facts of one step that go into the manifest.

    Args:
        name: The object's name, fixed before it is sent.
        namespace: The object's namespace.
        labels: Identity, on the object and on every pod. They win over the user's.
        annotations: Full values of labels that had to be shortened; they win as well.
        image: The image of containers that name none.
        ray_version: `rayVersion`, unless the user gives it.
        env_vars: Environment of the Ray containers. Variables of the user's containers win.
        queue: Kueue's local queue. None: no queue.
        priority: Kueue's workload priority class.
        pre_running_deadline_seconds: `preRunningDeadlineSeconds`, unless the user gives it. KubeRay has it from 1.6.
        owner_reference: A reference to the object with which this one is to be deleted.
        environ: Where `{"env": "NAME"}` finds its value.
    """

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    image: str
    ray_version: str | None = None
    env_vars: Mapping[str, EnvValue] = field(default_factory=dict[str, EnvValue], repr=False)
    queue: str | None = None
    priority: str | None = None
    pre_running_deadline_seconds: int | None = None
    owner_reference: Mapping[str, Any] | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


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


def _env(container: Mapping[str, Any], ours: Mapping[str, EnvValue]) -> list[Json]:
    """Return the container's variables, then those of ours that it does not have."""
    given = [dict(variable) for variable in mappings(container.get("env"))]
    names = [variable.get("name") for variable in given]
    return given + [variable(name, value) for name, value in ours.items() if name not in names]


def _ray_container(
    container: Mapping[str, Any], name: str, env_vars: Mapping[str, EnvValue], *, completed: bool
) -> Json:
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


DEFAULT_GROUP = "workers"
DEFAULT_MAX_REPLICAS = 10


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def replica_bounds(group: Mapping[str, Any]) -> tuple[int, int]:
    """Return the least and the most replicas of a group.

    A group that gives only `replicas` keeps that size. One that gives no upper bound at all may have 10, or its
    lower bound if that is more: the operator's own default has no limit.
    """
    replicas = _number(group.get("replicas"), 0)
    least = _number(group.get("minReplicas"), replicas if group.get("maxReplicas") is None else 0)
    most = max(replicas, least) if replicas else max(DEFAULT_MAX_REPLICAS, least)
    return least, _number(group.get("maxReplicas"), most)


def _can_grow(group: Mapping[str, Any]) -> bool:
    least, most = replica_bounds(group)
    return most > max(least, _number(group.get("replicas"), 0))


def _deletes_workers(strategy: Mapping[str, Any]) -> bool:
    policies = [at(strategy, outcome, "policy") for outcome in ("onSuccess", "onFailure")]
    policies += [rule.get("policy") for rule in mappings(strategy.get("deletionRules"))]
    return "DeleteWorkers" in policies


def autoscales(cluster: Mapping[str, Any], strategy: Mapping[str, Any], *, queued: bool) -> bool:
    """Return whether Ray's autoscaler runs if the user does not say it.

    It does where a group can grow, but not beside what the operator refuses with it (DeleteWorkers, a suspended
    group), nor in a queue: Kueue admits a cluster of a fixed size, and refuses autoscaling unless a feature of
    newer versions is on.
    """
    groups = mappings(cluster.get("workerGroupSpecs", [{}]))
    suspended = any(group.get("suspend") for group in groups)
    return any(map(_can_grow, groups)) and not (queued or suspended or _deletes_workers(strategy))


def completed_group(group: Mapping[str, Any], wish: RenderInput, *, autoscaling: bool) -> Json:
    """Return a worker group with all that KubeRay 1.3 to 1.7 want.

    Without autoscaling a group that may have workers starts with one at least: nothing would ever add it.
    """
    least, most = replica_bounds(group)
    start = least if autoscaling else min(max(least, 1), most)
    return {
        **group,
        "replicas": group.get("replicas", start),
        "minReplicas": group.get("minReplicas", least),
        "maxReplicas": group.get("maxReplicas", most),
        "rayStartParams": _start_params(group),
        "template": completed_template(mapping(group.get("template")), wish, head=False, completed=True),
    }


def _given_group(group: Mapping[str, Any], wish: RenderInput) -> Json:
    """Return a worker group of a manifest, whose size is the user's or KubeRay's."""
    template = completed_template(mapping(group.get("template")), wish, head=False, completed=False)
    return {**group, "rayStartParams": _start_params(group), "template": template}


def _start_params(group: Mapping[str, Any]) -> Json:
    # KubeRay 1.3 requires the field.
    return dict(mapping(group.get("rayStartParams")))


def _head_params(head: Mapping[str, Any], *, has_workers: bool) -> Json:
    """Return the `rayStartParams` of a head that is completed.

    The head of a cluster with workers takes no tasks that need a CPU, unless its `rayStartParams` or `resources`
    say otherwise: a task that exhausts its memory would end the whole cluster.
    """
    params = _start_params(head)
    if has_workers and not head.get("resources"):
        params.setdefault("num-cpus", "0")
    return params


def _head(head: Mapping[str, Any], params: Json, wish: RenderInput, *, completed: bool) -> Json:
    """Return a head group with all that KubeRay 1.3 to 1.7 and drivers want."""
    template = completed_template(mapping(head.get("template")), wish, head=True, completed=completed)
    containers = template["spec"]["containers"]
    # A Service that is not headless carries the workers to the GCS only if the port is declared.
    wanted = (CLIENT, DASHBOARD, GCS) if completed else (CLIENT, DASHBOARD)
    if containers and (ports := completed_ports(mappings(containers[0].get("ports")), params, wanted)):
        containers[0]["ports"] = ports
    return {**head, "rayStartParams": params, "template": template}


def completed_cluster(
    cluster: Mapping[str, Any], wish: RenderInput, strategy: Mapping[str, Any], *, queued: bool
) -> Json:
    """Return the spec of a RayCluster with what the user left out.

    A whole manifest gets only what a step needs of it: its identity, an image where there is none, the ports that
    drivers need and the environment of Ray Client.

    Args:
        cluster: What the user wrote, with references to the environment resolved.
        wish: The facts of the step.
        strategy: `deletionStrategy` of the RayJob; empty for a RayCluster.
        queued: Whether a queue decides when it starts.
    """
    if is_manifest(cluster):
        return _given_cluster(cluster, wish)
    chosen = cluster.get("enableInTreeAutoscaling")
    autoscaling = autoscales(cluster, strategy, queued=queued) if chosen is None else bool(chosen)
    groups = mappings(cluster.get("workerGroupSpecs", [{"groupName": DEFAULT_GROUP}]))
    head = mapping(cluster.get("headGroupSpec"))
    params = _head_params(head, has_workers=any(replica_bounds(group)[1] > 0 for group in groups))
    completed: Json = {
        **cluster,
        "enableInTreeAutoscaling": autoscaling,
        "headGroupSpec": _head(head, params, wish, completed=True),
        "workerGroupSpecs": [completed_group(group, wish, autoscaling=autoscaling) for group in groups],
    }
    if wish.ray_version is not None:
        completed.setdefault("rayVersion", wish.ray_version)
    return completed


def _given_cluster(cluster: Mapping[str, Any], wish: RenderInput) -> Json:
    """Return the cluster of a whole manifest; worker groups that a builder made are completed there as well."""
    head, groups = mapping(cluster.get("headGroupSpec")), mappings(cluster.get("workerGroupSpecs"))
    built = is_built(head)
    params = _head_params(head, has_workers=bool(groups)) if built else _start_params(head)
    given: Json = {**cluster, "headGroupSpec": _head(head, params, wish, completed=built)}
    if "workerGroupSpecs" in cluster:
        autoscaling = cluster.get("enableInTreeAutoscaling") is True
        given["workerGroupSpecs"] = [
            completed_group(group, wish, autoscaling=autoscaling) if is_built(group) else _given_group(group, wish)
            for group in groups
        ]
    return given

"""Short forms of the head group and of worker groups.

Both return plain dictionaries as in a manifest, to be changed at will before they go into a `RayClusterSpec`. An
annotation of the pod template, `dagster/completion`, marks them as completed by dagster-ray's defaults; it is not sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from dagster_ray.core.variables import env_vars_fault, is_env_var, variable_of
from dagster_ray.kuberay._spec.completion import with_defaults
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json, merged, plain_json, refuse_snake_case
from dagster_ray.kuberay.accelerators import Accelerator

__all__ = ["GPU_PRODUCT_LABEL", "GPU_RESOURCE", "head_group", "worker_group"]

GPU_RESOURCE = "nvidia.com/gpu"
"""What GPUs are called in requests, limits and taints of nodes, by NVIDIA's device plugin."""
GPU_PRODUCT_LABEL = "nvidia.com/gpu.product"
"""The label by which NVIDIA's GPU feature discovery tells the model of a node's GPUs."""


def _quantity(amount: float | str) -> Any:
    if is_env_var(amount):
        return plain_json(amount)
    return amount if isinstance(amount, str) else f"{amount:g}" if isinstance(amount, float) else str(amount)


def _some(amount: int) -> bool:
    """Return whether there are any; what a variable says is known to the step only, and meant to be more than none."""
    return is_env_var(amount) or amount > 0


@dataclass(frozen=True, slots=True)
class _Devices:
    """What a pod has beside CPUs and memory, and where it runs for them."""

    amounts: Mapping[str, Any]
    tolerations: Sequence[Mapping[str, str]]
    node_selector: Mapping[str, str]
    start_params: Mapping[str, str] = field(default_factory=dict[str, str])
    hosts: int = 1


def _devices(gpus: int, accelerator: "str | Mapping[str, str] | Accelerator | None", group: str) -> _Devices:
    if isinstance(accelerator, Accelerator):
        if _some(gpus):
            advice = "leave out gpus: the accelerator has its own count"
            raise InvalidSpecError(f"{group}.accelerator", f"is {accelerator.resource}, and gpus is set too", advice)
        return _Devices(
            {accelerator.resource: str(accelerator.count)},
            accelerator.tolerations,
            accelerator.node_selector,
            accelerator.start_params,
            accelerator.hosts,
        )
    selector = {GPU_PRODUCT_LABEL: accelerator} if isinstance(accelerator, str) else dict(accelerator or {})
    if not _some(gpus):
        return _Devices({}, [], selector)
    toleration = {"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}
    # Ray counts them by the limits: KubeRay and Ray's autoscaler read this name in all releases.
    return _Devices({GPU_RESOURCE: _quantity(gpus)}, [toleration], selector)


def _resources(cpus: float | str, memory: int | str, devices: _Devices) -> Json:
    """Return requests equal to limits: the pod gets what Ray counts on and is evicted last."""
    amounts = {"cpu": _quantity(cpus), "memory": _quantity(memory), **devices.amounts}
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _template(
    container: Json, devices: _Devices, labels: Mapping[str, str] | None, pod_spec: Mapping[str, Any]
) -> Json:
    """Return a pod template; `pod_spec` is merged over it."""
    spec: Json = {"containers": [container]}
    if devices.tolerations:
        spec["tolerations"] = [dict(each) for each in devices.tolerations]
    if devices.node_selector:
        spec["nodeSelector"] = dict(devices.node_selector)
    given: Json = plain_json(pod_spec)
    refuse_snake_case(given, "template.spec")
    if devices.tolerations and "tolerations" in given:
        given["tolerations"] = [*given["tolerations"], *spec["tolerations"]]
    metadata: Json = {"labels": dict(labels)} if labels else {}
    return with_defaults({"metadata": metadata, "spec": merged(spec, given)})


def _container(
    name: str, resources: Json, image: str | None, env: Mapping[str, str | Mapping[str, Any]] | None
) -> Json:
    container: Json = {"name": name, "resources": resources}
    if image is not None:
        container["image"] = image
    if env:
        container["env"] = [_variable(key, value) for key, value in env.items()]
    return container


def _variable(name: str, value: object) -> Json:
    is_text = isinstance(value, str) or variable_of(value) is not None
    if not isinstance(value, Mapping) and (fault := env_vars_fault({name: value}, "env")) is not None:
        raise InvalidSpecError(*fault)
    return {"name": name, "value" if is_text else "valueFrom": plain_json(cast("object", value))}


def head_group(
    *,
    cpus: float | str = 1,
    memory: int | str = "4Gi",
    num_cpus: int | None = None,
    gpus: int = 0,
    image: str | None = None,
    env: Mapping[str, str | Mapping[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    accelerator: str | Mapping[str, str] | Accelerator | None = None,
    **pod_spec: Any,
) -> Json:
    """Return a `headGroupSpec`.

    Args:
        cpus: CPUs of the pod, as a number or a quantity like "500m". Requested, and the limit.
        memory: Memory of the pod, in bytes or as a quantity like "8Gi". Requested, and the limit.
        num_cpus: CPUs that Ray schedules tasks on. 0: no task that needs a CPU runs on the head. None: 0 in a cluster
            with worker groups; those of the pod where the head is alone, since nothing else could run tasks.
        gpus: GPUs of the pod. The taint of GPU nodes is tolerated.
        image: The image. None: that of the resource.
        env: Environment of the container: text, `SecretRef`, or another mapping as under `valueFrom`.
        labels: Labels of the pod.
        accelerator: The model of NVIDIA GPU as in the label `nvidia.com/gpu.product`; or a whole node selector, for
            example `{"cloud.google.com/gke-accelerator": "nvidia-l4"}`; or devices of another kind, such as
            `accelerators.amd(8)`, which have their own count.
        **pod_spec: Anything else of the pod's spec, in Kubernetes' names: `serviceAccountName="ray"`. Containers are
            merged by name; the container of Ray is `ray-head`.

    Raises:
        InvalidSpecError: A name of `pod_spec` is not valid in Kubernetes, a value of `env` is not text, or
            `accelerator` has a count and `gpus` too, or several hosts.
    """
    devices = _devices(gpus, accelerator, "headGroupSpec")
    if devices.hosts > 1:
        reason = f"needs {devices.hosts} pods, and a cluster has one head"
        raise InvalidSpecError("headGroupSpec.accelerator", reason, "put it into a worker group")
    container = _container("ray-head", _resources(cpus, memory, devices), image, env)
    cpus_for_tasks = {} if num_cpus is None else {"num-cpus": _quantity(num_cpus)}
    return {
        "rayStartParams": {**cpus_for_tasks, **devices.start_params},
        "template": _template(container, devices, labels, pod_spec),
    }


def worker_group(
    name: str,
    *,
    cpus: float | str = 1,
    memory: int | str = "4Gi",
    gpus: int = 0,
    accelerator: str | Mapping[str, str] | Accelerator | None = None,
    min_replicas: int = 0,
    max_replicas: int | None = None,
    replicas: int | None = None,
    image: str | None = None,
    env: Mapping[str, str | Mapping[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
    **pod_spec: Any,
) -> Json:
    """Return an item of `workerGroupSpecs`.

    With `replicas` alone the group keeps that size; with `max_replicas` Ray's autoscaler changes it.

    Args:
        name: The group's name, a DNS label.
        cpus: CPUs of a pod, as a number or a quantity like "500m". Requested, the limit, and what Ray counts on.
        memory: Memory of a pod, in bytes or as a quantity like "8Gi". Requested, the limit, and what Ray counts on.
        gpus: GPUs of a pod. The taint of GPU nodes is tolerated.
        accelerator: The model of NVIDIA GPU as in the label `nvidia.com/gpu.product`; or a whole node selector, for
            example `{"cloud.google.com/gke-accelerator": "nvidia-l4"}`; or devices of another kind, such as
            `accelerators.tpu("v6e", "4x4")`, which have their own count.
        min_replicas: The least number of replicas. A replica is a pod, or all pods of a multi-host TPU slice.
        max_replicas: The most replicas. None: `replicas`, or 10 if that is not given either.
        replicas: Replicas to begin with. None: `min_replicas`.
        image: The image. None: that of the resource.
        env: Environment of the container: text, `SecretRef`, or another mapping as under `valueFrom`.
        labels: Labels of the pods.
        **pod_spec: Anything else of the pod's spec, in Kubernetes' names: `priorityClassName="low"`. Containers are
            merged by name; the container of Ray is `ray-worker`.

    Raises:
        InvalidSpecError: The numbers of replicas contradict each other, a name of `pod_spec` is not valid in
            Kubernetes, a value of `env` is not text, or `accelerator` has a count and `gpus` too.
    """
    devices = _devices(gpus, accelerator, f"workerGroupSpecs[{name}]")
    group: Json = {"groupName": name, **_size(name, replicas, min_replicas, max_replicas)}
    if devices.hosts > 1:
        group["numOfHosts"] = devices.hosts
    container = _container("ray-worker", _resources(cpus, memory, devices), image, env)
    group["rayStartParams"] = dict(devices.start_params)
    group["template"] = _template(container, devices, labels, pod_spec)
    return group


def _size(name: str, replicas: int | None, min_replicas: int, max_replicas: int | None) -> Json:
    """Return the replicas of a worker group, as far as they are given."""
    group: Json = {}
    if replicas is not None:
        group["replicas"] = replicas
    if max_replicas is not None or _some(min_replicas):
        group["minReplicas"] = min_replicas
    if max_replicas is not None:
        group["maxReplicas"] = max_replicas
        if (
            not any(map(is_env_var, (min_replicas, replicas, max_replicas)))
            and not min_replicas <= (min_replicas if replicas is None else replicas) <= max_replicas
        ):
            reason = f"is not between min_replicas, {min_replicas}, and max_replicas, {max_replicas}"
            raise InvalidSpecError(f"workerGroupSpecs[{name}].replicas", reason, "change one of the three")
    return group


def __dir__() -> list[str]:
    return sorted(__all__)

"""Accelerators beyond whole NVIDIA GPUs, for `worker_group(accelerator=...)` and `head_group(accelerator=...)`.

An accelerator has two names: the extended resource by which a device plugin offers it to Kubernetes, and the resource
by which Ray schedules tasks on it. Ray's name is always written into `rayStartParams`, because neither reader derives
all of them from the limits of the container:

- KubeRay derives GPU from a resource that ends in `gpu` and TPU and neuron_cores from theirs, from 1.5 on GPU from
  plain MIG profiles, and HPU never (`addWellKnownAcceleratorResources` in ray-operator/controllers/ray/common/pod.go,
  `IsGPUResourceKey` in ray-operator/controllers/ray/utils/resources.go).
- Ray's autoscaler, which must know what a new pod would offer, derives GPU from a resource that ends in `gpu`, TPU
  from its own, and nothing else (`_get_ray_resources_from_group_spec` in ray/autoscaler/_private/kuberay).
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dagster_ray.kuberay._spec.errors import InvalidSpecError

__all__ = ["Accelerator", "amd", "gaudi", "neuron", "nvidia_mig", "tpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """Devices of each pod of a group. The functions of this module make those of known platforms.

    Args:
        resource: The extended resource in requests and limits, for example `amd.com/gpu`.
        ray_resource: What Ray calls it: `GPU`, `TPU`, `HPU`, `neuron_cores`, or any other resource of Ray.
        count: Devices of a pod.
        node_selector: Labels of the nodes.
        taints: Keys of taints that are tolerated. Unset: `resource`, which is the key that Kubernetes' admission
            plugin ExtendedResourceToleration expects.
        hosts: Pods that form one replica, `numOfHosts` of the worker group.

    Raises:
        InvalidSpecError: `count` or `hosts` is less than 1.
    """

    resource: str
    ray_resource: str
    count: int = 1
    node_selector: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: tuple[str, ...] | None = None
    hosts: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that no pod can have."""
        for name, number in (("count", self.count), ("hosts", self.hosts)):
            if number < 1:
                raise InvalidSpecError(f"accelerator.{name}", f"is {number}", "give 1 or more")

    @property
    def start_params(self) -> dict[str, str]:
        """The `rayStartParams` by which Ray, KubeRay and Ray's autoscaler know the devices."""
        if self.ray_resource == "GPU":
            return {"num-gpus": str(self.count)}
        # The autoscaler removes one quote at either end, and KubeRay passes the text to a shell.
        return {"resources": f"'{json.dumps({self.ray_resource: self.count})}'"}

    @property
    def tolerations(self) -> list[dict[str, str]]:
        """The tolerations of a pod."""
        keys = (self.resource,) if self.taints is None else self.taints
        return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys]


def amd(count: int = 1, *, model: str | None = None) -> Accelerator:
    """Return AMD GPUs; Ray calls them GPU.

    Args:
        count: GPUs of a pod.
        model: The value of the label `amd.com/gpu.product-name`, for example `AMD_Instinct_MI300X_OAM`. AMD's node
            labeller sets it (cmd/k8s-node-labeller in ROCm/k8s-device-plugin). None: any.

    Raises:
        InvalidSpecError: `count` is less than 1.
    """
    selector = {} if model is None else {"amd.com/gpu.product-name": model}
    return Accelerator(resource="amd.com/gpu", ray_resource="GPU", count=count, node_selector=selector)


def gaudi(count: int = 1) -> Accelerator:
    """Return Intel Gaudi cards; Ray calls them HPU.

    The resource `habana.ai/gaudi` is the one of Intel's device plugin. Nodes have no common label for the model:
    select one with `nodeSelector` of the group.

    Args:
        count: Cards of a pod.

    Raises:
        InvalidSpecError: `count` is less than 1.
    """
    return Accelerator(resource="habana.ai/gaudi", ray_resource="HPU", count=count)


def neuron(cores: int = 1, *, instance_type: str | None = None) -> Accelerator:
    """Return NeuronCores of AWS Trainium or Inferentia; Ray calls them neuron_cores.

    The device plugin of AWS offers cores as `aws.amazon.com/neuroncore` and whole devices as `aws.amazon.com/neuron`.
    Ray schedules cores. Node groups of EKS are usually tainted `aws.amazon.com/neuron`; both keys are tolerated.

    Args:
        cores: NeuronCores of a pod.
        instance_type: The value of the label `node.kubernetes.io/instance-type`, such as `trn1.32xlarge`. None: any.

    Raises:
        InvalidSpecError: `cores` is less than 1.
    """
    return Accelerator(
        resource="aws.amazon.com/neuroncore",
        ray_resource="neuron_cores",
        count=cores,
        node_selector={} if instance_type is None else {"node.kubernetes.io/instance-type": instance_type},
        taints=("aws.amazon.com/neuroncore", "aws.amazon.com/neuron"),
    )


def nvidia_mig(profile: str, count: int = 1, *, model: str | None = None) -> Accelerator:
    """Return slices of NVIDIA GPUs, with the device plugin's MIG strategy `mixed`; Ray calls each slice a GPU.

    With the strategy `single`, slices are called `nvidia.com/gpu`: use `gpus=` for them.

    Args:
        profile: The profile, for example `1g.5gb`; the resource is `nvidia.com/mig-1g.5gb`.
        count: Slices of a pod.
        model: The value of the label `nvidia.com/gpu.product`, for example `NVIDIA-A100-SXM4-40GB`. None: any.

    Raises:
        InvalidSpecError: `profile` is not a MIG profile, or `count` is less than 1.
    """
    # NVIDIA's MIG user guide: [compute slices "c."] GPU slices "g." memory "gb", then attributes such as ".me".
    if re.fullmatch(r"(\d+c\.)?\d+g\.\d+gb(\.[a-z.]+)?", profile) is None:
        raise InvalidSpecError("accelerator.profile", f"is {profile!r}", "write a MIG profile such as `1g.5gb`")
    resource = f"nvidia.com/mig-{profile}"
    return Accelerator(
        resource=resource,
        ray_resource="GPU",
        count=count,
        node_selector={} if model is None else {"nvidia.com/gpu.product": model},
        taints=(resource, "nvidia.com/gpu"),
    )


@dataclass(frozen=True, slots=True)
class _Generation:
    """What GKE calls a generation of TPUs, and how its topologies are written."""

    node: str
    dimensions: int
    most_chips_of_one_host: int = 4


# GKE's label values are those that Ray's autoscaler maps to generations (gke_tpu_accelerator_to_generation in
# ray/autoscaler/_private/kuberay/utils.py). A host has 4 chips, and a slice of up to 8 chips of v5e and v6e is one host
# (TPU_8_CHIPS_PER_HOST_TYPES and the topologies in ray/_private/accelerators/tpu.py).
_TPUS: Mapping[str, _Generation] = {
    "v4": _Generation("tpu-v4-podslice", 3),
    "v5e": _Generation("tpu-v5-lite-podslice", 2, 8),
    "v5p": _Generation("tpu-v5p-slice", 3),
    "v6e": _Generation("tpu-v6e-slice", 2, 8),
    "v7x": _Generation("tpu7x", 3),
}
_CHIPS_OF_A_HOST = 4


def tpu(generation: str, topology: str, *, chips_per_host: int | None = None) -> Accelerator:
    """Return a slice of Google TPUs on GKE; Ray calls its chips TPU.

    A slice of several hosts is one replica of the group, whose pods KubeRay creates and deletes together. Ray needs
    GKE's Ray add-on, or its TPU webhook, to tell these pods their place in the slice.

    Args:
        generation: `v4`, `v5e`, `v5p`, `v6e` or `v7x`.
        topology: Chips of the slice in each dimension, as in the label `cloud.google.com/gke-tpu-topology`: `2x4` for
            v5e and v6e, `2x2x2` for the others.
        chips_per_host: Chips of a pod. None: all of a v5e or v6e slice of up to 8 chips, else 4. Give it for machine
            types that differ, such as 4 for a `2x4` slice of two hosts.

    Raises:
        InvalidSpecError: The generation is unknown, the topology is of another one, or hosts cannot divide it equally.
    """
    known = _TPUS.get(generation)
    if known is None:
        raise InvalidSpecError("accelerator.generation", f"is {generation!r}", f"use one of {', '.join(_TPUS)}")
    if re.fullmatch(r"[1-9]\d{0,3}" + r"x[1-9]\d{0,3}" * (known.dimensions - 1), topology) is None:
        example = "x".join("2" * known.dimensions)
        raise InvalidSpecError(
            "accelerator.topology", f"is {topology!r}", f"write {known.dimensions} numbers for {generation}: {example}"
        )
    chips = math.prod(int(size) for size in topology.split("x"))
    of_host = chips_per_host or (chips if chips <= known.most_chips_of_one_host else _CHIPS_OF_A_HOST)
    if of_host < 1 or chips % of_host:
        reason = f"has {chips} chips, which hosts of {of_host} chips cannot form"
        raise InvalidSpecError("accelerator.topology", reason, "choose another topology, or set chips_per_host")
    selector = {"cloud.google.com/gke-tpu-accelerator": known.node, "cloud.google.com/gke-tpu-topology": topology}
    return Accelerator(
        resource="google.com/tpu", ray_resource="TPU", count=of_host, node_selector=selector, hosts=chips // of_host
    )


def __dir__() -> list[str]:
    return sorted(__all__)

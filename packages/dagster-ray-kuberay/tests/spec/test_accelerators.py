"""Accelerators of groups: what Kubernetes is asked for, where the pods run, and what Ray counts."""

from typing import Any

import pytest

from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import RenderInput, render_rayjob
from dagster_ray.kuberay.accelerators import Accelerator, amd, gaudi, neuron, nvidia_mig, tpu
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, InteractiveRayJobSpec, RayClusterSpec
from dagster_ray.kuberay.groups import head_group, worker_group

GKE = "cloud.google.com/gke-tpu"


@pytest.mark.parametrize(
    ("accelerator", "asks", "selector", "taints"),
    [
        pytest.param(
            amd(8, model="AMD_Instinct_MI300X_OAM"),
            ({"amd.com/gpu": "8"}, {"num-gpus": "8"}),
            {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"},
            ["amd.com/gpu"],
            id="GPUs of AMD",
        ),
        pytest.param(
            gaudi(2),
            ({"habana.ai/gaudi": "2"}, {"resources": "'{\"HPU\": 2}'"}),
            None,
            ["habana.ai/gaudi"],
            id="Gaudi cards, for whose model there is no label",
        ),
        pytest.param(
            neuron(32, instance_type="trn1.32xlarge"),
            ({"aws.amazon.com/neuroncore": "32"}, {"resources": "'{\"neuron_cores\": 32}'"}),
            {"node.kubernetes.io/instance-type": "trn1.32xlarge"},
            ["aws.amazon.com/neuroncore", "aws.amazon.com/neuron"],
            id="NeuronCores",
        ),
        pytest.param(
            nvidia_mig("1g.5gb", model="NVIDIA-A100-SXM4-40GB"),
            ({"nvidia.com/mig-1g.5gb": "1"}, {"num-gpus": "1"}),
            {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"},
            ["nvidia.com/mig-1g.5gb", "nvidia.com/gpu"],
            id="a slice of a GPU of NVIDIA",
        ),
        pytest.param(
            tpu("v6e", "2x4"),
            ({"google.com/tpu": "8"}, {"resources": "'{\"TPU\": 8}'"}),
            {f"{GKE}-accelerator": "tpu-v6e-slice", f"{GKE}-topology": "2x4"},
            ["google.com/tpu"],
            id="a slice of TPUs on one host",
        ),
        pytest.param(
            Accelerator(resource="example.com/dpu", ray_resource="DPU", count=3, taints=()),
            ({"example.com/dpu": "3"}, {"resources": "'{\"DPU\": 3}'"}),
            None,
            None,
            id="a device of which this package knows nothing",
        ),
    ],
)
@pytest.mark.parametrize("of_head", [pytest.param(False, id="a worker group"), pytest.param(True, id="the head")])
def test_an_accelerator_says_what_kubernetes_and_ray_are_asked_for(
    accelerator: Accelerator,
    asks: tuple[dict[str, str], dict[str, str]],
    selector: dict[str, str] | None,
    taints: list[str] | None,
    of_head: bool,
) -> None:
    group = head_group(accelerator=accelerator) if of_head else worker_group("g", accelerator=accelerator)
    spec = group["template"]["spec"]
    limits, params = asks
    amounts = {"cpu": "1", "memory": "4Gi", **limits}
    assert spec["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}
    assert group["rayStartParams"] == params
    assert spec.get("nodeSelector") == selector
    expected = taints and [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in taints]
    assert spec.get("tolerations") == expected
    assert "numOfHosts" not in group


@pytest.mark.parametrize(
    ("accelerator", "hosts", "chips"),
    [
        pytest.param(tpu("v6e", "4x4"), 4, 4, id="16 chips of v6e"),
        pytest.param(tpu("v5e", "1x1"), 1, 1, id="one chip"),
        pytest.param(tpu("v5e", "2x4"), 1, 8, id="8 chips of v5e are one host"),
        pytest.param(tpu("v6e", "2x4", chips_per_host=4), 2, 4, id="unless its machine type has 4"),
        pytest.param(tpu("v4", "2x2x1"), 1, 4, id="one host of v4"),
        pytest.param(tpu("v4", "2x2x2"), 2, 4, id="8 chips of v4 are two hosts"),
        pytest.param(tpu("v5p", "4x4x8"), 32, 4, id="128 chips of v5p"),
        pytest.param(tpu("v7x", "2x2x1"), 1, 4, id="one host of v7x"),
    ],
)
def test_the_topology_of_a_slice_says_how_many_hosts_form_a_replica(
    accelerator: Accelerator, hosts: int, chips: int
) -> None:
    assert (accelerator.hosts, accelerator.count) == (hosts, chips)
    assert worker_group("g", accelerator=accelerator).get("numOfHosts", 1) == hosts


def test_a_group_of_a_multi_host_slice_is_accepted_and_rendered_with_the_users_settings_beside() -> None:
    workers = worker_group(
        "v6e",
        accelerator=tpu("v6e", "4x4"),
        max_replicas=2,
        nodeSelector={"cloud.google.com/gke-spot": "true"},
        tolerations=[{"key": "spot"}],
    )
    config = InteractiveRayJobConfig(
        spec=InteractiveRayJobSpec(
            ray_cluster_spec=RayClusterSpec(head_group_spec=head_group(), worker_group_specs=[workers])
        )
    )
    cluster = render_rayjob(config.plain(), RenderInput(name="a", namespace="n", image="i"))["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["numOfHosts"], group["minReplicas"], group["maxReplicas"]) == (4, 0, 2)
    spec = group["template"]["spec"]
    assert spec["nodeSelector"] == {
        f"{GKE}-accelerator": "tpu-v6e-slice",
        f"{GKE}-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert [each["key"] for each in spec["tolerations"]] == ["spot", "google.com/tpu"]


# What KubeRay and Ray derive themselves is written down as well, so that both count the same.
@pytest.mark.parametrize(
    ("accelerator", "counted"),
    [
        pytest.param(amd(8), {"GPU": 8}, id="GPUs of AMD"),
        pytest.param(nvidia_mig("3g.20gb", 2), {"GPU": 2}, id="slices of GPUs"),
        pytest.param(gaudi(8), {"HPU": 8}, id="Gaudi"),
        pytest.param(neuron(2), {"neuron_cores": 2}, id="Neuron"),
        pytest.param(tpu("v6e", "4x4"), {"TPU": 4, "TPU-v6e-16-head": 1}, id="TPUs, and the head of their slice"),
    ],
)
def test_rays_autoscaler_counts_the_accelerators_of_a_new_worker(
    accelerator: Accelerator, counted: dict[str, int]
) -> None:
    autoscaling = pytest.importorskip("ray.autoscaler._private.kuberay.autoscaling_config")
    resources_of = autoscaling._get_ray_resources_from_group_spec
    found: dict[str, Any] = resources_of(worker_group("g", accelerator=accelerator), is_head=False)
    assert {name: count for name, count in found.items() if name not in {"CPU", "memory"}} == counted


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(lambda: amd(0), "`accelerator.count` is 0", id="no device"),
        pytest.param(lambda: nvidia_mig("a100"), "`accelerator.profile` is 'a100'", id="no profile of MIG"),
        pytest.param(lambda: tpu("v9", "2x2"), "use one of v4, v5e, v5p, v6e, v7x", id="an unknown generation"),
        pytest.param(lambda: tpu("v4", "2x2"), "write 3 numbers for v4: 2x2x2", id="a topology of another generation"),
        pytest.param(lambda: tpu("v6e", "3x3"), "9 chips, which hosts of 4 chips cannot form", id="an uneven slice"),
        pytest.param(
            lambda: worker_group("g", gpus=1, accelerator=amd()),
            r"`workerGroupSpecs\[g\].accelerator` is amd.com/gpu, and gpus is set too",
            id="two counts",
        ),
        pytest.param(
            lambda: head_group(accelerator=tpu("v4", "2x2x2")), "put it into a worker group", id="a head of two pods"
        ),
    ],
)
def test_what_cannot_be_meant_names_the_field(make: Any, text: str) -> None:
    with pytest.raises(InvalidSpecError, match=text):
        make()

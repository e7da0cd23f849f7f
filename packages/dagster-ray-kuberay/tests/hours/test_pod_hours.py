"""Hours of scripted pods, to a second."""

from decimal import Decimal
from typing import Any

import pytest
from pod_histories import Seen, at_second, condition, history, pod

from dagster_ray.kuberay._hours.figures import Hours, Node, Rate, hours_of
from dagster_ray.kuberay._hours.pods import requests_of
from dagster_ray.kuberay.accelerators import Accelerator, amd, gaudi, neuron, nvidia_mig, tpu

CPU_SECONDS: dict[str, tuple[list[Seen], float]] = {
    "one pod until the end of the step": ([(0, pod("a"), False)], 3600),
    "a pod counts from when it was scheduled, not from its creation": ([(90, pod("a", scheduled=60), False)], 3540),
    "a pod without that condition counts from the kubelet's time": (
        [(90, pod("a", scheduled=None) | {"status": {"phase": "Running", "startTime": "2026-01-01T12:01:00Z"}}, False)],
        3540,
    ),
    "a pod that was never scheduled costs nothing": (
        [(0, pod("a", node=None, scheduled=None, phase="Pending"), False)],
        0,
    ),
    "a pod that no node takes costs nothing, however long it waits": (
        [
            (0, pod("a", node=None, scheduled=None) | {"status": {"conditions": [condition("False", 0)]}}, False),
            (1800, pod("a", node=None, scheduled=None) | {"status": {"conditions": [condition("False", 0)]}}, True),
        ],
        0,
    ),
    "a container that restarts keeps its node": (
        [(0, pod("a"), False), (100, pod("a", restarts=1), False), (200, pod("a", restarts=2), False)],
        3600,
    ),
    "a preempted worker counts until its containers ended, its replacement from its own start": (
        [
            (0, pod("a"), False),
            (100, pod("a", ended=97, phase="Failed"), False),
            (130, pod("a", ended=97, phase="Failed"), True),
            (140, pod("b", scheduled=137), False),
        ],
        97 + 3600 - 137,
    ),
    "a pod that is gone with its node counts until that was heard": (
        [(0, pod("a"), False), (450, pod("a"), True)],
        450,
    ),
    "a cluster that grows and shrinks": (
        [
            (0, pod("head"), False),
            (600, pod("w1", {"cpu": "4"}, scheduled=600), False),
            (700, pod("w2", {"cpu": "4"}, scheduled=700), False),
            (1800, pod("w1", {"cpu": "4"}, scheduled=600, ended=1799), True),
            (2000, pod("w2", {"cpu": "4"}, scheduled=700, ended=1999), True),
        ],
        3600 + 4 * (1799 - 600) + 4 * (1999 - 700),
    ),
    "a pod whose end is heard twice ends once, at the first": (
        [(0, pod("a"), False), (100, pod("a", phase="Succeeded"), False), (900, pod("a", phase="Succeeded"), True)],
        100,
    ),
    "a watch that tells a pod twice": ([(0, pod("a"), False), (50, pod("a"), False)], 3600),
    "a new pod of the same name": (
        [
            (0, pod("a"), False),
            (100, pod("a"), True),
            (200, pod("a", scheduled=200) | {"metadata": {"name": "a", "uid": "another"}}, False),
        ],
        100 + 3400,
    ),
}


@pytest.mark.parametrize(("seen", "cpu_seconds"), CPU_SECONDS.values(), ids=CPU_SECONDS)
def test_cpu_hours_are_exact_to_a_second(seen: list[Seen], cpu_seconds: float) -> None:
    found = hours_of(history(*seen).pods.values(), at_second(3600))
    assert found.cpu * 3600 == pytest.approx(cpu_seconds)


def test_a_head_without_cpu_reserves_its_memory() -> None:
    found = hours_of(history((0, pod("head", {"memory": "4Gi"}), False)).pods.values(), at_second(1800))
    assert found == Hours(0, 2, 0, {}, None)


def test_a_cluster_of_others_counts_from_when_the_step_held_it() -> None:
    seen = history(
        (0, pod("head"), False), (10, pod("early", ended=50), True), (900, pod("late", scheduled=900), False)
    )
    found = hours_of(seen.pods.values(), at_second(1200), since=at_second(600))
    assert found.cpu * 3600 == pytest.approx(600 + 300)


DEVICES: dict[str, tuple[Accelerator, bool]] = {
    "AMD": (amd(2), True),
    "a slice of NVIDIA": (nvidia_mig("1g.5gb", 3), True),
    "a whole GPU of NVIDIA": (Accelerator(resource="nvidia.com/gpu", ray_resource="GPU", count=2), True),
    "Gaudi": (gaudi(8), False),
    "NeuronCores": (neuron(4), False),
    "TPU": (tpu("v5e", "2x4"), False),
}


@pytest.mark.parametrize(("device", "is_gpu"), DEVICES.values(), ids=DEVICES)
def test_devices_count_by_the_name_of_their_resource(device: Accelerator, is_gpu: bool) -> None:
    assert is_gpu is (device.ray_resource == "GPU")
    worker = pod("w", {"cpu": "1", device.resource: device.count})
    found = hours_of(history((0, worker, False)).pods.values(), at_second(1800)).plain()
    assert found["gpu_hours"] == (device.count / 2 if is_gpu else 0)
    assert found.get(f"{device.resource}_hours") == (None if is_gpu else device.count / 2)


def test_disk_is_no_device() -> None:
    worker = pod("w", {"cpu": "1", "ephemeral-storage": "10Gi"})
    assert hours_of(history((0, worker, False)).pods.values(), at_second(1800)).devices == {}


def container(requests: dict[str, str], limits: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": requests, "limits": limits or {}}, **more}


REQUESTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "containers add up": (
        {"containers": [container({"cpu": "1"}), container({"cpu": "500m", "memory": "1Gi"})]},
        {"cpu": "1.5", "memory": "1073741824"},
    ),
    "a limit stands for a request that is missing": (
        {"containers": [container({"cpu": "1"}, {"cpu": "4", "nvidia.com/gpu": "2"})]},
        {"cpu": "1", "nvidia.com/gpu": "2"},
    ),
    "an init container runs before": (
        {"containers": [container({"cpu": "1"})], "initContainers": [container({"cpu": "3"})]},
        {"cpu": "3"},
    ),
    "one that restarts always runs beside": (
        {"containers": [container({"cpu": "1"})], "initContainers": [container({"cpu": "3"}, restartPolicy="Always")]},
        {"cpu": "4"},
    ),
    "a pod's overhead": ({"containers": [container({"cpu": "1"})], "overhead": {"cpu": "250m"}}, {"cpu": "1.25"}),
    "nothing": ({"containers": [container({})]}, {}),
}


@pytest.mark.parametrize(("spec", "wanted"), REQUESTS.values(), ids=REQUESTS)
def test_a_pod_reserves_what_the_scheduler_says(spec: dict[str, Any], wanted: dict[str, str]) -> None:
    assert requests_of(spec) == {name: Decimal(amount) for name, amount in wanted.items()}


SPOT, ON_DEMAND = {"capacity": "spot"}, {"capacity": "on-demand"}
BY_RESOURCE = Rate(cpu_hour=0.04, memory_gib_hour=0.005, gpu_hour=2)
WORKER = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
COSTS: dict[str, tuple[tuple[Rate, ...], dict[str, Node], float | None]] = {
    "no prices": ((), {}, None),
    "by resource": ((BY_RESOURCE,), {}, 4 * 0.04 + 16 * 0.005 + 2),
    "a resource's own price comes before that of GPUs": (
        (Rate(gpu_hour=2, resource_hours={"nvidia.com/gpu": 3}),),
        {},
        3,
    ),
    "the first price whose labels the node has": (
        (Rate(SPOT, cpu_hour=1), Rate(ON_DEMAND, cpu_hour=2), Rate(cpu_hour=3)),
        {"node-1": Node(ON_DEMAND)},
        8,
    ),
    "a node that is not known has no price where an earlier one may be its own": (
        (Rate(SPOT, cpu_hour=1), Rate(cpu_hour=3)),
        {},
        None,
    ),
    "a node that is known and has no labels has the price without labels": (
        (Rate(SPOT, cpu_hour=1), Rate(cpu_hour=3)),
        {"node-1": Node()},
        12,
    ),
    "no price fits": ((Rate(SPOT, cpu_hour=1),), {"node-1": Node(ON_DEMAND)}, None),
    "the largest share of a node": (
        (Rate(node_hour=10),),
        {"node-1": Node({}, {"cpu": Decimal(16), "memory": Decimal(2**36), "nvidia.com/gpu": Decimal(2)})},
        5,
    ),
    "a node whose size is not known": ((Rate(node_hour=10),), {"node-1": Node()}, None),
}


@pytest.mark.parametrize(("rates", "nodes", "cost"), COSTS.values(), ids=COSTS)
def test_cost_by_prices(rates: tuple[Rate, ...], nodes: dict[str, Node], cost: float | None) -> None:
    found = hours_of(history((0, pod("w", WORKER), False)).pods.values(), at_second(3600), rates=rates, nodes=nodes)
    assert found.cost == (None if cost is None else pytest.approx(cost))
    assert ("cost_unknown" in found.plain()) is (cost is None and bool(rates))


def test_labels_that_a_pod_selects_are_its_nodes() -> None:
    worker = pod("w", selects=SPOT)
    found = hours_of(
        history((0, worker, False)).pods.values(), at_second(3600), rates=(Rate(SPOT, cpu_hour=1), Rate(cpu_hour=3))
    )
    assert found.cost == pytest.approx(1)


def test_a_price_that_the_pods_own_labels_rule_out_is_left_out_though_the_node_is_not_known() -> None:
    rates = (Rate(SPOT, cpu_hour=1), Rate(cpu_hour=3))
    found = hours_of(history((0, pod("w", selects=ON_DEMAND), False)).pods.values(), at_second(3600), rates=rates)
    assert found.cost == pytest.approx(3)


def test_pods_without_a_price_are_named() -> None:
    pods = history(*((0, pod(f"w{n}"), False) for n in range(5))).pods.values()
    found = hours_of(pods, at_second(60), rates=(Rate(SPOT, cpu_hour=1),)).plain()
    assert found["cost_unknown"] == "no price fits the node of w0, w1, w2 and 2 more"
    assert "cost" not in found

"""Short forms of groups, and the choice of an image."""

from typing import Any, TypeAlias

import pytest

from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.image import choose_image, public_image
from dagster_ray.kuberay._spec.manifests import RenderInput, render_rayjob
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, InteractiveRayJobSpec, RayClusterSpec
from dagster_ray.kuberay.groups import head_group, worker_group

Candidates: TypeAlias = tuple[str | None, str | None, str | None, str | None]


def test_a_head_group_says_of_tasks_only_what_it_is_told() -> None:
    resources = {"cpu": "2", "memory": "8Gi"}
    assert head_group(cpus=2, memory="8Gi") == {
        "rayStartParams": {},
        "template": {
            "metadata": {"annotations": {"dagster/completion": "all"}},
            "spec": {"containers": [{"name": "ray-head", "resources": {"requests": resources, "limits": resources}}]},
        },
    }
    assert head_group(num_cpus=2)["rayStartParams"] == {"num-cpus": "2"}
    assert head_group(num_cpus=0)["rayStartParams"] == {"num-cpus": "0"}


@pytest.mark.parametrize(
    ("workers", "params"),
    [
        pytest.param([worker_group("cpu")], {"num-cpus": "0"}, id="workers take the tasks"),
        pytest.param([], {}, id="a head alone takes them itself, by the CPUs of its pod"),
    ],
)
def test_the_head_of_a_rendered_cluster_runs_tasks_only_where_nothing_else_can(
    workers: list[dict[str, Any]], params: dict[str, str]
) -> None:
    cluster = RayClusterSpec(head_group_spec=head_group(cpus=2), worker_group_specs=workers)
    config = InteractiveRayJobConfig(spec=InteractiveRayJobSpec(ray_cluster_spec=cluster))
    rendered = render_rayjob(config.plain(), RenderInput(name="a", namespace="n", image="i"))["spec"]["rayClusterSpec"]
    assert rendered["headGroupSpec"]["rayStartParams"] == params


def test_a_group_of_gpus_asks_for_them_tolerates_their_nodes_and_selects_the_model() -> None:
    group = worker_group("gpu", cpus="500m", memory=2**30, gpus=2, accelerator="NVIDIA-L4", max_replicas=4)
    spec = group["template"]["spec"]
    amounts = {"cpu": "500m", "memory": "1073741824", "nvidia.com/gpu": "2"}
    assert spec["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 4)


def test_an_accelerator_may_be_a_node_selector_of_its_own() -> None:
    selector = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    group = worker_group("gpu", gpus=1, accelerator=selector, tolerations=[{"key": "spot"}])
    spec = group["template"]["spec"]
    assert spec["nodeSelector"] == selector
    assert [each["key"] for each in spec["tolerations"]] == ["spot", "nvidia.com/gpu"]


def test_everything_else_of_the_pod_has_kubernetes_names() -> None:
    sidecar = {"name": "log", "image": "x"}
    group = worker_group(
        "g",
        replicas=3,
        image="i",
        env={"A": "1", "B": {"secretKeyRef": {"name": "s", "key": "k"}}},
        labels={"team": "ml"},
        serviceAccountName="ray",
        containers=[{"name": "ray-worker", "workingDir": "/w"}, sidecar],
    )
    spec = group["template"]["spec"]
    assert group["replicas"] == 3
    assert "maxReplicas" not in group
    assert group["template"]["metadata"]["labels"] == {"team": "ml"}
    assert spec["serviceAccountName"] == "ray"
    assert spec["containers"][1] == sidecar
    assert (spec["containers"][0]["workingDir"], spec["containers"][0]["image"]) == ("/w", "i")
    assert spec["containers"][0]["env"] == [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    with pytest.raises(InvalidSpecError, match="write `nodeSelector`"):
        worker_group("g", node_selector={})


def test_replicas_must_lie_between_their_bounds() -> None:
    with pytest.raises(InvalidSpecError, match="not between min_replicas, 0, and max_replicas, 2"):
        worker_group("g", replicas=3, max_replicas=2)


@pytest.mark.parametrize(
    ("given", "replicas"),
    [
        pytest.param({}, (0, 0, 10), id="nothing"),
        pytest.param({"replicas": 4}, (4, 4, 4), id="a fixed size"),
        pytest.param({"min_replicas": 1, "max_replicas": 3}, (1, 1, 3), id="bounds"),
        pytest.param({"min_replicas": 2}, (2, 2, 10), id="a lower bound"),
    ],
)
def test_groups_become_parts_of_a_cluster(given: dict[str, Any], replicas: tuple[int, int, int]) -> None:
    cluster = RayClusterSpec(head_group_spec=head_group(), worker_group_specs=[worker_group("g", **given)])
    config = InteractiveRayJobConfig(spec=InteractiveRayJobSpec(ray_cluster_spec=cluster))
    rendered = render_rayjob(config.plain(), RenderInput(name="a", namespace="n", image="i"))["spec"]["rayClusterSpec"]
    (group,) = rendered["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == replicas


@pytest.mark.parametrize(
    ("candidates", "image", "source"),
    [
        pytest.param(("e", "t", "o", "v"), "e", "the image of the resource", id="the resource's"),
        pytest.param((None, "t", "o", "v"), "t", "the run's tag dagster/image", id="the run's"),
        pytest.param((None, None, "o", "v"), "o", "the image of the code location", id="the code location's"),
        pytest.param((None, None, None, "v"), "v", "DAGSTER_CURRENT_IMAGE", id="the environment's"),
        pytest.param(
            ("", None, None, ""),
            "rayproject/ray:2.60.0-py311",
            "the public image for the local Ray and Python",
            id="Ray's own",
        ),
    ],
)
def test_the_image_is_the_first_that_is_known(candidates: Candidates, image: str, source: str) -> None:
    explicit, tag, origin, environ = candidates
    tags = {} if tag is None else {"dagster/image": tag}
    assert choose_image(explicit, tags, origin, environ, "2.60.0", "3.11.7") == (image, source)


@pytest.mark.parametrize(
    ("ray", "python", "image"),
    [
        ("2.46.0", "3.12", "rayproject/ray:2.46.0-py312"),
        ("3.0.0.dev0", "3.10.1", "rayproject/ray:nightly-py310"),
        ("2.60.0rc1", "3.13.0", "rayproject/ray:nightly-py313"),
    ],
)
def test_tags_of_the_public_image(ray: str, python: str, image: str) -> None:
    assert public_image(ray, python) == image

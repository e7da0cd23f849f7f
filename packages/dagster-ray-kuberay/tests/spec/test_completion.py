"""What is completed with defaults, and what means the same as for `kubectl apply`."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false, reportArgumentType=false

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster, render_rayjob
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig, RayClusterSpec
from dagster_ray.kuberay.groups import head_group, worker_group

FACTS = RenderInput(name="a", namespace="n", image="ours:1", ray_version="2.60.0")
GIVEN: dict[str, Any] = {"name": "h", "image": "own:1"}
HEAD: dict[str, Any] = {"rayStartParams": {}, "template": {"spec": {"containers": [GIVEN]}}}
GROUP: dict[str, Any] = {
    "groupName": "g",
    "replicas": 2,
    "rayStartParams": {},
    "template": {"spec": {"containers": [{"name": "w", "image": "own:1"}]}},
}
MARK = "dagster/completion"


def rendered(cluster: dict[str, Any]) -> dict[str, Any]:
    return render_raycluster(RayClusterConfig(spec=cluster).plain(), FACTS)["spec"]


def of_file(folder: Path, content: dict[str, Any], **spec: Any) -> dict[str, Any]:
    (path := folder / "spec.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return render_raycluster(RayClusterConfig(spec_file=str(path), spec=spec).plain(), FACTS)["spec"]


def without_identity(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return a rendered cluster without what a whole manifest gets."""
    found = copy.deepcopy(cluster)
    for group in (found["headGroupSpec"], *found.get("workerGroupSpecs", ())):
        assert group["template"].pop("metadata") == {"labels": {}}
    head = found["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head.pop("env") == [{"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "0"}]
    return found


WHOLE: dict[str, dict[str, Any]] = {
    "a head alone": {"headGroupSpec": HEAD},
    "a head of GPUs": {
        "headGroupSpec": {
            **HEAD,
            "template": {"spec": {"containers": [{**GIVEN, "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}},
        },
        "workerGroupSpecs": [],
    },
    "a gang of a fixed size": {"headGroupSpec": HEAD, "workerGroupSpecs": [GROUP]},
    "bounds without autoscaling": {
        "headGroupSpec": HEAD,
        "workerGroupSpecs": [{**GROUP, "minReplicas": 1, "maxReplicas": 5}],
    },
    "a group without numbers": {
        "headGroupSpec": HEAD,
        "workerGroupSpecs": [{key: value for key, value in GROUP.items() if key != "replicas"}],
    },
    "autoscaling": {"enableInTreeAutoscaling": True, "headGroupSpec": HEAD, "workerGroupSpecs": [GROUP]},
}


@pytest.mark.parametrize("cluster", WHOLE.values(), ids=WHOLE)
def test_a_whole_manifest_gets_nothing_that_changes_the_cluster(cluster: dict[str, Any], tmp_path: Path) -> None:
    assert without_identity(rendered(cluster)) == cluster
    for content in (
        cluster,
        {"kind": "RayCluster", "spec": cluster},
        {"kind": "RayJob", "spec": {"rayClusterSpec": cluster}},
    ):
        assert without_identity(of_file(tmp_path, content)) == cluster
    job = render_rayjob(InteractiveRayJobConfig(spec={"rayClusterSpec": cluster}).plain(), FACTS)["spec"]
    assert without_identity(job["rayClusterSpec"]) == cluster
    assert (job["shutdownAfterJobFinishes"], job["ttlSecondsAfterFinished"]) == (True, 60)


def test_what_a_step_needs_is_added_to_a_whole_manifest() -> None:
    facts = RenderInput(
        name="a", namespace="n", image="ours:1", labels={"l": "1"}, annotations={"k": "v"}, env_vars={"A": "1"}
    )
    redis = {"containerPort": 6379, "name": "redis"}
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "h", "ports": [redis]}]}}}
    group = {**GROUP, "template": {"spec": {"containers": [{"name": "w"}]}}}
    cluster = RayClusterConfig(spec={"headGroupSpec": head, "workerGroupSpecs": [group]})
    metadata = {"labels": {"l": "1"}, "annotations": {"k": "v"}}
    env = [{"name": "A", "value": "1"}]
    ray_head = {
        "name": "h",
        "image": "ours:1",
        "env": [{"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "0"}, *env],
        "ports": [redis, {"containerPort": 10001, "name": "client"}, {"containerPort": 8265, "name": "dashboard"}],
    }
    ray_worker = {"name": "w", "image": "ours:1", "env": env}
    assert render_raycluster(cluster.plain(), facts)["spec"] == {
        "headGroupSpec": {**head, "template": {"metadata": metadata, "spec": {"containers": [ray_head]}}},
        "workerGroupSpecs": [{**group, "template": {"metadata": metadata, "spec": {"containers": [ray_worker]}}}],
    }


def in_python(cluster: dict[str, Any], folder: Path) -> dict[str, Any]:
    return rendered(cluster)


def in_fields(cluster: dict[str, Any], folder: Path) -> dict[str, Any]:
    spec = RayClusterSpec(head_group_spec=cluster["headGroupSpec"], worker_group_specs=cluster["workerGroupSpecs"])
    return render_raycluster(RayClusterConfig(spec=spec).plain(), FACTS)["spec"]


def in_yaml(cluster: dict[str, Any], folder: Path) -> dict[str, Any]:
    return of_file(folder, cluster)


def in_run_config(cluster: dict[str, Any], folder: Path) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    @dg.op
    def record(config: RayClusterConfig) -> None:
        found.append(render_raycluster(config.plain(), FACTS)["spec"])

    @dg.job
    def job() -> None:
        record()

    config = {"ops": {"record": {"config": {"spec": cluster}}}}
    assert job.execute_in_process(run_config=yaml.safe_load(yaml.safe_dump(config))).success
    return found[0]


WAYS = {"Python": in_python, "fields": in_fields, "YAML": in_yaml, "run config": in_run_config}


@pytest.mark.parametrize(
    "image", [pytest.param(None, id="without an image"), pytest.param("own:1", id="with an image")]
)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_builders_make_is_completed_on_every_way(
    way: Callable[[dict[str, Any], Path], dict[str, Any]], image: str | None, tmp_path: Path
) -> None:
    groups = [worker_group("w", image=image, labels={"team": "ml"})]
    cluster = way({"headGroupSpec": head_group(image=image), "workerGroupSpecs": groups}, tmp_path)
    (group,) = cluster["workerGroupSpecs"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["rayVersion"] == "2.60.0"
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (0, 0, 10)
    for given in (cluster["headGroupSpec"], group):
        assert given["template"]["spec"]["containers"][0]["image"] == image or "ours:1"
        assert "annotations" not in given["template"]["metadata"], "the builders' mark is not sent"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="no spec at all"),
        pytest.param({"headGroupSpec": {"rayStartParams": {}}}, id="a head without a container"),
        pytest.param({"workerGroupSpecs": [GROUP]}, id="no head"),
        pytest.param({"headGroupSpec": {"template": {"spec": {"serviceAccountName": "ray"}}}}, id="an account alone"),
    ],
)
def test_what_does_not_describe_a_head_is_a_request_that_is_completed(spec: dict[str, Any]) -> None:
    cluster = rendered(spec)
    assert "enableInTreeAutoscaling" in cluster
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "1"


def test_a_builders_group_is_completed_in_a_whole_manifest_and_nothing_else_is(tmp_path: Path) -> None:
    manifest = {"kind": "RayCluster", "spec": {"headGroupSpec": HEAD, "workerGroupSpecs": [GROUP]}}
    cluster = of_file(tmp_path, manifest, worker_group_specs=[worker_group("more", max_replicas=3)])
    given, built = cluster["workerGroupSpecs"]
    assert "maxReplicas" not in given
    assert (built["replicas"], built["minReplicas"], built["maxReplicas"]) == (1, 0, 3), "without an autoscaler"
    assert "enableInTreeAutoscaling" not in cluster


def test_a_builders_head_over_a_whole_manifest_leaves_the_rest_of_it_alone(tmp_path: Path) -> None:
    manifest = {"kind": "RayCluster", "spec": {"headGroupSpec": HEAD, "workerGroupSpecs": [GROUP]}}
    cluster = of_file(tmp_path, manifest, head_group_spec=head_group(cpus=8))
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert cluster["headGroupSpec"]["template"]["metadata"] == {"labels": {}}
    assert cluster.keys() == {"headGroupSpec", "workerGroupSpecs"}
    assert "maxReplicas" not in cluster["workerGroupSpecs"][0]


def test_a_file_with_a_kind_is_a_manifest_even_where_it_says_nothing_of_containers(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {"kind": "RayCluster", "spec": {"headGroupSpec": {"rayStartParams": {}}}}
    cluster = of_file(tmp_path, manifest)
    assert cluster.keys() == {"headGroupSpec"}
    assert cluster["headGroupSpec"]["rayStartParams"] == {}
    assert [one["name"] for one in cluster["headGroupSpec"]["template"]["spec"]["containers"]] == ["ray-head"]
    del manifest["kind"]
    assert of_file(tmp_path, manifest)["enableInTreeAutoscaling"] is True


def test_the_mark_is_in_no_object_that_is_sent() -> None:
    cluster: dict[str, Any] = {
        "headGroupSpec": head_group(labels={"a": "b"}),
        "workerGroupSpecs": [worker_group("w")],
    }
    cluster["headGroupSpec"]["template"]["metadata"]["annotations"]["kept"] = "1"
    assert MARK in str(cluster)
    sent = rendered(cluster)
    assert MARK not in str(sent)
    assert sent["headGroupSpec"]["template"]["metadata"]["annotations"] == {"kept": "1"}
    assert MARK not in str(render_rayjob(InteractiveRayJobConfig(spec={"rayClusterSpec": cluster}).plain(), FACTS))

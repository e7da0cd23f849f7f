"""From a configuration and the facts of a step to the object that is sent."""

# Dagster's config classes are typed in part only.
# pyright: reportUnknownMemberType=false

import copy
from typing import Any

import pytest
from fault_world import fields, run_step, simulated

from dagster_ray.kuberay import KubeRayCluster
from dagster_ray.kuberay._operator_rules.verdicts import raycluster_rejections, rayjob_rejections
from dagster_ray.kuberay._spec.cluster_defaults import completed_cluster
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import RenderInput, metadata_text, named, render_raycluster, render_rayjob
from dagster_ray.kuberay.configs import (
    InteractiveRayJobConfig,
    InteractiveRayJobSpec,
    RayClusterConfig,
    RayClusterSpec,
)
from dagster_ray.kuberay.errors import MissingVariableError
from dagster_ray.simulator import admit

LABELS = {"app.kubernetes.io/managed-by": "dagster-ray", "dagster/run-id": "run"}
FACTS: dict[str, Any] = {
    "name": "dagster-0a1b2c3d-deadbeef",
    "namespace": "ns",
    "image": "repo/ours:1",
    "ray_version": "2.60.0",
    "labels": LABELS,
}
WISH = RenderInput(**FACTS)
VERSIONS = ("1.3.2", "1.4.2", "1.5.2", "1.6.2", "1.7.0")
RESOURCES = {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"cpu": "1", "memory": "4Gi"}}
TUTORIAL_GROUP: dict[str, Any] = {
    "groupName": "workers",
    "replicas": 0,
    "minReplicas": 0,
    "maxReplicas": 10,
    "rayStartParams": {},
    "template": {
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {
            "imagePullSecrets": [],
            "containers": [{"volumeMounts": [], "name": "worker", "imagePullPolicy": "Always"}],
            "volumes": [],
            "affinity": {},
            "tolerations": [],
            "nodeSelector": {},
        },
    },
}
TUTORIAL = InteractiveRayJobConfig(
    metadata={
        "namespace": "my-custom-namespace",
        "labels": {"team": "my-team"},
        "annotations": {"example": "annotation"},
    },
    spec=InteractiveRayJobSpec(
        ttl_seconds_after_finished=3600,
        deletion_strategy={"onSuccess": {"policy": "DeleteSelf"}, "onFailure": {"policy": "DeleteSelf"}},
        ray_cluster_spec=RayClusterSpec(worker_group_specs=[TUTORIAL_GROUP]),
    ),
)


def job(cluster: dict[str, Any] | None = None, **spec: Any) -> InteractiveRayJobConfig:
    given: dict[str, Any] = {"spec": {"rayClusterSpec": cluster or {}, **spec}}
    return InteractiveRayJobConfig(**given)


def rendered_cluster(cluster: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    return render_rayjob(job(cluster).plain(), RenderInput(**(FACTS | facts)))["spec"]["rayClusterSpec"]


def head_container(cluster: dict[str, Any]) -> dict[str, Any]:
    return cluster["headGroupSpec"]["template"]["spec"]["containers"][0]


def head_with(**container: Any) -> dict[str, Any]:
    return {"headGroupSpec": {"template": {"spec": {"containers": [container]}}}}


def test_without_a_spec_a_small_autoscaling_cluster_is_asked_for() -> None:
    def pod(name: str, **env: Any) -> dict[str, Any]:
        container = {"name": name, "image": "repo/ours:1", "resources": RESOURCES, **env}
        return {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}

    assert render_rayjob(InteractiveRayJobConfig().plain(), WISH) == {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "dagster-0a1b2c3d-deadbeef", "namespace": "ns", "labels": LABELS},
        "spec": {
            "submissionMode": "InteractiveMode",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "rayClusterSpec": {
                "rayVersion": "2.60.0",
                "enableInTreeAutoscaling": True,
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},
                    "template": pod("ray-head", env=[{"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "0"}]),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": 0,
                        "minReplicas": 0,
                        "maxReplicas": 10,
                        "rayStartParams": {},
                        "template": pod("ray-worker"),
                    }
                ],
            },
        },
    }


def test_the_tutorials_configuration_becomes_complete() -> None:
    manifest = render_rayjob(TUTORIAL.plain(), WISH)
    assert manifest["metadata"]["labels"] == {"team": "my-team", **LABELS}
    assert manifest["metadata"]["annotations"] == {"example": "annotation"}
    spec = manifest["spec"]
    assert (spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]) == (True, 3600)
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert container == {
        "name": "worker",
        "image": "repo/ours:1",
        "imagePullPolicy": "Always",
        "volumeMounts": [],
        "resources": RESOURCES,
    }
    assert group["template"]["metadata"] == {"labels": LABELS, "annotations": {}}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "config", [pytest.param(InteractiveRayJobConfig(), id="the default"), pytest.param(TUTORIAL, id="the tutorial's")]
)
def test_every_operator_accepts_the_manifest(config: InteractiveRayJobConfig, version: str) -> None:
    gates = {"RayJobDeletionPolicy": True}
    assert rayjob_rejections(render_rayjob(config.plain(), WISH), version, gates) == ()
    assert raycluster_rejections(render_raycluster(RayClusterConfig().plain(), WISH), version) == ()


@pytest.mark.parametrize(
    ("config", "version"),
    [
        pytest.param(InteractiveRayJobConfig(), "1.3.2", id="the default on 1.3"),
        pytest.param(InteractiveRayJobConfig(), "1.4.2", id="the default on 1.4"),
        pytest.param(InteractiveRayJobConfig(), "1.7.0", id="the default on 1.7"),
        pytest.param(TUTORIAL, "1.7.0", id="the tutorial's on 1.7"),
    ],
)
def test_every_api_server_knows_the_fields(config: InteractiveRayJobConfig, version: str) -> None:
    admission = admit("RayJob", render_rayjob(config.plain(), WISH), version)
    assert (admission.unknown_fields, admission.causes) == ((), ())


def test_rendering_changes_nothing_and_twice_gives_the_same() -> None:
    group = copy.deepcopy(TUTORIAL_GROUP)
    head = head_with(name="h", env=[{"name": "A", "value": "1"}], ports=[{"name": "x", "containerPort": 1}])
    config, wish = job({"workerGroupSpecs": [group], **head}), RenderInput(**FACTS, env_vars={"B": "2"})
    before = copy.deepcopy(config.plain())
    first = render_rayjob(config.plain(), wish)
    untouched = copy.deepcopy(first)
    second = render_rayjob(config.plain(), wish)
    first["spec"]["rayClusterSpec"]["workerGroupSpecs"].clear()
    first["metadata"]["labels"].clear()
    assert second == untouched
    assert config.plain() == before
    assert group == TUTORIAL_GROUP
    assert wish.labels == LABELS


def test_images_go_into_every_container_that_has_none() -> None:
    pod = {"initContainers": [{"name": "i"}], "containers": [{"name": "r", "image": "own"}, {"name": "s"}]}
    cluster = rendered_cluster({"headGroupSpec": {"template": {"spec": pod}}})
    spec = cluster["headGroupSpec"]["template"]["spec"]
    assert [(each["name"], each["image"]) for each in spec["containers"]] == [("r", "own"), ("s", "repo/ours:1")]
    assert spec["initContainers"] == [{"name": "i", "image": "repo/ours:1"}]
    assert "resources" not in spec["containers"][1], "only the Ray container is completed"


def test_the_users_environment_wins() -> None:
    own: list[dict[str, Any]] = [
        {"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "1"},
        {"name": "A", "valueFrom": {"fieldRef": {}}},
    ]
    cluster = rendered_cluster(head_with(name="h", env=own), env_vars={"A": "ours", "B": "2"})
    assert head_container(cluster)["env"] == [*own, {"name": "B", "value": "2"}]
    (group,) = rendered_cluster(env_vars={"A": "ours", "B": "2"})["workerGroupSpecs"]
    worker = group["template"]["spec"]["containers"][0]
    assert worker["env"] == [{"name": "A", "value": "ours"}, {"name": "B", "value": "2"}]


def test_identity_wins_over_labels_of_the_user_and_their_values_become_valid() -> None:
    config = InteractiveRayJobConfig(
        metadata={"labels": {"dagster/run-id": "forged", "owner": "a@b.c", "billable": "true"}}
    )
    labels = render_rayjob(config.plain(), WISH)["metadata"]["labels"]
    assert labels["dagster/run-id"] == "run"
    assert labels["owner"].startswith("a_b.c-")
    assert labels["billable"] == "true"


def test_annotations_of_the_identity_are_on_the_object_and_on_every_pod() -> None:
    manifest = render_rayjob(
        InteractiveRayJobConfig().plain(), RenderInput(**FACTS, annotations={"dagster/job": "a b"})
    )
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    everywhere = [manifest["metadata"], *(group["template"]["metadata"] for group in groups)]
    assert [metadata["annotations"] for metadata in everywhere] == [{"dagster/job": "a b"}] * 3


@pytest.mark.parametrize(
    ("spec", "shutdown", "ttl"),
    [
        pytest.param({}, True, 60, id="nothing said"),
        pytest.param({"ttlSecondsAfterFinished": 0}, True, 0, id="at once"),
        pytest.param({"shutdownAfterJobFinishes": False}, False, None, id="the cluster stays"),
        pytest.param(
            {"deletionStrategy": {"onSuccess": {"policy": "DeleteCluster"}, "onFailure": {"policy": "DeleteSelf"}}},
            True,
            None,
            id="the older form allows shutdown",
        ),
        pytest.param(
            {"deletionStrategy": {"onSuccess": {"policy": "DeleteNone"}, "onFailure": {"policy": "DeleteSelf"}}},
            None,
            None,
            id="DeleteNone excludes shutdown",
        ),
        pytest.param(
            {"deletionStrategy": {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]}},
            None,
            None,
            id="rules exclude shutdown",
        ),
    ],
)
def test_when_the_cluster_is_deleted(spec: dict[str, Any], shutdown: bool | None, ttl: int | None) -> None:
    manifest = render_rayjob(job(**spec).plain(), WISH)
    rendered = manifest["spec"]
    assert (rendered.get("shutdownAfterJobFinishes"), rendered.get("ttlSecondsAfterFinished")) == (shutdown, ttl)
    assert rayjob_rejections(manifest, "1.7.0") == ()


@pytest.mark.parametrize(
    ("group", "replicas", "autoscaling"),
    [
        pytest.param({}, (0, 0, 10), True, id="nothing said: may grow to ten"),
        pytest.param({"replicas": 3}, (3, 3, 3), False, id="only replicas: that size"),
        pytest.param({"minReplicas": 2}, (2, 2, 10), True, id="a lower bound"),
        pytest.param({"minReplicas": 20}, (20, 20, 20), False, id="a lower bound above the default upper one"),
        pytest.param({"maxReplicas": 5}, (0, 0, 5), True, id="an upper bound"),
        pytest.param({"replicas": 5, "maxReplicas": 5}, (5, 0, 5), False, id="begins at the upper bound"),
        pytest.param({"minReplicas": 4, "maxReplicas": 4}, (4, 4, 4), False, id="both bounds the same"),
        pytest.param({"maxReplicas": 0}, (0, 0, 0), False, id="switched off"),
        pytest.param({"replicas": 0}, (0, 0, 10), True, id="begins with none"),
    ],
)
def test_replicas_of_a_group(group: dict[str, Any], replicas: tuple[int, int, int], autoscaling: bool) -> None:
    cluster = rendered_cluster({"workerGroupSpecs": [{"groupName": "g", **group}]})
    (got,) = cluster["workerGroupSpecs"]
    assert (got["replicas"], got["minReplicas"], got["maxReplicas"]) == replicas
    assert cluster["enableInTreeAutoscaling"] is autoscaling


@pytest.mark.parametrize(
    ("cluster", "spec", "facts"),
    [
        pytest.param({"enableInTreeAutoscaling": False}, {}, {}, id="switched off"),
        pytest.param({}, {}, {"queue": "q"}, id="in a queue"),
        pytest.param(
            {},
            {"deletionStrategy": {"onSuccess": {"policy": "DeleteWorkers"}, "onFailure": {"policy": "DeleteSelf"}}},
            {},
            id="with DeleteWorkers",
        ),
    ],
)
def test_without_autoscaling_a_group_begins_with_a_worker(
    cluster: dict[str, Any], spec: dict[str, Any], facts: dict[str, Any]
) -> None:
    rendered = render_rayjob(job(cluster, **spec).plain(), RenderInput(**(FACTS | facts)))
    got = rendered["spec"]["rayClusterSpec"]
    assert got["enableInTreeAutoscaling"] is False
    assert got["workerGroupSpecs"][0]["replicas"] == 1
    assert rayjob_rejections(rendered, "1.7.0") == ()


def test_a_suspended_group_turns_autoscaling_off() -> None:
    cluster = rendered_cluster({"workerGroupSpecs": [{"groupName": "g", "suspend": True}]})
    assert cluster["enableInTreeAutoscaling"] is False


@pytest.mark.parametrize(
    ("cluster", "params"),
    [
        pytest.param({}, {"num-cpus": "0"}, id="workers take the tasks"),
        pytest.param({"workerGroupSpecs": []}, {}, id="a head alone takes them itself"),
        pytest.param({"headGroupSpec": {"rayStartParams": {"num-cpus": 2}}}, {"num-cpus": "2"}, id="as the user says"),
        pytest.param({"headGroupSpec": {"resources": {"CPU": "2"}}}, {}, id="resources of the group replace it"),
        pytest.param(
            {"headGroupSpec": {"rayStartParams": {"block": True}}},
            {"block": "true", "num-cpus": "0"},
            id="values become text",
        ),
    ],
)
def test_start_parameters_of_the_head(cluster: dict[str, Any], params: dict[str, str]) -> None:
    assert rendered_cluster(cluster)["headGroupSpec"]["rayStartParams"] == params


def test_a_queue_and_a_priority_are_labels_of_the_object_only() -> None:
    manifest = render_rayjob(InteractiveRayJobConfig().plain(), RenderInput(**FACTS, queue="team-a", priority="high"))
    labels = manifest["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team-a"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert "suspend" not in manifest["spec"]
    assert manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"]["labels"] == LABELS


def test_facts_give_way_to_what_the_user_says() -> None:
    config = job({"rayVersion": "2.55.0"}, preRunningDeadlineSeconds=5)
    spec = render_rayjob(config.plain(), RenderInput(**FACTS, pre_running_deadline_seconds=660))["spec"]
    assert (spec["preRunningDeadlineSeconds"], spec["rayClusterSpec"]["rayVersion"]) == (5, "2.55.0")
    ours = render_rayjob(job().plain(), RenderInput(**FACTS, pre_running_deadline_seconds=660))["spec"]
    assert ours["preRunningDeadlineSeconds"] == 660


def test_an_owner_is_added_to_those_of_the_user() -> None:
    config = InteractiveRayJobConfig(metadata={"ownerReferences": [{"uid": "a"}]})
    manifest = render_rayjob(config.plain(), RenderInput(**FACTS, owner_reference={"uid": "b"}))
    assert manifest["metadata"]["ownerReferences"] == [{"uid": "a"}, {"uid": "b"}]


def test_values_come_from_the_environment_except_where_env_is_the_users_own_key() -> None:
    cluster = {
        "headGroupSpec": {
            "template": {
                "metadata": {"labels": {"env": "prod"}},
                "spec": {"serviceAccountName": {"env": "ACCOUNT"}, "nodeSelector": {"pool": {"env": "POOL"}}},
            }
        }
    }
    template = rendered_cluster(cluster, environ={"ACCOUNT": "ray", "POOL": "big"})["headGroupSpec"]["template"]
    assert template["metadata"]["labels"]["env"] == "prod"
    assert (template["spec"]["serviceAccountName"], template["spec"]["nodeSelector"]) == ("ray", {"pool": "big"})


def test_a_missing_variable_is_named_with_the_field_that_wants_it() -> None:
    config = job({"workerGroupSpecs": [{"groupName": "g", "template": {"spec": {"hostname": {"env": "NOPE"}}}}]})
    with pytest.raises(MissingVariableError) as caught:
        render_rayjob(config.plain(), WISH)
    assert caught.value.variable == "NOPE"
    assert caught.value.path == "spec.rayClusterSpec.workerGroupSpecs[0].template.spec.hostname"


def test_what_the_environment_brings_is_checked_as_well() -> None:
    config = job({"workerGroupSpecs": [{"groupName": {"env": "GROUP"}}]})
    with pytest.raises(InvalidSpecError, match="is 'A B', which cannot be part of a pod's name"):
        render_rayjob(config.plain(), RenderInput(**FACTS, environ={"GROUP": "A B"}))


def test_keys_without_a_value_are_left_out() -> None:
    cluster = rendered_cluster({"headGroupSpec": {"template": {"spec": {"hostname": None, "volumes": []}}}})
    spec = cluster["headGroupSpec"]["template"]["spec"]
    assert "hostname" not in spec
    assert spec["volumes"] == []


def test_unknown_fields_pass_through() -> None:
    manifest = render_rayjob(job({"newerField": {"a": 1}}, anotherField=2).plain(), WISH)
    assert manifest["spec"]["anotherField"] == 2
    assert manifest["spec"]["rayClusterSpec"]["newerField"] == {"a": 1}


def test_names_of_the_metadata_are_read_before_rendering() -> None:
    config = InteractiveRayJobConfig(metadata={"name": "fixed", "namespace": {"env": "NS"}})
    assert metadata_text(config.plain(), "name", {}) == "fixed"
    assert metadata_text(config.plain(), "namespace", {"NS": "team"}) == "team"
    assert metadata_text(InteractiveRayJobConfig().plain(), "name", {}) is None
    with pytest.raises(MissingVariableError, match=r"`metadata\.namespace`"):
        metadata_text(config.plain(), "namespace", {})


def test_a_cluster_of_its_own_has_no_parts_of_a_job() -> None:
    manifest = render_raycluster(RayClusterConfig().plain(), WISH)
    assert (manifest["kind"], manifest["apiVersion"]) == ("RayCluster", "ray.io/v1")
    assert set(manifest["spec"]) == {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}


def test_secrets_of_the_step_are_not_shown() -> None:
    assert "canary" not in repr(RenderInput(**FACTS, env_vars={"T": "canary"}, environ={"T": "canary"}))


@pytest.mark.parametrize(
    "cluster", [pytest.param({}, id="with workers"), pytest.param({"workerGroupSpecs": []}, id="the head alone")]
)
def test_a_manifest_under_another_name_is_the_one_that_would_have_been_rendered(cluster: dict[str, Any]) -> None:
    more: dict[str, Any] = {"labels": {"team": "a"}, "annotations": {"dagster/job": "a b"}}
    bare_facts: dict[str, Any] = {**FACTS, "labels": {}}
    facts: dict[str, Any] = {**FACTS, **more, "name": "other"}
    other_facts: dict[str, Any] = {**bare_facts, "name": "other"}
    for render, plain in (
        (render_rayjob, {**job(cluster).plain(), "metadata": {"labels": {"team": "b", "x": "y"}}}),
        (render_raycluster, RayClusterConfig(spec=cluster, metadata={"annotations": {"a": "b"}}).plain()),
    ):
        bare = render(plain, RenderInput(**bare_facts))
        before = copy.deepcopy(bare)
        assert named(bare, "other", **more) == render(plain, RenderInput(**facts))
        assert named(bare, "other") == render(plain, RenderInput(**other_facts))
        assert bare == before


@pytest.mark.parametrize("shared", [pytest.param(False, id="own"), pytest.param(True, id="shared")])
def test_a_step_renders_once(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    rendered: list[dict[str, Any]] = []

    def counted(*args: Any, **kwargs: Any) -> dict[str, Any]:
        rendered.append(completed_cluster(*args, **kwargs))
        return rendered[-1]

    with simulated() as simulator:
        common = {key: value for key, value in fields(simulator).items() if key != "ray_job"}
        sharing: dict[str, Any] = {"cluster_sharing": {"enabled": True}} if shared else {}
        resource = KubeRayCluster(**common, **sharing)
        monkeypatch.setattr("dagster_ray.kuberay._spec.manifests.completed_cluster", counted)
        assert run_step(resource).success
    assert len(rendered) == 1

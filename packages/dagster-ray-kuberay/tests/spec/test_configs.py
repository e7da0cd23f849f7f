"""Configuration of RayJobs and RayClusters: both spellings, what passes through, and how it survives Dagster."""

# Dagster's decorators and config classes are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from pydantic import Field, ValidationError

from dagster_ray.kuberay._spec.manifests import RenderInput, render_rayjob
from dagster_ray.kuberay.configs import (
    ClusterSharing,
    InteractiveRayJobConfig,
    InteractiveRayJobSpec,
    RayClusterConfig,
    RayClusterSpec,
)

WISH = RenderInput(name="a", namespace="n", image="i", environ={"TEAM": "ml", "POLICY": "Always", "TTL": "5"})


class Cluster(dg.ConfigurableResource[Any]):
    """A resource with a RayJob."""

    ray_job: InteractiveRayJobConfig = Field(default_factory=InteractiveRayJobConfig)
    ray_cluster: RayClusterConfig = Field(default_factory=RayClusterConfig)


def arrived(resource: Any, run_config: Mapping[str, Any] | None = None) -> Cluster:
    """Return what a step gets of a resource."""
    seen: list[Cluster] = []

    @dg.op
    def look(cluster: Cluster) -> None:
        seen.append(cluster)

    @dg.job(resource_defs={"cluster": resource})
    def job() -> None:
        look()

    config = {} if run_config is None else {"resources": {"cluster": {"config": run_config}}}
    assert job.execute_in_process(run_config=config).success
    return seen[0]


GROUP = {"groupName": "gpu", "replicas": 2, "template": {"spec": {"nodeSelector": {"env": "prod"}}}}
NEWER: dict[str, Any] = {"newerField": {"a": 1}}
IN_CODE = InteractiveRayJobConfig(
    metadata={"labels": {"team": dg.EnvVar("TEAM")}},
    spec=InteractiveRayJobSpec(
        ttl_seconds_after_finished=3600,
        ray_cluster_spec=RayClusterSpec(worker_group_specs=[GROUP], **NEWER),
    ),
)
PLAIN = {
    "metadata": {"labels": {"team": {"env": "TEAM"}}},
    "spec": {
        "ttlSecondsAfterFinished": 3600,
        "rayClusterSpec": {"workerGroupSpecs": [GROUP], "newerField": {"a": 1}},
    },
}


def test_the_plain_form_has_the_names_of_kubernetes_and_only_what_is_set() -> None:
    assert IN_CODE.plain() == PLAIN
    assert InteractiveRayJobConfig().plain() == {"metadata": {}, "spec": {"rayClusterSpec": {}}}
    assert RayClusterConfig().plain() == {"metadata": {}, "spec": {}}


def test_the_plain_form_shares_nothing_with_the_configuration() -> None:
    plain = IN_CODE.plain()
    plain["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["groupName"] = "changed"
    plain["metadata"]["labels"].clear()
    assert IN_CODE.plain() == PLAIN


def test_what_is_built_in_code_arrives_in_the_step() -> None:
    assert arrived(Cluster(ray_job=IN_CODE)).ray_job.plain() == PLAIN


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(PLAIN["spec"], id="camelCase"),
        pytest.param(
            {
                "ttl_seconds_after_finished": 3600,
                "ray_cluster_spec": {"worker_group_specs": [GROUP], "newerField": {"a": 1}},
            },
            id="snake_case",
        ),
    ],
)
def test_run_config_takes_both_spellings(spec: dict[str, Any]) -> None:
    config = {"ray_job": {"metadata": {"labels": {"team": {"env": "TEAM"}}}, "spec": spec}}
    assert arrived(Cluster.configure_at_launch(), config).ray_job.plain() == PLAIN


def test_code_takes_both_spellings_and_dictionaries() -> None:
    given: dict[str, Any] = {"metadata": PLAIN["metadata"], "spec": PLAIN["spec"]}
    assert InteractiveRayJobConfig(**given).plain() == PLAIN


def test_typed_fields_take_dagsters_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTL", "5")
    monkeypatch.setenv("MANAGER", "ray.io/kuberay-operator")
    config = InteractiveRayJobConfig(
        spec=InteractiveRayJobSpec(ttl_seconds_after_finished=dg.EnvVar.int("TTL"), managed_by=dg.EnvVar("MANAGER"))
    )
    spec = arrived(Cluster(ray_job=config)).ray_job.plain()["spec"]
    assert (spec["ttlSecondsAfterFinished"], spec["managedBy"]) == (5, "ray.io/kuberay-operator")


def test_a_cluster_and_its_sharing_arrive_in_the_step() -> None:
    sharing = ClusterSharing(enabled=True, ttl_seconds=3600, match_labels={"team": "ml"})
    cluster = RayClusterConfig(spec=RayClusterSpec(suspend=True), cluster_sharing=sharing)
    got = arrived(Cluster(ray_cluster=cluster)).ray_cluster
    assert got.cluster_sharing == sharing
    assert got.plain()["spec"] == {"suspend": True}
    assert arrived(Cluster()).ray_cluster.cluster_sharing is None


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        pytest.param(
            InteractiveRayJobSpec,
            {"ttl_second_after_finished": 60},
            "InteractiveRayJobSpec has no field `ttl_second_after_finished`. To fix: write "
            "`ttl_seconds_after_finished`.",
            id="a misspelled name",
        ),
        pytest.param(
            RayClusterSpec,
            {"some_thing": 1},
            "has no field `some_thing`. To fix: use one of: auth_options",
            id="an unknown name in snake_case",
        ),
        pytest.param(RayClusterSpec, {"headgroupspec": {}}, "write `headGroupSpec`", id="a known name in wrong case"),
        pytest.param(
            InteractiveRayJobConfig,
            {"spec_path": "x"},
            "InteractiveRayJobConfig has no field `spec_path`",
            id="a field of ours",
        ),
        pytest.param(
            RayClusterConfig, {"cluster_shared": {}}, "write `cluster_sharing`", id="sharing under a wrong name"
        ),
        pytest.param(ClusterSharing, {"ttl": 3}, "ClusterSharing has no field `ttl`", id="an option of sharing"),
        pytest.param(RayClusterConfig, {"cluster_sharing": {"enable": True}}, "write `enabled`", id="a nested option"),
        pytest.param(ClusterSharing, {"ttl_seconds": 1}, "greater than or equal to 10", id="too short a time"),
        pytest.param(
            RayClusterSpec,
            {"rayVersion": "2.1", "ray_version": "2.2"},
            "`rayVersion` is given twice",
            id="both spellings",
        ),
        pytest.param(
            InteractiveRayJobSpec, {"job_id": "x"}, "`jobId` has no place here: it is set when", id="a job id"
        ),
        pytest.param(
            InteractiveRayJobSpec, {"entrypoint": "python a.py"}, "use PipesKubeRayJobClient", id="an entrypoint"
        ),
        pytest.param(
            InteractiveRayJobSpec, {"runtimeEnvYAML": "{}"}, "KubeRay ignores it in InteractiveMode", id="a runtime_env"
        ),
        pytest.param(InteractiveRayJobSpec, {"submitterPodTemplate": {"spec": {}}}, "no pod submits", id="a submitter"),
        pytest.param(
            InteractiveRayJobSpec, {"submissionMode": "HTTPMode"}, "it is always InteractiveMode", id="another mode"
        ),
        pytest.param(
            InteractiveRayJobSpec, {"cluster_selector": {"ray.io/cluster": "a"}}, "use KubeRayCluster", id="a selector"
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(model: type[Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**given)
    assert message in str(caught.value)


def test_the_mode_may_be_written_out() -> None:
    given: dict[str, Any] = {"submissionMode": "InteractiveMode"}
    assert InteractiveRayJobSpec(**given).plain() == {"rayClusterSpec": {}}


def test_an_error_does_not_show_values() -> None:
    given: dict[str, Any] = {"head_group_spec": "canary"}
    with pytest.raises(ValidationError) as caught:
        RayClusterSpec(**given)
    assert "canary" not in str(caught.value)


def test_a_wrong_spec_is_refused_when_the_resource_is_built() -> None:
    with pytest.raises(ValidationError, match=r"spec\.ttlSecondsAfterFinished"):
        Cluster(ray_job=InteractiveRayJobConfig(spec=InteractiveRayJobSpec(ttl_seconds_after_finished=-1)))


def test_what_the_operator_of_every_release_refuses_is_refused_too() -> None:
    env = [{"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}]
    head = {"template": {"spec": {"containers": [{"name": "h", "env": env}]}}}
    cluster = RayClusterSpec(head_group_spec=head)
    with pytest.raises(ValidationError, match=r"is refused by the operator: .*KubeRay 1\.7"):
        RayClusterConfig(spec=cluster)


def test_fields_behind_a_gate_are_not_refused() -> None:
    cluster = RayClusterSpec(network_policy={"mode": "DenyAll"}, tls_options={"enabled": True})
    InteractiveRayJobConfig(spec=InteractiveRayJobSpec(ray_cluster_spec=cluster))


def test_values_of_the_environment_are_found_when_the_manifest_is_rendered() -> None:
    config = arrived(Cluster(ray_job=IN_CODE)).ray_job
    rendered = render_rayjob(config.plain(), WISH)
    assert rendered["metadata"]["labels"] == {"team": "ml"}
    template = rendered["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]
    assert template["spec"]["nodeSelector"] == {"env": "prod"}


def test_every_field_has_a_description() -> None:
    models = (InteractiveRayJobConfig, InteractiveRayJobSpec, RayClusterConfig, RayClusterSpec, ClusterSharing)
    fields = [(model.__name__, name, field) for model in models for name, field in model.model_fields.items()]
    assert [(model, name) for model, name, field in fields if not field.description] == []

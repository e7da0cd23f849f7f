"""Secrets in specifications: by reference in every group, refused where pods are not ours, warned of as plain text."""

import json
from typing import Any

import dagster as dg
import pytest

from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob, SecretRef
from dagster_ray.kuberay._pipes.job import read_call, with_secrets_apart
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster
from dagster_ray.kuberay._spec.secrets import common_secret, env_values, looks_secret, plain_secrets, unmet_secrets
from dagster_ray.kuberay.configs import ClusterSharing, RayClusterConfig
from dagster_ray.kuberay.groups import head_group, worker_group

HUB = {"secretKeyRef": {"name": "hub", "key": "token"}}
OTHER = {"secretKeyRef": {"name": "other", "key": "token"}}
SPEC: dict[str, Any] = {
    "headGroupSpec": head_group(),
    "workerGroupSpecs": [worker_group("a"), worker_group("b", env={"TOKEN": OTHER, "MODE": "fast"})],
}


def rendered(**env_vars: Any) -> dict[str, Any]:
    plain = RayClusterConfig(spec=SPEC).plain()
    return render_raycluster(plain, RenderInput(name="a", namespace="n", image="i", env_vars=env_vars))["spec"]


def envs(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    containers = [group["template"]["spec"]["containers"][0] for group in groups]
    return [{item["name"]: item.get("valueFrom", item.get("value")) for item in each["env"]} for each in containers]


def test_a_reference_is_in_the_container_of_every_group_unless_the_spec_sets_the_variable() -> None:
    found = envs(rendered(TOKEN=SecretRef("hub", "token"), STAGE="dev"))
    assert [env["TOKEN"] for env in found] == [HUB, HUB, OTHER]
    assert [env["STAGE"] for env in found] == ["dev"] * 3


def test_references_of_a_runtime_env_and_of_env_vars_end_in_the_containers() -> None:
    resource = KubeRayInteractiveJob(
        env_vars={"A": SecretRef("hub", "token"), "STAGE": "dev"},
        runtime_env={"env_vars": {"B": SecretRef("other", "token"), "MODE": "fast"}},
    )
    # How a step reads its resource; users have no name for it.
    assert resource._settings.env_vars == {"A": HUB, "STAGE": "dev", "B": OTHER}  # pyright: ignore[reportPrivateUsage]
    assert resource.init_options() == {"runtime_env": {"env_vars": {"MODE": "fast"}}}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("A", ("hub", "token"), id="from one Secret"),
        pytest.param("TOKEN", None, id="from another one in one group"),
        pytest.param("MODE", None, id="in one group only"),
        pytest.param("STAGE", None, id="as text"),
    ],
)
def test_the_secret_that_all_ray_containers_take_a_variable_from(name: str, found: tuple[str, str] | None) -> None:
    ref = SecretRef("hub", "token")
    assert common_secret(rendered(A=ref, TOKEN=ref, STAGE="dev"), name) == found


def test_variables_of_containers_may_come_from_the_steps_environment() -> None:
    given = {"env": "prod", "T": {"env": "TEAM"}, "N": dg.EnvVar.int("COUNT")}
    found = env_values(given, {"env_vars": {"M": {"env": "TEAM"}}}, {"TEAM": "ml", "COUNT": "3"})
    assert found == {"env": "prod", "T": "ml", "N": "3"}


def test_the_variables_of_a_resource_are_text_or_references() -> None:
    with pytest.raises(ValueError, match=r"`env_vars.A` is an int"):
        KubeRayInteractiveJob(env_vars={"A": 1})
    with pytest.raises(ValueError, match=r"`env_vars.A` is not a whole reference to a Secret"):
        KubeRayInteractiveJob(env_vars={"A": {"secretKeyRef": {"name": "hub"}}})


SELECTS = RayClusterConfig(spec={"clusterSelector": {"ray.io/cluster": "warm"}})
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an existing cluster, for containers": (
        {"ray_cluster": SELECTS, "env_vars": {"A": HUB}},
        r"`env_vars.A` refers to a Secret, and dagster-ray does not create the pods of the RayCluster",
    ),
    "an existing cluster, for tasks": (
        {"ray_cluster": SELECTS, "runtime_env": {"env_vars": {"A": HUB}}},
        r"`runtime_env.env_vars.A` refers to a Secret",
    ),
    "any cluster of other steps": (
        {
            "cluster_sharing": ClusterSharing(enabled=True, match_spec=False),
            "runtime_env": {"env_vars": {"A": HUB}},
        },
        r"`cluster_sharing.match_spec` is off",
    ),
}


@pytest.mark.parametrize(("fields", "text"), REFUSED.values(), ids=REFUSED)
def test_where_the_pods_are_not_ours_a_reference_is_refused_at_load(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        KubeRayCluster(**fields)


@pytest.mark.parametrize(
    ("env_vars", "unmet"),
    [
        pytest.param({"TOKEN": HUB}, ["TOKEN"], id="one group has another Secret"),
        pytest.param({"B": OTHER}, [], id="all groups have it"),
        pytest.param({"MODE": HUB, "C": HUB}, ["MODE", "C"], id="text, and nothing"),
    ],
)
def test_whether_a_cluster_that_exists_has_the_variables(env_vars: dict[str, Any], unmet: list[str]) -> None:
    assert unmet_secrets(rendered(B=OTHER, TOKEN=HUB), env_vars) == unmet


# Pipes


def test_a_job_is_submitted_without_its_references() -> None:
    runtime_env = {"env_vars": {"A": SecretRef("hub", "token"), "MODE": "fast"}}
    call, secrets = with_secrets_apart(read_call({"entrypoint": "true", "runtime_env": runtime_env}), {})
    assert call.submission["runtime_env"] == {"env_vars": {"MODE": "fast"}}
    assert secrets == {"A": HUB}


@pytest.mark.parametrize(
    ("runtime_env", "env_vars", "field"),
    [
        pytest.param({"env_vars": {"A": HUB}}, {}, "runtime_env.env_vars.A", id="of the job"),
        pytest.param({}, {"B": HUB}, "env_vars.B", id="of the client"),
    ],
)
def test_a_job_on_a_cluster_that_exists_takes_no_reference(
    runtime_env: dict[str, Any], env_vars: dict[str, Any], field: str
) -> None:
    job = read_call({"entrypoint": "true", "runtime_env": runtime_env, "cluster_selector": "warm"})
    with pytest.raises(InvalidSpecError, match="the RayCluster warm") as caught:
        with_secrets_apart(job, env_vars)
    assert caught.value.field == field


# Plain text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("HF_TOKEN", "hf_abcdefgh", True, id="a token"),
        pytest.param("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI", True, id="a key"),
        pytest.param("PGPASSWORD", "hunter2hunter2", True, id="a password"),
        pytest.param("db-password", "hunter2hunter2", True, id="in another spelling"),
        pytest.param("HF_TOKEN", HUB, False, id="a reference"),
        pytest.param("SSL_KEY", "/etc/tls/tls.key", False, id="a path"),
        pytest.param("PARTITION_KEY", "day", False, id="a short word"),
        pytest.param("TOKENIZERS_PARALLELISM", "disabled-here", False, id="another word"),
        pytest.param("MAX_TOKENS", "1000000000", False, id="a number of tokens"),
    ],
)
def test_what_looks_like_a_secret(name: str, value: object, expected: bool) -> None:
    assert looks_secret(name, value) is expected


def test_plain_secrets_of_all_groups_and_containers_are_named_without_their_values() -> None:
    spec = json.loads(json.dumps(SPEC))
    spec["headGroupSpec"]["template"]["spec"]["containers"].append(
        {"name": "side", "env": [{"name": "API_KEY", "value": "0123456789"}]}
    )
    spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "HF_TOKEN", "value": "hf_12345"}
    ]
    assert plain_secrets(spec) == ["API_KEY", "HF_TOKEN"]
    assert plain_secrets(SPEC) == []

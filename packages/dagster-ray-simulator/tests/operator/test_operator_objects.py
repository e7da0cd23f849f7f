"""Names, quantities, commands and versions of the simulated operator."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from operator_world import container, group, raycluster

from dagster_ray.kuberay._kubernetes.fields import quantity, shown_bytes, shown_count
from dagster_ray.simulator._kubelet.nodes import NodeOrder
from dagster_ray.simulator._kubelet.pod_env import MissingConfigError, container_env, start_params
from dagster_ray.simulator._kubelet.ray_node import ray_environment, start_parameters
from dagster_ray.simulator._operator.dashboard import answer_of
from dagster_ray.simulator._operator.names import checked_name, pod_prefix
from dagster_ray.simulator._operator.objects import service_ports, typed_rayjob
from dagster_ray.simulator._operator.pods import desired_pods, head_pod, ray_start_command
from dagster_ray.simulator._operator.quantities import desired_resources
from dagster_ray.simulator._operator.versions import operator_version


@pytest.mark.parametrize("version", ["1.2", "1.8", "2.0.0"])
def test_a_version_that_is_not_simulated_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="is not simulated"):
        operator_version(version)


@pytest.mark.parametrize(
    ("version", "name"), [("1.3", "1.3.2"), ("1.4", "1.4.2"), ("1.5", "1.5.2"), ("1.5.1", "1.5.1"), ("v1.7.0", "1.7.0")]
)
def test_a_version_without_patch_is_the_newest_patch(version: str, name: str) -> None:
    assert operator_version(version).name == name


@pytest.mark.parametrize(
    ("text", "count"),
    [("2", "2"), ("1500m", "1500m"), ("500m", "500m"), (None, "0"), ("nonsense", "0"), (1.5, "1500m")],
)
def test_counts_are_shown_in_canonical_form(text: object, count: str) -> None:
    assert shown_count(quantity(text)) == count


@pytest.mark.parametrize(
    ("text", "shown"), [("4Gi", "4Gi"), ("1024Mi", "1Gi"), ("1500Mi", "1500Mi"), ("1G", "1000000000")]
)
def test_bytes_are_shown_in_canonical_form(text: str, shown: str) -> None:
    assert shown_bytes(quantity(text)) == shown


def test_gpus_of_all_makers_are_counted() -> None:
    pod = {"containers": [container(resources={"limits": {"nvidia.com/gpu": 1, "amd.com/gpu": "2"}})]}
    assert desired_resources([(pod, 2)])["desiredGPU"] == "6"


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        pytest.param({"replicas": 1}, 1, id="as asked"),
        pytest.param({"replicas": 9}, 3, id="at most the maximum"),
        pytest.param({"replicas": 0, "minReplicas": 2}, 2, id="at least the minimum"),
        pytest.param({"replicas": 2, "numOfHosts": 2}, 4, id="per host"),
        pytest.param({"replicas": 2, "suspend": True}, 0, id="suspended"),
        pytest.param({"replicas": 1, "minReplicas": 5, "maxReplicas": 2}, 2, id="the maximum wins"),
    ],
)
def test_how_many_pods_a_group_shall_have(fields: dict[str, Any], count: int) -> None:
    assert desired_pods(group(**fields)) == count


def test_long_names_are_cut_as_the_operator_cuts_them() -> None:
    assert pod_prefix("c" * 53, None) == "c" * 50 + "-"
    assert pod_prefix("Cluster", "Group") == "cluster-group-worker-"
    assert checked_name("1" + "c" * 49) == "r" + "c" * 49


def test_the_start_command_has_the_limits_of_the_container() -> None:
    obj = raycluster()
    head = obj["spec"]["headGroupSpec"]
    head["rayStartParams"] = {}
    head["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1500m", "memory": "1Gi"}}
    assert ray_start_command(obj, head, "host", head=True) == (
        "ray start --head  --block  --dashboard-agent-listen-port=52365  --dashboard-host=0.0.0.0"
        "  --memory=1073741824  --metrics-export-port=8080  --num-cpus=2 "
    )


def test_declared_ports_replace_the_default_ones() -> None:
    obj = raycluster()
    obj["spec"]["headGroupSpec"]["template"]["spec"]["containers"] = [container(ports=[{"containerPort": 1}])]
    assert [(port["name"], port["port"]) for port in service_ports(obj)] == [("1-port", 1), ("metrics", 8080)]


def test_a_written_back_rayjob_has_no_empty_fields() -> None:
    obj = {"spec": {"jobId": "", "suspend": False, "backoffLimit": 0, "rayClusterSpec": raycluster()["spec"]}}
    written = typed_rayjob(obj)
    assert set(written["spec"]) == {"backoffLimit", "rayClusterSpec"}
    assert written["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"] == {}


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [(200, '{"status": "RUNNING"}', "job"), (404, "no", "absent"), (500, "no json", "failed"), (500, "{}", "job")],
)
def test_what_a_dashboard_answer_means(status: int, text: str, outcome: str) -> None:
    assert answer_of(status, text).outcome == outcome


def test_a_head_is_started_with_its_own_ports_and_quoted_resources() -> None:
    obj = raycluster()
    obj["spec"]["headGroupSpec"]["rayStartParams"] = {"num-cpus": "0", "resources": "'{\"tpu\": 1}'"}
    obj["metadata"]["uid"] = "u"
    pod = head_pod(obj, "abcde", operator_version("1.7"))
    params = start_params(container_env(pod, lambda plural, name: None))
    order = NodeOrder("ns", "pod", True, params, {})
    started = start_parameters(order, {52365: 1, 6379: 2, 10001: 3, 8265: 4}, "/tmp/t")

    assert {"--num-cpus=0", '--resources={"tpu": 1}', "--port=2", "--ray-client-server-port=3"} < set(started)
    assert "--dashboard-host=0.0.0.0" not in started


@pytest.mark.parametrize(("token", "mode"), [(None, "disabled"), ("secret", "token")])
def test_a_node_never_takes_the_authentication_of_this_process(token: str | None, mode: str) -> None:
    order = NodeOrder("ns", "pod", True, {}, {"A": "b", "RAY_ADDRESS": "127.0.0.1:6379"}, token)
    env = ray_environment(order, {"RAY_AUTH_MODE": "other", "RAY_ADDRESS": "x", "PATH": "p"})

    assert (env["RAY_AUTH_MODE"], env.get("RAY_AUTH_TOKEN")) == (mode, token)
    assert (env["A"], env["GRPC_ENABLE_FORK_SUPPORT"]) == ("b", "0")
    assert env["RAY_worker_niceness"] == "0"
    assert env["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "p"], "`python` is the image's"
    assert "RAY_ADDRESS" not in env
    assert "secret" not in repr(order)


def test_an_environment_with_a_missing_secret_is_refused() -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k"}}}]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container(env=env)]}}
    with pytest.raises(MissingConfigError, match='secret "gone" not found'):
        container_env(pod, lambda plural, name: None)

"""Ports of a head: recognized by number, whatever they are called, and found again by it."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

from typing import Any

import pytest
from fault_world import fields, run_step, simulated

from dagster_ray.kuberay import KubeRayCluster
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.head_ports import CLIENT, DASHBOARD, completed_ports, ports_by_role
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster, render_rayjob
from dagster_ray.kuberay.configs import InteractiveRayJobConfig, RayClusterConfig
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import admit

FACTS = RenderInput(name="a", namespace="n", image="i")


def named(**ports: int) -> list[dict[str, Any]]:
    return [{"name": name.replace("_", "-"), "containerPort": number} for name, number in ports.items()]


def head(ports: list[dict[str, Any]], **start: str) -> dict[str, Any]:
    container = {"name": "ray-head", "image": "i", "ports": ports}
    return {"headGroupSpec": {"rayStartParams": start, "template": {"spec": {"containers": [container]}}}}


def rendered_ports(cluster: dict[str, Any]) -> Any:
    spec = render_raycluster(RayClusterConfig(spec=cluster).plain(), FACTS)["spec"]  # pyright: ignore[reportArgumentType]
    return spec["headGroupSpec"]["template"]["spec"]["containers"][0].get("ports")


PORTS: dict[str, tuple[list[dict[str, Any]], dict[str, str], list[dict[str, Any]]]] = {
    "KubeRay's names": (named(gcs_server=6379, dashboard=8265, client=10001), {}, []),
    "6379 is called gcs": (named(gcs=6379, dashboard=8265, client=10001), {}, []),
    "6379 is called redis": (named(redis=6379, dashboard=8265, client=10001), {}, []),
    "6379 has no name": ([{"containerPort": 6379}, *named(dashboard=8265, client=10001)], {}, []),
    "names of the user's": (named(head=6379, http=8265, ray=10001), {}, []),
    "none for drivers": (named(gcs=6379, dashboard=8265), {}, named(client=10001)),
    "none for the dashboard": (named(gcs=6379, ray=10001), {}, named(dashboard=8265)),
    "one of another kind": (named(debug=5678), {}, named(client=10001, dashboard=8265)),
    "moved by a parameter": (
        named(client=10002, dashboard=8266),
        {"ray-client-server-port": "10002", "dashboard-port": "8266"},
        [],
    ),
    "moved, under a name of the user's": (
        named(ray=10002, dashboard=8265),
        {"ray-client-server-port": "10002"},
        [],
    ),
    "moved by a command that parameters do not show": (named(client=20001, dashboard=8265), {}, []),
    "a number of UDP is another port": (
        [{"name": "udp", "containerPort": 10001, "protocol": "UDP"}, *named(dashboard=8265)],
        {},
        named(client=10001),
    ),
}


@pytest.mark.parametrize(("ports", "start", "added"), PORTS.values(), ids=PORTS)
def test_a_head_keeps_its_ports_and_gets_those_of_drivers_that_it_lacks(
    ports: list[dict[str, Any]], start: dict[str, str], added: list[dict[str, Any]]
) -> None:
    cluster = head(ports, **start)
    assert rendered_ports(cluster) == [*ports, *added]
    manifest = render_raycluster(RayClusterConfig(spec=cluster).plain(), FACTS)  # pyright: ignore[reportArgumentType]
    assert admit("RayCluster", manifest, "1.7.0").causes == ()


def test_a_port_without_a_name_gets_the_one_that_clients_look_for() -> None:
    unnamed = [{"containerPort": 10001}, {"containerPort": 8265, "protocol": "TCP"}, {"containerPort": 6379}]
    assert rendered_ports(head(unnamed)) == [
        {"containerPort": 10001, "name": "client"},
        {"containerPort": 8265, "protocol": "TCP", "name": "dashboard"},
        {"containerPort": 6379},
    ]
    assert unnamed[0] == {"containerPort": 10001}, "the user's own list is not changed"


@pytest.mark.parametrize(
    "start", [pytest.param({}, id="Ray's"), pytest.param({"ray-client-server-port": "10002"}, id="moved")]
)
def test_a_head_without_ports_stays_so_since_the_operator_declares_all_of_rays(start: dict[str, str]) -> None:
    assert rendered_ports(head([], **start)) == []
    assert completed_ports((), start, (CLIENT, DASHBOARD)) == []


def test_the_head_of_a_builder_gets_the_port_of_the_gcs_as_well() -> None:
    container = {"name": "ray-head", "ports": named(debug=5678)}
    ports = rendered_ports({"headGroupSpec": head_group(containers=[container])})
    assert ports == named(debug=5678, client=10001, dashboard=8265, gcs_server=6379)


def test_a_rayjob_whose_dashboard_has_another_name_is_refused_since_the_operator_would_look_for_ever() -> None:
    spec = {"rayClusterSpec": head(named(gcs=6379, http=8265, client=10001))}
    with pytest.raises(ValueError, match=r"containers\[0\]\.ports\[1\]\.name` is 'http'"):
        InteractiveRayJobConfig(spec=spec)  # pyright: ignore[reportArgumentType]
    by_reference = {"name": {"env": "A"}, "value": "1"}
    spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"] = [by_reference]
    config = InteractiveRayJobConfig(spec=spec)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidSpecError, match="dashboard"):
        render_rayjob(config.plain(), RenderInput(name="a", namespace="n", image="i", environ={"A": "B"}))


ROLES: dict[str, tuple[dict[str, Any], dict[str, int], dict[str, int], bool, dict[str, int]]] = {
    "by name and number": (
        {},
        {"client": 10001, "dashboard": 8265},
        {"client": 10001, "dashboard": 8265},
        True,
        {"client": 10001, "dashboard": 8265},
    ),
    "by number": (
        {},
        {"ray": 10001, "http": 8265},
        {"ray": 10001, "http": 8265},
        True,
        {"client": 10001, "dashboard": 8265},
    ),
    "node ports, by the numbers behind them": (
        {},
        {"ray": 30001, "http": 30265},
        {"ray": 10001, "http": 8265},
        False,
        {"client": 30001, "dashboard": 30265},
    ),
    "a number that a parameter has moved": (
        {"ray-client-server-port": "10002"},
        {"ray": 10002, "odd": 10001},
        {"ray": 10002, "odd": 10001},
        True,
        {"client": 10002},
    ),
    "the number wins over a name on another one": (
        {},
        {"client": 7, "ray": 10001},
        {"client": 7, "ray": 10001},
        True,
        {"client": 10001},
    ),
    "a name where no port has the number": ({}, {"client": 20001}, {"client": 20001}, True, {"client": 20001}),
    "none, where a pod is reached all the same": ({}, {"x": 1}, {"x": 1}, True, {"client": 10001}),
    "none, where only a Service's ports are reached": ({}, {"x": 1}, {"x": 1}, False, {}),
}


@pytest.mark.parametrize(("start", "ports", "behind", "undeclared", "expected"), ROLES.values(), ids=ROLES)
def test_ports_are_found_again_by_their_number(
    start: dict[str, str],
    ports: dict[str, int],
    behind: dict[str, int],
    undeclared: bool,
    expected: dict[str, int],
) -> None:
    assert ports_by_role(head([], **start), ports, behind, undeclared=undeclared) == expected


@pytest.mark.parametrize("service", ["ClusterIP", "NodePort"])
def test_a_step_reaches_a_head_whose_ports_have_names_of_the_users(service: str) -> None:
    cluster = head(named(redis=6379, http=8265, ray=10001))
    cluster["headGroupSpec"]["serviceType"] = service
    with simulated() as simulator:
        common = {key: value for key, value in fields(simulator).items() if key != "ray_job"}
        outcome = run_step(KubeRayCluster(ray_cluster={"spec": cluster}, **common))
    assert outcome.success, outcome.log

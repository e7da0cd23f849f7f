"""A diagnosis asks for what its Role grants, no more and no less, and each right tells something of its own."""

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_world import eventually, simulated

from dagster_ray.kuberay import _rights as rights
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._rights import Right
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.simulator import Account, Rule, Simulator
from dagster_ray.simulator._api.routes import route_of

_METADATA = {"name": "train", "namespace": "default"}
_JOB = {"metadata": _METADATA, "spec": {}, "status": {"jobDeploymentStatus": "Initializing"}}
_SILENT = {"metadata": _METADATA, "spec": {}}
_QUEUED = {"metadata": _METADATA, "spec": {"suspend": True}, "status": {"jobDeploymentStatus": "Suspended"}}


def pod(cluster: str, *, cpu: str = "1", claim: str | None = None) -> dict[str, Any]:
    """The head pod of a cluster."""
    labels = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
    container = {"name": "ray-head", "image": "rayproject/ray", "resources": {"requests": {"cpu": cpu}}}
    volumes = [] if claim is None else [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    metadata = {"name": f"{cluster}-head", "namespace": "default", "labels": labels}
    return {"metadata": metadata, "spec": {"containers": [container], "volumes": volumes}}


def service(cluster: str, *ports: int) -> dict[str, Any]:
    """The Service of a cluster's head."""
    labels = {"ray.io/cluster": cluster, "ray.io/node-type": "head"}
    metadata = {"name": f"{cluster}-head-svc", "namespace": "default", "labels": labels}
    return {"metadata": metadata, "spec": {"ports": [{"port": one, "name": f"p{one}"} for one in ports]}}


def workload_of(rayjob: dict[str, Any]) -> dict[str, Any]:
    """The Workload of a RayJob, deactivated."""
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "train", "uid": rayjob["metadata"]["uid"]}
    metadata = {"name": "w", "namespace": "default", "ownerReferences": [owner]}
    return {"metadata": metadata, "spec": {"queueName": "team-a", "active": False}}


OBJECTS: list[tuple[str, dict[str, Any]]] = [
    ("pods", pod("large", cpu="10000")),
    ("pods", pod("bound", cpu="10000", claim="data")),
    ("pods", pod("alone")),
    ("services", service("closed", 8080)),
    ("services", service("alone", 10001, 8265)),
    ("nodes", {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "8"}}}),
    ("rayclusters", {"metadata": {"name": "left", "namespace": "default"}, "spec": {"managedBy": "example.com/other"}}),
]


@dataclass(frozen=True)
class Look:
    """A look, and what it says because of one right."""

    says: str
    cluster: str
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    beside: tuple[str, ...] = ()
    """Other resources that must be read for it."""


_CLOSED = {"closed_port": "x:10001", "by_service": True}
LOOKS: dict[tuple[str, str], Look] = {
    ("diagnosis", "rayclusters"): Look("RayCluster left is left to example.com/other", "left"),
    ("diagnosis", "pods"): Look("Insufficient cpu", "large"),
    ("diagnosis", "persistentvolumeclaims"): Look(
        "PersistentVolumeClaim data, which does not exist", "bound", {}, ("pods",)
    ),
    ("diagnosis", "services"): Look("has no port 10001 (client)", "closed", _CLOSED),
    ("diagnosis", "endpointslices"): Look("has no endpoints", "alone", _CLOSED, ("pods", "services")),
    ("diagnosis", "workloads"): Look(
        "of queue team-a is deactivated", "none", {"manifest": _QUEUED, "is_queued": True}
    ),
    ("diagnosis-wide", "nodes"): Look("the largest of 1 node has 8", "large", {}, ("pods",)),
    ("diagnosis-wide", "pods"): Look(
        "although the operator's pod kuberay-operator is ready", "none", {"manifest": _SILENT, "is_seen": False}
    ),
}
# Shown by whole steps, in test_rights.py.
ELSEWHERE = {("diagnosis", "events"), ("diagnosis", "pods/log")}


@pytest.fixture(scope="module")
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        for plural, obj in OBJECTS:
            world.store.create(plural, obj)
        job = world.store.create("rayjobs", {"metadata": _METADATA, "spec": {"managedBy": "example.com/other"}})
        world.store.create("workloads", workload_of(job))
        eventually(lambda: all(one.get("status", {}).get("conditions") for one in world.store.list("pods")))
        eventually(lambda: at(world.store.get("pods", "default", "alone-head"), "status", "podIP"))
        yield world


def told(simulator: Simulator, kubeconfig: str, look: Look) -> str:
    """What is said of a cluster that does not come up."""
    known: dict[str, Any] = {"manifest": _JOB, "cluster": look.cluster}
    question = Question(**(known | look.more))
    with closing(KubernetesApi.load(kubeconfig)) as api:
        evidence = Evidence(api, created(RAYJOBS, "default", question.manifest), logging.getLogger("test"))
        found = evidence.look(question)
        evidence.head_log(question)
    return "" if found is None else found.sentence


def of_diagnosis() -> tuple[Right, ...]:
    return rights.rights_of(rights.features_of(["diagnosis", "diagnosis-wide"]))


@pytest.mark.parametrize(("feature", "resource"), LOOKS)
def test_a_right_tells_something_of_its_own_and_is_done_without(
    simulator: Simulator, tmp_path: Path, feature: str, resource: str
) -> None:
    look = LOOKS[feature, resource]
    file = tmp_path / "kubeconfig"
    for granted in (True, False):
        chosen = [
            one
            for one in of_diagnosis()
            if (granted and (one.feature, one.resource) == (feature, resource))
            or (one.feature == "diagnosis" and one.resource in look.beside)
        ]
        places = None if any(one.whole_cluster for one in chosen) else frozenset({"default"})
        rules = [Rule([one.group], [one.resource], [one.verb]) for one in chosen]
        simulator.access.accounts["role"] = Account("role", rules, places)
        file.write_text(yaml.safe_dump(simulator.account("role")), encoding="utf-8")
        assert (look.says in told(simulator, str(file), look)) is granted


def test_every_right_has_a_look_that_needs_it() -> None:
    assert {(one.feature, one.resource) for one in of_diagnosis()} == set(LOOKS) | ELSEWHERE


def test_what_a_diagnosis_asks_for_is_what_its_role_grants(simulator: Simulator) -> None:
    before = len(simulator.requests)
    for look in LOOKS.values():
        told(simulator, str(simulator.kubeconfig), look)
    routes = [route_of(one.method, one.path) for one in simulator.requests[before:]]
    asked = {
        (route.resource.group, route.access_resource, route.verb, route.namespace is None)
        for route in routes
        if route is not None
    }
    assert asked == {(one.group, one.resource, one.verb, one.whole_cluster) for one in of_diagnosis()}

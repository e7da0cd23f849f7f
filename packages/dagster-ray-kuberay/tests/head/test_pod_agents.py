"""Ways to the agents of nodes through the Kubernetes API, to fake heads: their dashboard stands for an agent."""

from collections.abc import Generator

import pytest
import requests
from fault_world import eventually
from pipes_world import PipesWorld, pipes_world

from dagster_ray.kuberay._head.route import ForwardedAgents
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.simulator import Fault

CONTAINER = {"name": "ray-head", "image": "rayproject/ray:2.60.0"}
SPEC = {
    "rayVersion": "2.60.0",
    "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [CONTAINER]}}},
}


@pytest.fixture
def world() -> Generator[PipesWorld]:
    with pipes_world() as found:
        metadata = {"name": "mine", "namespace": "default"}
        cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": SPEC}
        found.simulator.store.create("rayclusters", cluster)
        eventually(lambda: [pod for pod in found.simulator.store.list("pods") if pod["status"].get("podIP")])
        yield found


@pytest.fixture
def agents(world: PipesWorld) -> Generator[ForwardedAgents]:
    found = ForwardedAgents(KubernetesApi.load(str(world.simulator.kubeconfig)), "default", "mine")
    yield found
    found.close()


def address(world: PipesWorld) -> str:
    (pod,) = world.simulator.store.list("pods")
    return f"http://{pod['status']['podIP']}:8265"


def test_a_pods_address_is_reached_through_the_api(world: PipesWorld, agents: ForwardedAgents) -> None:
    found = agents.route(address(world))
    assert found is not None
    assert found.startswith("http://127.0.0.1:")
    eventually(lambda: any(head.address(8265) for head in world.heads))
    assert requests.get(f"{found}/api/version", timeout=10).json()["session_name"] == "fake"
    assert agents.route(address(world)) == found, "one port-forward for each agent"


@pytest.mark.parametrize("url", ["http://10.1.2.3:52365", "http://10.1.2.3", "nonsense"])
def test_an_address_of_no_pod_has_no_route(agents: ForwardedAgents, url: str) -> None:
    assert agents.route(url) is None


def test_an_account_that_may_not_list_pods_has_no_route(world: PipesWorld, agents: ForwardedAgents) -> None:
    """The dashboard streams the files then."""
    place = address(world)
    world.simulator.faults.add(Fault(method="GET", path=r"/pods\?", status=403))
    assert agents.route(place) is None

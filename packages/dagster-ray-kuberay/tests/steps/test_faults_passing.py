"""What comes and goes while a cluster starts, on the simulator: no healthy step fails by it."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest
from fault_world import FAST, eventually, fields, left, resource, run_step, simulated

from dagster_ray.kuberay import KubeRayCluster
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import KubeletOptions, Simulator
from dagster_ray.simulator._kubelet.fake_node import FakeRayNode

pytestmark = pytest.mark.many_processes  # make test runs them

PAGE = "error parsing HTTP 503 response body: invalid character '<' looking for beginning of value"


def beside(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def suspend(simulator: Simulator, plural: str, value: bool) -> None:
    (found,) = simulator.store.list(plural)
    body = {"spec": {"suspend": value}}
    simulator.store.patch(plural, "default", found["metadata"]["name"], body, "application/merge-patch+json")


def status_of(simulator: Simulator, plural: str) -> dict[str, Any]:
    found = simulator.store.list(plural)
    return (found[0].get("status") or {}) if found else {}


def is_watched(simulator: Simulator, cluster: str) -> bool:
    return any("/rayclusters?" in request.path and cluster in request.path for request in simulator.requests)


@pytest.mark.parametrize("version", ["1.4.2", "1.5.0", "1.7.0"])
def test_a_rayjob_that_a_queue_takes_back_and_admits_again_gets_its_next_cluster(version: str) -> None:
    """KubeRay deletes the first RayCluster, and makes another one under another name."""
    slow = {"headgroup": 3600.0}
    options = KubeletOptions(times=dataclasses.replace(FAST, slow_groups=slow))
    with simulated(version, kubelet_options=options) as simulator:

        def queue() -> None:
            eventually(lambda: status_of(simulator, "rayjobs").get("rayClusterName"))
            first = status_of(simulator, "rayjobs")["rayClusterName"]
            eventually(lambda: status_of(simulator, "rayclusters").get("head", {}).get("podName"))
            if version != "1.7.0":  # which mirrors the status of the cluster
                eventually(lambda: is_watched(simulator, first))
            suspend(simulator, "rayjobs", True)
            eventually(lambda: status_of(simulator, "rayjobs").get("jobDeploymentStatus") == "Suspended")
            slow.clear()
            suspend(simulator, "rayjobs", False)

        thread = beside(queue)
        outcome = run_step(resource(simulator, queue="team-a", timeout=60))
        thread.join()
        assert outcome.success, outcome.log
        assert "the queue 'team-a' has not admitted it yet" in outcome.log


def test_a_raycluster_that_a_queue_takes_back_and_admits_again_gets_its_next_head() -> None:
    slow = {"headgroup": 3600.0}
    options = KubeletOptions(times=dataclasses.replace(FAST, slow_groups=slow))
    with simulated(kubelet_options=options) as simulator:

        def queue() -> None:
            eventually(lambda: status_of(simulator, "rayclusters").get("head", {}).get("podName"))
            suspend(simulator, "rayclusters", True)
            eventually(lambda: status_of(simulator, "rayclusters").get("state") == "suspended")
            slow.clear()
            suspend(simulator, "rayclusters", False)

        thread = beside(queue)
        outcome = run_step(cluster(simulator, [], timeout=60.0))
        thread.join()
        assert outcome.success, outcome.log


def cluster(simulator: Simulator, containers: list[dict[str, Any]], **more: Any) -> KubeRayCluster:
    """Return a resource whose head has these containers beside Ray's."""
    given = fields(simulator, **more)
    del given["ray_job"]
    return KubeRayCluster(**given, ray_cluster={"spec": head_with(containers)})


def head_with(containers: list[dict[str, Any]]) -> dict[str, Any]:
    head = head_group(cpus=1, memory="2Gi")
    head["template"]["spec"]["containers"] += containers
    return {"headGroupSpec": head, "workerGroupSpecs": []}


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
@pytest.mark.parametrize("kind", ["RayJob", "RayCluster"])
def test_a_sidecar_that_crashes_again_and_again_keeps_no_driver_from_the_head(
    version: str, kind: Literal["RayJob", "RayCluster"]
) -> None:
    """Neither while the head starts, nor later, when the pod is not ready and its condition names the sidecar."""
    sidecar = {"name": "fluent-bit", "image": "crashing:1"}
    with simulated(version) as simulator:
        if kind == "RayJob":
            made: Any = resource(simulator, spec={"rayClusterSpec": head_with([sidecar])})
        else:
            made = cluster(simulator, [sidecar])
        outcome = run_step(made)
        assert outcome.success, outcome.log


def test_a_sidecar_that_crashes_is_told_to_a_step_that_waits_for_the_workers() -> None:
    """The operator never says ready: the step waits until its deadline, and says why."""
    sidecar = {"name": "fluent-bit", "image": "crashing:1"}
    with simulated() as simulator:
        spec = {"rayClusterSpec": head_with([sidecar])}
        outcome = run_step(resource(simulator, spec=spec, wait_for="workers", timeout=4))
        assert not outcome.success
        assert "[dagster-ray: not-ready]" in outcome.log
        assert "restarting failed container=fluent-bit" in outcome.log
        assert left(simulator) == []


@pytest.mark.parametrize("version", ["1.4.2", "1.7.0"])
def test_a_registry_that_answers_with_a_page_twice_costs_its_back_off(version: str) -> None:
    times = dataclasses.replace(FAST, pull_errors={"flaky": (PAGE, PAGE)})
    with simulated(version, kubelet_options=KubeletOptions(times=times)) as simulator:
        outcome = run_step(resource(simulator, image="rayproject/ray:flaky", timeout=60))
        assert outcome.success, outcome.log


def test_a_start_through_the_api_server_looks_at_the_head_once_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is a stream of the API server. A whole start may cost 8 requests, of which the driver has 2."""
    is_up, address = threading.Event(), FakeRayNode.address

    def late(node: FakeRayNode, port: int) -> tuple[str, int] | None:
        return address(node, port) if is_up.is_set() else None

    def look(_: str, plural: str, found: dict[str, Any]) -> None:
        status: dict[str, Any] = found.get("status") or {}
        conditions: list[dict[str, Any]] = status.get("conditions") or []
        if plural == "pods" and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
            is_up.set()

    monkeypatch.setattr(FakeRayNode, "address", late)
    options = KubeletOptions(times=dataclasses.replace(FAST, probe_grid_seconds=(3.0, 0.5)))
    with simulated(kubelet_options=options) as simulator:
        simulator.store.subscribe(look)
        outcome = run_step(resource(simulator, access="port_forward", timeout=60.0))
        asked = [request for request in simulator.requests if not request.user_agent.startswith("kuberay")]
        assert outcome.success, outcome.log
        streams = [request.path.partition("ports=")[2] for request in asked if "portforward" in request.path]
        assert streams == ["10001", "8265"]
        assert len(asked) + 2 <= 8

"""A head with TLS behind a port-forward: nothing tells from outside whether it answers, so the operator decides."""

from collections.abc import Generator

import pytest
from fault_world import resource, run_step, simulated

from dagster_ray.core import Deadline
from dagster_ray.kuberay._head.port_forward import PortForward
from dagster_ray.kuberay._head.route import Route
from dagster_ray.simulator import Simulator

pytestmark = pytest.mark.many_processes


@pytest.fixture
def simulator() -> Generator[Simulator]:
    with simulated() as world:
        yield world


def test_a_head_with_tls_is_ready_when_the_operator_reports_it(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepts, seen = Route.accepts, list[str]()

    def dial(route: Route, deadline: Deadline) -> bool:
        seen.append(simulator.store.list("rayjobs")[0]["status"]["jobDeploymentStatus"])
        return accepts(route, deadline)

    def no_answer(*_: object) -> bool:
        return False  # a server with TLS waits for a handshake

    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setattr(PortForward, "accepts", no_answer)
    monkeypatch.setattr(Route, "accepts", dial)
    found = run_step(resource(simulator, access="port_forward"))
    assert found.success, found.log
    assert set(seen) == {"Waiting"}, "until the operator has seen the pods ready, an open port says nothing"

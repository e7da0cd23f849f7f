"""A worker that comes long after the head: the operator ends nothing under a driver, and leaves nothing without end."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import dataclasses
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from fault_world import FAST, eventually, fields, simulated
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, RayResource
from dagster_ray.kuberay import KubeRayInteractiveJob
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay.groups import head_group, worker_group
from dagster_ray.simulator import KubeletOptions, OperatorOptions, Simulator

pytestmark = pytest.mark.many_processes  # make test runs them

JOB_ID = "02000000"
LIMIT = "preRunningDeadlineSeconds"


class ConnectedJob(KubeRayInteractiveJob):
    """Registers a driver as soon as the head answers: what a connection does, without Ray."""

    @property
    @override
    def job_id(self) -> str:
        return JOB_ID

    @override
    def on_ready(self, context: DagsterContext) -> None:
        self.on_driver(context, Deadline(10))


@dataclass
class LateWorld:
    """A simulator whose worker does not come until it is let, and whose operator's clock can be set on."""

    simulator: Simulator
    slow: dict[str, float]
    ahead: list[timedelta] = field(default_factory=list[timedelta])

    def pass_limit(self) -> None:
        """Let the operator see that an hour has passed, and the RayJob again."""
        self.ahead.append(timedelta(hours=1))
        self._change({"metadata": {"annotations": {"example.com/seen": "again"}}})

    def let_worker_come(self) -> None:
        """Start the worker's pod anew, this time in no time."""
        self.slow.clear()
        for pod in self.simulator.store.list("pods"):
            if pod["metadata"]["labels"]["ray.io/node-type"] == "worker":
                self.simulator.store.delete("pods", "default", pod["metadata"]["name"])

    def _change(self, body: dict[str, Any]) -> None:
        name = self.rayjob["metadata"]["name"]
        self.simulator.store.patch("rayjobs", "default", name, body, "application/merge-patch+json")

    @property
    def rayjob(self) -> Mapping[str, Any]:
        """The RayJob."""
        (found,) = self.simulator.store.list("rayjobs")
        return found

    def is_at(self, word: str) -> bool:
        """Return whether the RayJob has come to a state."""
        return at(self.rayjob, "status", "jobDeploymentStatus") == word

    def run(self, body: Callable[[], None], **more: Any) -> bool:
        """Run a step whose driver is connected when the head answers; return whether it succeeded."""
        cluster = {
            "headGroupSpec": head_group(cpus=1, memory="2Gi"),
            "workerGroupSpecs": [worker_group("cpu", cpus=1, memory="2Gi", replicas=1)],
        }
        spec = {"rayClusterSpec": cluster, "ttlSecondsAfterFinished": 1}
        resource = ConnectedJob(**fields(self.simulator, spec=spec, **more))

        @dg.asset
        def step(ray_cluster: RayResource) -> None:
            body()

        with dg.DagsterInstance.ephemeral() as instance:
            resources = {"ray_cluster": resource}
            return dg.materialize([step], resources=resources, instance=instance, raise_on_error=False).success


@pytest.fixture
def world() -> Generator[LateWorld]:
    slow, ahead = {"cpu": 3600.0}, list[timedelta]()
    kubelet = KubeletOptions(times=dataclasses.replace(FAST, slow_groups=slow))
    operator = OperatorOptions(now=lambda: datetime.now(UTC) + sum(ahead, timedelta()))
    with simulated(kubelet_options=kubelet, operator_options=operator) as simulator:
        yield LateWorld(simulator, slow, ahead)


def test_the_operator_does_not_end_a_cluster_whose_worker_comes_after_its_limit(world: LateWorld) -> None:
    def body() -> None:
        world.pass_limit()
        world.let_worker_come()
        eventually(lambda: world.is_at("Running") or world.is_at("Failed"))

    assert world.run(body)
    assert world.rayjob["status"]["jobId"] == JOB_ID
    assert world.rayjob["metadata"]["annotations"]["dagster/alive-at"]


def test_the_operator_ends_a_cluster_whose_worker_never_came_after_the_step(world: LateWorld) -> None:
    """It looks at no driver before all pods are ready, so that it never sees its end."""
    seen: list[Any] = []

    def body() -> None:
        seen.append(world.rayjob["spec"].get(LIMIT))
        world.pass_limit()

    assert world.run(body)
    assert (seen, world.rayjob["spec"][LIMIT]) == ([None], 80)
    eventually(lambda: world.is_at("Failed"))
    eventually(lambda: not world.simulator.store.list("rayclusters"))


def test_a_step_whose_pods_are_all_there_needs_no_request_more(world: LateWorld) -> None:
    world.slow.clear()

    assert world.run(lambda: eventually(lambda: world.is_at("Running")), wait_for="workers")
    asked = [request.method for request in world.simulator.requests if not request.user_agent.startswith("kuberay")]
    assert asked.count("PATCH") == 1

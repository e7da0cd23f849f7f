"""A step on the simulator with fake heads, which meets a fault in one of its phases, in accelerated time."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import dagster as dg
import pytest
from accelerated_time import AcceleratedTime, accelerated
from driver_without_ray import Driver, driver_without_ray
from typing_extensions import override

from dagster_ray.core import DagsterContext, RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob, build_cleanup_sensor
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import Fault, KubeletOptions, OperatorOptions, PodTimes, Simulator

Feature: TypeAlias = Literal["job", "shared"]
Phase: TypeAlias = Literal["create", "wait", "connect", "run", "cleanup"]
HEAD_ALONE: Mapping[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}
TTL_SECONDS = 900
TIMEOUT_SECONDS = 600.0
LABEL = "app.kubernetes.io/managed-by"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended: all messages and errors of its run."""

    success: bool
    log: str


class Lasting(Fault):
    """A fault that ends some seconds after the first call that has met it."""

    def __init__(self, clock: AcceleratedTime, lasts_seconds: float, **fields: Any) -> None:
        super().__init__(**fields)
        self._clock, self._lasts_seconds, self._end = clock, lasts_seconds, float("inf")

    @override
    def matches(self, method: str, path: str) -> bool:
        if not super().matches(method, path):
            return False
        now = self._clock.monotonic()
        self._end = min(self._end, now + self._lasts_seconds)
        return now < self._end


@dataclass
class FaultyWorld:
    """A simulated cluster with objects of somebody else, and what a test does to it."""

    clock: AcceleratedTime
    simulator: Simulator
    driver: Driver
    threads: list[threading.Thread] = field(default_factory=list[threading.Thread])
    faults: list[Fault] = field(default_factory=list[Fault])
    skew_seconds: float = 0.0

    def add(self, **fault: Any) -> None:
        """Let calls of the API fail."""
        self.faults.append(self.simulator.faults.add(**fault))

    def lasting(self, seconds: float, *, is_met: bool = True, **fields: Any) -> None:
        """Let calls of the API fail, from the first that is met for some seconds of accelerated time. Watches end."""
        fault = Lasting(self.clock, seconds, **fields)
        self.faults.append(self.simulator.faults.add(fault))
        self.simulator.faults.drop_watches()

        def pass_by() -> None:
            if is_met:
                self.clock.until(lambda: fault.hits, "a call meets the fault")
            self.clock.pass_by(seconds)

        self.in_background(pass_by)

    @property
    def hits(self) -> int:
        """How many calls have met a fault."""
        return sum(fault.hits for fault in self.faults)

    def in_background(self, act: Callable[[], object]) -> None:
        """Do something beside the step; it is over when the run is."""
        thread = threading.Thread(target=act)
        thread.start()
        self.threads.append(thread)  # started, or `join` in another thread would fail

    def join(self) -> None:
        """Wait for what is done beside the step."""
        for thread in self.threads:
            thread.join()

    # What is there

    def made(self, plural: str) -> list[dict[str, Any]]:
        """Return what dagster-ray has made and nobody has asked to delete."""
        return [item for item in self.left_of_ours(plural) if "deletionTimestamp" not in item["metadata"]]

    def left_of_ours(self, plural: str) -> list[dict[str, Any]]:
        """Return what dagster-ray has made and is still there, also while it is being deleted."""
        return [item for item in self.simulator.store.list(plural) if item["metadata"].get("labels", {}).get(LABEL)]

    def pods(self) -> set[str]:
        """Return the names of all pods."""
        return {pod["metadata"]["name"] for pod in self.simulator.store.list("pods")}

    def nothing_runs(self) -> bool:
        """Return whether no cluster of ours is left."""
        return not self.left_of_ours("rayclusters")

    def locks(self) -> list[Mapping[str, Any]]:
        """Return all locks on clusters that dagster-ray has made."""
        found = [item["metadata"].get("annotations", {}) for item in self.made("rayclusters")]
        return [json.loads(text) for one in found for key, text in one.items() if key.startswith("dagster/lock-")]

    def asked(self, method: str, part: str) -> int:
        """Count the requests of a kind."""
        return sum(request.method == method and part in request.path for request in self.simulator.requests)

    def operator_runs_on(self, seconds: float) -> None:
        """Let the operator work for some seconds of its clock."""
        for _ in range(4):
            self.clock.skip(seconds / 4)
            self.simulator.operator.freeze()
            self.simulator.operator.thaw()  # it looks at its clock again
            threading.Event().wait(0.05)

    def tick(self) -> str:
        """Evaluate the cleanup sensor once; return what it says."""
        sensor = build_cleanup_sensor(kubeconfig_file=str(self.simulator.kubeconfig))
        with dg.DagsterInstance.ephemeral() as instance:
            result: Any = sensor(dg.build_sensor_context(instance=instance))
        return str(result.skip_reason.skip_message)


@contextmanager
def faulty_world(patch: pytest.MonkeyPatch) -> Generator[FaultyWorld]:
    """Yield a world; at its end nothing of somebody else may have been touched."""
    with ExitStack() as opened:
        clock = opened.enter_context(accelerated(patch))
        simulator = opened.enter_context(
            Simulator(
                fake_heads=True,
                kubelet_options=KubeletOptions(times=PodTimes(probe_grid_seconds=None)),
                operator_options=OperatorOptions(now=clock.utc),
            )
        )
        driver = opened.enter_context(driver_without_ray(simulator, patch))
        world = FaultyWorld(clock, simulator, driver)
        simulator.store.now = lambda: clock.utc() + timedelta(seconds=world.skew_seconds)
        before = [_foreign(simulator, plural) for plural in ("rayjobs", "rayclusters")]
        yield world
        world.join()
        for was in before:
            now = simulator.store.get("rayjobs" if was["kind"] == "RayJob" else "rayclusters", "default", "foreign")
            assert now is not None
            assert now["metadata"]["uid"] == was["metadata"]["uid"]
            assert "deletionTimestamp" not in now["metadata"]


def _foreign(simulator: Simulator, plural: str) -> dict[str, Any]:
    """Make an object that somebody else has suspended, and return it."""
    kind = {"rayjobs": "RayJob", "rayclusters": "RayCluster"}[plural]
    metadata = {"name": "foreign", "namespace": "default"}
    return {"kind": kind, **simulator.store.create(plural, {"metadata": metadata, "spec": {"suspend": True}})}


def _resource(world: FaultyWorld, feature: Feature, begin: Callable[[Phase], None], more: dict[str, Any]) -> Any:
    """Return a resource whose hooks tell when a phase begins."""

    class Telling:
        def on_create(self, context: DagsterContext) -> None:
            begin("wait")

        def on_ready(self, context: DagsterContext) -> None:
            begin("connect")

        def on_connect(self, context: DagsterContext) -> None:
            begin("run")

    class Job(Telling, KubeRayInteractiveJob):
        pass

    class Cluster(Telling, KubeRayCluster):
        pass

    fields: dict[str, Any] = {
        "kubeconfig_file": str(world.simulator.kubeconfig),
        "timeout": TIMEOUT_SECONDS,
        "ray_init_options": {"log_to_driver": False},
    }
    if feature == "job":
        return Job(**fields, ray_job={"spec": {"rayClusterSpec": HEAD_ALONE}}, **more)
    sharing: Any = {"enabled": True, "ttl_seconds": TTL_SECONDS, "renew_seconds": 0.2, **more.pop("sharing", {})}
    return Cluster(**fields, ray_cluster={"spec": HEAD_ALONE}, cluster_sharing=sharing, **more)


def run_step(
    world: FaultyWorld, feature: Feature, begin: Callable[[Phase], None], *, fails: bool = False, **more: Any
) -> Outcome:
    """Run one step; `begin` is called at the beginning of each phase."""
    cluster = _resource(world, feature, begin, more)

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        world.join()
        begin("cleanup")
        if fails:
            raise ValueError("told to fail")

    begin("create")
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([step], resources={"ray_cluster": cluster}, instance=instance, raise_on_error=False)
        log = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    return Outcome(result.success, log)


def ends_later(world: FaultyWorld, feature: Feature) -> None:
    """Assert that what a step has left goes without it: by the operator, or by the sensor after the last lock."""
    if feature == "job":
        world.driver.shutdown()
        world.operator_runs_on(80)
    else:
        assert "deleted 0, kept 1" in world.tick()
        world.clock.skip(TTL_SECONDS + 1)
        assert "deleted 1, kept 0" in world.tick()
    world.clock.until(world.nothing_runs, "no cluster of ours is left")

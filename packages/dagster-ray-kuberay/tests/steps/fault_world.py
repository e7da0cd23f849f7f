"""A step on the simulator without Ray: it gets its cluster and does not connect, so that only faults take time."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from dagster_ray.core import Deadline, Lifecycle, RayResource
from dagster_ray.kuberay import KubeRayCluster, KubeRayInteractiveJob
from dagster_ray.kuberay.groups import head_group, worker_group
from dagster_ray.simulator import KubeletOptions, PodTimes, Simulator

FAST = PodTimes(probe_grid_seconds=None, image_backoff_seconds=1.0, restart_backoff_seconds=0.2)
TIMEOUT_SECONDS = 20.0
PATIENCE_SECONDS = 60


def eventually(found: Callable[[], object]) -> None:
    deadline, pause = Deadline(PATIENCE_SECONDS), threading.Event()
    while not found():
        assert not deadline.is_over()
        pause.wait(0.05)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended."""

    success: bool
    log: str
    """All messages and errors of the run."""


def fields(simulator: Simulator, **more: Any) -> dict[str, Any]:
    """Return the fields of a resource: a head alone, on the simulator."""
    spec: dict[str, Any] = {
        "rayClusterSpec": {"headGroupSpec": head_group(cpus=1, memory="2Gi"), "workerGroupSpecs": []}
    }
    metadata = more.pop("metadata", {})
    return {
        "kubeconfig_file": str(simulator.kubeconfig),
        "lifecycle": Lifecycle(connect=False, cleanup="on_exception"),
        "timeout": TIMEOUT_SECONDS,
        "ray_job": {"spec": {**spec, **more.pop("spec", {})}, "metadata": metadata},
        **more,
    }


def resource(simulator: Simulator, **more: Any) -> KubeRayInteractiveJob:
    """Return a resource."""
    return KubeRayInteractiveJob(**fields(simulator, **more))


def run_step(
    cluster: KubeRayInteractiveJob | KubeRayCluster, *, fails: bool = False, tags: dict[str, str] | None = None
) -> Outcome:
    """Run one step on a cluster; return how it ended and what the event log says."""

    @dg.asset
    def step(ray_cluster: RayResource) -> None:
        if fails:
            raise ValueError("told to fail")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [step], resources={"ray_cluster": cluster}, instance=instance, raise_on_error=False, tags=tags
        )
        entries = instance.all_logs(result.run_id)
    return Outcome(result.success, "\n".join(str(entry) for entry in entries))


@contextmanager
def simulated(version: str = "1.7.0", **more: Any) -> Generator[Simulator]:
    """Yield a simulator whose heads are ready at once, without Ray."""
    options = more.pop("kubelet_options", KubeletOptions(times=FAST))
    with Simulator(version, fake_heads=True, kubelet_options=options, **more) as simulator:
        yield simulator


def operator_limits(simulator: Simulator) -> list[object]:
    """Return a list that gets the operator's limits for what comes before a job, as they change; None is none."""
    seen: list[object] = []

    def look(_: str, plural: str, found: dict[str, Any]) -> None:
        if plural == "rayjobs" and (limit := found["spec"].get("preRunningDeadlineSeconds")) not in seen[-1:]:
            seen.append(limit)

    simulator.store.subscribe(look)
    return seen


def with_late_worker(cluster: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a cluster with one worker that fits nowhere."""
    return {**cluster, "workerGroupSpecs": [worker_group("cpu", cpus=10_000, memory="2Gi", replicas=1)]}


def left(simulator: Simulator) -> list[str]:
    """Return the names of RayJobs and RayClusters that still exist and are not being deleted."""
    return [
        item["metadata"]["name"]
        for plural in ("rayjobs", "rayclusters")
        for item in simulator.store.list(plural)
        if "deletionTimestamp" not in item["metadata"]
    ]

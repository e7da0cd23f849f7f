"""Pipes jobs on the simulator without Ray: heads whose jobs do what a test says."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import dagster as dg
from fault_world import FAST, simulated

from dagster_ray.kuberay import PipesKubeRayJobClient
from dagster_ray.kuberay.groups import head_group
from dagster_ray.simulator import FakeRayNode, KubeletOptions, NodeOrder, Simulator


@dataclass
class PipesWorld:
    """A simulator, and the jobs that were submitted to its heads."""

    simulator: Simulator
    heads: list[FakeRayNode] = field(default_factory=list[FakeRayNode])
    at_submission: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The RayJobs as they were when a job was submitted that `ending` ends."""
    secrets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The Secrets at the same time."""

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """All jobs of all heads, as their dashboards have them."""
        return [job for head in self.heads for job in head.jobs.values()]

    def options(self, *, cpus: int = 1, **more: Any) -> dict[str, Any]:
        """Return the arguments of a client whose clusters are a head alone."""
        cluster: dict[str, Any] = {"headGroupSpec": head_group(cpus=cpus, memory="2Gi"), "workerGroupSpecs": []}
        return {
            "template": {"spec": {"rayClusterSpec": cluster}},
            "kubeconfig_file": str(self.simulator.kubeconfig),
            "timeout": 30.0,
            "termination_timeout": 5.0,
            **more,
        }

    def client(self, **more: Any) -> PipesKubeRayJobClient:
        """Return a client."""
        return PipesKubeRayJobClient(**self.options(**more))

    def rayjobs(self) -> list[dict[str, Any]]:
        """The RayJobs that are not being deleted."""
        found = self.simulator.store.list("rayjobs")
        return [dict(item) for item in found if "deletionTimestamp" not in item["metadata"]]

    @contextmanager
    def ending(self, *statuses: str, **more: Any) -> Generator[None]:
        """End the jobs that are submitted while the body runs: the first one as the first status says, and so on."""
        over, left = threading.Event(), list(statuses)

        def look() -> None:
            while not over.wait(0.05):
                for job in self.jobs:
                    if job["status"] == "PENDING":
                        self.at_submission += self.rayjobs()
                        self.secrets += map(dict, self.simulator.store.list("secrets"))
                        job.update(status=left.pop(0) if len(left) > 1 else left[0], **more)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def pipes_world(version: str = "1.7.0", **more: Any) -> Generator[PipesWorld]:
    """Yield a simulator with fake heads that tell their jobs."""
    heads: list[FakeRayNode] = []

    def node(order: NodeOrder) -> FakeRayNode:
        heads.append(FakeRayNode(order))
        return heads[-1]

    options = KubeletOptions(times=FAST, nodes=node)
    with simulated(version, kubelet_options=options, **more) as simulator:
        yield PipesWorld(simulator, heads)


@dataclass(frozen=True)
class Ran:
    """How a step ended."""

    success: bool
    log: str
    metadata: dict[str, Any]


def run_job(
    client: PipesKubeRayJobClient,
    ray_job: dict[str, Any],
    extras: dict[str, Any] | None = None,
    retries: int = 0,
    instance: dg.DagsterInstance | None = None,
) -> Ran:
    """Run one asset that submits a job; return how it ended. Without an instance, the run has one of its own."""

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=retries) if retries else None)
    def computed(context: dg.AssetExecutionContext, ray_pipes_client: PipesKubeRayJobClient) -> Any:
        return ray_pipes_client.run(context=context, ray_job=ray_job, extras=extras)

    with nullcontext(instance) if instance is not None else dg.DagsterInstance.ephemeral() as given:
        resources = {"ray_pipes_client": client}
        result = dg.materialize([computed], resources=resources, instance=given, raise_on_error=False)
        log = "\n".join(str(entry) for entry in given.all_logs(result.run_id))
        made: Any = result.asset_materializations_for_node("computed") if result.success else []
    metadata: dict[str, Any] = {}
    for item in cast("list[dg.AssetMaterialization]", made):
        metadata |= {key: cast("Any", value).value for key, value in item.metadata.items()}
    return Ran(result.success, log, metadata)

"""What it costs to claim a warm cluster of a pool.

    python benchmarks/pool.py [--turns N] [--json FILE]

Runs on the simulator with two real heads, which are a pool, so image pull, scheduling and network cost nothing. Steps
claim a cluster one after another, six in a turn, each a fresh process that has imported everything. Seconds are from
the set-up of the resource to the first line of the step. The floor is a bare `ray.init` at one head and the other, in
turns.

A first step makes one cluster and gives it back; the cleanup sensor makes the other.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# ruff: noqa: PLC0415 - each process imports only what it measures

import itertools
import os
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any

from catalogue_of_clusters import CLAIMS, POOL, POOL_SIZE
from rivals import Collected, measured, parser_of, present, take_turns, tell

PATIENCE_SECONDS = 300.0
PORT = 10001
USES = "dagster/pool-uses"


# In a process of its own


def cluster(kubeconfig: str) -> Any:
    """Return a resource with the pool, whose clusters are a head alone."""
    from dagster_ray.kuberay import ClusterPool, KubeRayCluster
    from dagster_ray.kuberay.groups import head_group

    spec = {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2), "workerGroupSpecs": []}
    given: dict[str, Any] = {
        "kubeconfig_file": kubeconfig,
        "access": "direct",
        "head_host": "{pod_ip}",
        "timeout": PATIENCE_SECONDS,
        "ray_cluster": {"spec": spec},
        "pool": ClusterPool(size=POOL_SIZE, max_size=POOL_SIZE),
    }
    return KubeRayCluster(**given)


def claim(kubeconfig: str) -> float:
    """Return the seconds from the set-up of a step's resource to its first line."""
    import dagster as dg
    import ray  # noqa: F401  # pyright: ignore[reportUnusedImport] - imported before, as for ray.init
    from kubernetes import client  # noqa: F401  # pyright: ignore[reportUnusedImport]

    begun: list[float] = []

    @dg.asset(required_resource_keys={"ray_cluster"})
    def step() -> None:
        begun.append(datetime.now(UTC).timestamp())  # the clock of Dagster's events

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([step], resources={"ray_cluster": cluster(kubeconfig)}, instance=instance)
        entries = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.RESOURCE_INIT_STARTED)
    return begun[0] - entries[0].timestamp


def bare(address: str) -> float:
    """Return the seconds of a bare `ray.init`."""
    import ray

    begun = time.perf_counter()
    ray.init(f"ray://{address}:{PORT}")
    seconds = time.perf_counter() - begun
    ray.shutdown()
    return seconds


# In the process with the simulator


def fill(kubeconfig: str) -> None:
    """Let the cleanup sensor make what the pool lacks."""
    import dagster as dg

    from dagster_ray.kuberay import build_cleanup_sensor

    sensor = build_cleanup_sensor(kubeconfig_file=kubeconfig)
    with dg.DagsterInstance.ephemeral() as instance:
        sensor(dg.build_sensor_context(instance=instance))


def heads(simulator: Any) -> list[str]:
    """Return the addresses of the pool's heads, as soon as all of them are ready."""
    pause, end = threading.Event(), time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < end:
        statuses = [one.get("status", {}) for one in simulator.store.list("rayclusters")]
        found = [status["head"]["podIP"] for status in statuses if status.get("state") == "ready"]
        if len(found) == POOL_SIZE:
            return found
        pause.wait(0.2)
    raise TimeoutError("the pool was not filled")


def uses(simulator: Any) -> int:
    """Return how many steps have given the clusters of the pool back."""
    notes = [one["metadata"].get("annotations", {}) for one in simulator.store.list("rayclusters")]
    return sum(int(each.get(USES, 0)) for each in notes)


def collect(turns: int) -> Collected:
    """Fill the pool, and let claims and `ray.init` take turns."""
    from dagster_ray.simulator import Simulator

    os.environ["DAGSTER_RAY_INSTANCE_ID"] = "benchmark"  # each process has an instance of its own; the pool is theirs
    collected = Collected()
    with Simulator() as simulator:
        kubeconfig = str(simulator.kubeconfig)
        if (cold := measured(__file__, "ours", kubeconfig)) is None:
            raise RuntimeError("the pool has no first cluster")
        print(f"cold: {cold}", file=sys.stderr)
        fill(kubeconfig)
        addresses = itertools.cycle(heads(simulator))
        for rival in take_turns(turns * CLAIMS, ["floor", "ours"]):
            found = measured(__file__, rival, kubeconfig if rival == "ours" else next(addresses))
            collected.add(rival, found, ["pool-claim"])
        if (made := uses(simulator)) != turns * CLAIMS + 1:
            raise RuntimeError(f"the pool counts {made} uses, not {turns * CLAIMS + 1}: its clusters were replaced")
    return collected


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(POOL).parse_args()
    if given.measure:
        rival, where = given.measure
        tell({"pool-claim": claim(where) if rival == "ours" else bare(where)})
        return
    present(POOL, collect(given.turns), given.json)


if __name__ == "__main__":
    main()

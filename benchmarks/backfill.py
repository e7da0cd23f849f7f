"""What a backfill costs with one cluster for all of its runs.

    python benchmarks/backfill.py [--turns N] [--json FILE]

50 partitions of an asset, a run each, one after another, with the tag that Dagster's daemon gives to the runs of a
backfill. On the simulator, with heads that answer as far as the wait needs. Clusters that are made, and Kubernetes API
requests of a run. The floor is the same backfill with a cluster of its own for each run.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import sys
from typing import Any

from catalogue_of_clusters import BACKFILL, PARTITIONS
from rivals import Collected, measured, parser_of, present, take_turns, tell

TIMEOUT_SECONDS = 120.0
FIGURES = ("backfill-clusters", "backfill-requests")


def backfill(kubeconfig: str, *, is_shared: bool) -> int:
    """Run the partitions; return how many succeeded."""
    import dagster as dg  # noqa: PLC0415 - a process imports what it measures

    from dagster_ray.core import Lifecycle, RayResource  # noqa: PLC0415
    from dagster_ray.kuberay import ClusterSharing, KubeRayCluster  # noqa: PLC0415

    keys = [str(number) for number in range(PARTITIONS)]

    def day(ray_cluster: Any) -> None: ...

    day.__annotations__["ray_cluster"] = RayResource
    asset = dg.asset(day, partitions_def=dg.StaticPartitionsDefinition(keys))
    given: dict[str, Any] = {
        "kubeconfig_file": kubeconfig,
        "lifecycle": Lifecycle(connect=False),
        "image": "rayproject/ray",
        "timeout": TIMEOUT_SECONDS,
        "cluster_sharing": ClusterSharing(enabled=is_shared, match_backfill=True),
    }
    resources = {"ray_cluster": KubeRayCluster(**given)}
    with dg.DagsterInstance.ephemeral() as instance:
        done = [
            dg.materialize(
                [asset], instance=instance, resources=resources, partition_key=key, tags={"dagster/backfill": "bench"}
            )
            for key in keys
        ]
    return sum(result.success for result in done)


def measure(rival: str) -> dict[str, float] | None:
    """Return what a backfill has asked of Kubernetes."""
    from dagster_ray.simulator import KubeletOptions, PodTimes, Simulator  # noqa: PLC0415

    options = KubeletOptions(times=PodTimes(probe_grid_seconds=None))
    with Simulator(fake_heads=True, kubelet_options=options) as simulator:
        succeeded = measured(__file__, rival, str(simulator.kubeconfig))
        asked = [request for request in simulator.requests if not request.user_agent.startswith("kuberay")]
    if succeeded != PARTITIONS:
        print(f"{rival}: {succeeded} of {PARTITIONS} runs succeeded", file=sys.stderr)
        return None
    made = sum(one.method == "POST" and "/rayclusters" in one.path and one.status == 201 for one in asked)
    return dict(zip(FIGURES, (made, len(asked) / PARTITIONS), strict=True))


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(BACKFILL).parse_args()
    if given.measure:
        rival, kubeconfig = given.measure
        tell(backfill(kubeconfig, is_shared=rival == "ours"))
        return
    collected = Collected()
    for rival in take_turns(given.turns, ["floor", "ours"]):
        collected.add(rival, measure(rival), FIGURES)
    present(BACKFILL, collected, given.json)


if __name__ == "__main__":
    main()

"""What is measured of clusters that several steps use, and of their end, and the budgets. Pure."""

from figures import Benchmark, Budget, Figure

CROWD = 200
PARTITIONS = 50
RAYCLUSTERS = 10_000
EXPIRED = 100
POOL_SIZE, CLAIMS = 2, 6

_CROWD_FLOOR = f"{CROWD} times a POST of one RayCluster, then a PATCH of it, with the kubernetes client"
_LIST = "all pages of the RayClusters, listed with the kubernetes client"

SHARING = Benchmark(
    "sharing",
    "Shared clusters",
    f"{CROWD} steps that take a shared cluster at the same moment: threads of one process, on the simulator with heads "
    "that answer as far as the wait needs. Seconds are from the start, before the kubeconfig is loaded, to the last "
    "lock. A warm cluster is one that is "
    "there already, with a real head: from the resource's set-up to the result of the first remote task, each in a "
    "fresh process that has imported everything.",
    (
        Figure(
            "crowd-clusters",
            f"{CROWD} steps take a shared cluster at once: clusters",
            "clusters",
            floor=_CROWD_FLOOR,
            older="its `KubeRayCluster` with sharing",
            budgets=(Budget(1, each_turn=True),),
        ),
        Figure(
            "crowd-errors",
            f"{CROWD} steps at once: errors",
            "errors",
            floor=_CROWD_FLOOR,
            older="its `KubeRayCluster` with sharing",
            budgets=(Budget(0, each_turn=True),),
        ),
        Figure(
            "crowd-seconds",
            f"{CROWD} steps at once: until the last lock",
            "s",
            floor=_CROWD_FLOOR,
            older="its `KubeRayCluster` with sharing",
            budgets=(Budget(1.5, times="floor"),),
        ),
        Figure(
            "crowd-requests",
            f"{CROWD} steps at once: requests of a step",
            "requests",
            floor=_CROWD_FLOOR,
            older="its `KubeRayCluster` with sharing",
        ),
        Figure(
            "warm-acquire",
            "Warm shared cluster: set-up to first result",
            "s",
            floor="`ray.init` at the head, and the same task",
            older="its `KubeRayCluster` with sharing, on the same cluster",
            compared="difference",
        ),
    ),
)

POOL = Benchmark(
    "pool",
    "A pool of warm clusters",
    f"Steps of a `KubeRayCluster` claim one of the {POOL_SIZE} clusters of its pool, one step after another, {CLAIMS} "
    "in a turn, and give it back. The simulator has real heads. Each step is a fresh process that has imported "
    "everything.",
    (
        Figure(
            "pool-claim",
            "Cluster of a pool: set-up of the resource to first line of the step",
            "s",
            floor="`ray.init` at one of the heads",
            budgets=(Budget(1, over="floor"),),
            compared="difference",
        ),
    ),
)

_BACKFILL_FLOOR = "the same backfill, each run with a cluster of its own"
BACKFILL = Benchmark(
    "backfill",
    "A backfill",
    f"{PARTITIONS} partitions of an asset, a run each, one after another, on the simulator with heads that answer as "
    "far as the wait needs: `KubeRayCluster` with `match_backfill=True`. Times are not compared, because a cold start "
    "on the simulator says nothing about image pulls and nodes.",
    (
        Figure(
            "backfill-clusters",
            f"Backfill of {PARTITIONS} partitions: clusters",
            "clusters",
            floor=_BACKFILL_FLOOR,
            budgets=(Budget(1, each_turn=True),),
        ),
        Figure(
            "backfill-requests",
            f"Backfill of {PARTITIONS} partitions: Kubernetes API requests of a run",
            "requests",
            floor=_BACKFILL_FLOOR,
            budgets=(Budget(6, each_turn=True),),
        ),
    ),
)

COLLECTOR = Benchmark(
    "collector",
    "The cleanup sensor",
    f"A tick over {RAYCLUSTERS:,} RayClusters of 4 kB that are two hours old, half of them shared and locked, half of "
    f"2,500 runs in progress; {EXPIRED} shared ones have expired, and the steps of 1,000 others are silent. The "
    "Kubernetes API is the simulator in a process of its own on the same machine, Dagster's storage is SQLite with the "
    "events of all runs in one database. Each tick is a fresh process, warmed by a tick over an empty namespace. "
    "0.4.8 deletes in a run of its own, which is not measured; it judges unshared clusters by age alone. Figures up to "
    "2026-11-28 are of objects younger than an hour, about whose steps nothing is asked.",
    (
        Figure(
            "tick-seconds",
            f"Tick over {RAYCLUSTERS:,} RayClusters, nothing to delete",
            "s",
            floor=_LIST,
            older="a tick of its sensor",
            budgets=(Budget(1.5, times="floor"),),
        ),
        Figure(
            "tick-deleting",
            f"Tick over {RAYCLUSTERS:,} RayClusters that deletes {EXPIRED}",
            "s",
            floor=_LIST + f", and {EXPIRED} deleted with it",
            budgets=(Budget(2, times="floor"),),
        ),
        Figure(
            "tick-memory",
            "Peak memory of the tick that deletes nothing",
            "MB",
            floor=_LIST,
            older="a tick of its sensor",
            budgets=(Budget(0.75, times="floor"),),
        ),
        Figure(
            "tick-requests",
            "Requests of the tick that deletes nothing",
            "requests",
            floor=_LIST,
            older="a tick of its sensor",
        ),
    ),
)

"""Every benchmark, what it measures, and the budgets. Pure."""

from catalogue_of_clusters import BACKFILL, COLLECTOR, POOL, SHARING
from figures import Benchmark, Budget, Figure

SLOW_LINES, FAST_LINES = 100, 200_000
TINY_TASKS, RESULT_BYTES = 2_000, 200_000_000
LOG_LINES = 2_000
STEPS, STEPS_A_TURN, AT_ONCE = 200, 40, 4

_RAY_INIT = "`ray.init` at the moment when the port speaks"
_STEP = "a step of its `KubeRayInteractiveJob`"
_READER = "`JobSubmissionClient.tail_job_logs`"

INTERACTIVE_STEP = Benchmark(
    "interactive_step",
    "A step on KubeRay",
    "A step of `KubeRayInteractiveJob` on the simulator, whose heads are real Ray clusters on the same machine, so "
    "image pull, scheduling and network cost nothing. Each step is a fresh process that has imported Ray and Dagster. "
    "The head accepts clients when its client port answers HTTP/2. DELETE is not counted: it belongs to the lifecycle "
    "`always` that the benchmark uses. 0.4.8 knows no way to a head outside of the cluster's network; its documented "
    "`resolve_hostname` gets the head's address.",
    (
        Figure(
            "step-requests",
            "Kubernetes API requests of a happy step",
            "requests",
            older=_STEP,
            budgets=(Budget(4, each_turn=True),),
        ),
        Figure(
            "step-hours-requests",
            "Kubernetes API requests of a happy step with `hours=True`",
            "requests",
            floor="the same step without `hours`",
            budgets=(Budget(6, each_turn=True),),
            compared="difference",
        ),
        Figure(
            "step-connect",
            "Head accepts clients to first line of the step",
            "s",
            floor=_RAY_INIT,
            older=_STEP,
            budgets=(Budget(1.1, times="floor"),),
        ),
        Figure(
            "step-start",
            "RayJob made to first line of the step",
            "s",
            floor="a RayJob made by hand, and `ray.init` at the moment when the port speaks",
            older=_STEP,
            compared="difference",
        ),
        Figure(
            "step-forwarded",
            "Head accepts clients to first line, through a port-forward",
            "s",
            floor=_RAY_INIT + ", straight",
            budgets=(Budget(1.1, times="floor"),),
        ),
        Figure(
            "step-forwarded-requests",
            "Kubernetes API requests of that step, each attempt to reach the head included",
            "requests",
            budgets=(Budget(8, each_turn=True),),
        ),
    ),
)

FAILED_STEP = Benchmark(
    "failed_step",
    "A step that fails",
    "The body of a step of `KubeRayInteractiveJob` raises after a task of it has failed, on the simulator with a real "
    "head. Seconds are from that moment to the end of the run, whose cluster is deleted by then. `evidence` is a "
    "folder of the same machine. Requests are those after the driver is connected. Each step is a fresh process with "
    "a cluster of its own.",
    (
        Figure(
            "evidence-seconds",
            "With `evidence`: error of the body to the end of the run",
            "s",
            floor="the same step without `evidence`",
            budgets=(Budget(10, over="floor"),),
            compared="difference",
        ),
        Figure(
            "evidence-requests",
            "With `evidence`: Kubernetes API requests of a failed step",
            "requests",
            floor="the same step without `evidence`",
            compared="difference",
        ),
    ),
)

IMPORT_COST = Benchmark(
    "import_cost",
    "Loading a code location",
    "`import dagster_ray.kuberay` on top of `import dagster`, in fresh processes with bytecode on disk: milliseconds, "
    "and resident memory. The full garbage collection that `import dagster` leaves due is done before. The floor is "
    "what `import dagster` itself took there, which every code location pays.",
    (
        Figure(
            "import-time",
            "`import dagster_ray.kuberay` after `import dagster`",
            "ms",
            floor="`import dagster` in the same process",
            older="the same import",
            budgets=(Budget(0.08, times="floor"), Budget(0.25, times="older")),
        ),
        Figure(
            "import-memory",
            "Memory of that import",
            "MB",
            older="the same import",
            budgets=(Budget(4),),
        ),
    ),
)

LOCAL_RAY = Benchmark(
    "local_ray",
    "Ray on one machine",
    "From the start of the resource's set-up to the step, in fresh processes that have imported everything.",
    (
        Figure(
            "local-start",
            "`LocalRay` with 2 CPUs: set-up to first line of the step",
            "s",
            floor="`ray.init` with 2 CPUs",
            older="its `LocalRay`",
        ),
    ),
)

PIPES_LOGS = Benchmark(
    "pipes_logs",
    "Following a Ray job",
    "`PipesRayJobClient` in an asset, on a real head on the same machine; each reader is a fresh process that submits "
    f"the job itself. The slow job prints the time every 50 ms, {SLOW_LINES} times: latency is from `print` to the "
    f"step's stdout. The fast job prints {FAST_LINES:,} lines of 100 characters: lines a second count from the first "
    "that arrives to the last, memory is the reader's peak above what it had before.",
    (
        Figure("log-p50", "Log line to Dagster, p50", "s", floor=_READER, older="its `PipesRayJobClient`"),
        Figure(
            "log-p95",
            "Log line to Dagster, p95",
            "s",
            floor=_READER,
            older="its `PipesRayJobClient`",
            budgets=(Budget(0.1, times="floor"),),
        ),
        Figure(
            "log-rate",
            f"Job log of {FAST_LINES:,} lines",
            "lines/s",
            floor=_READER,
            older="its `PipesRayJobClient`",
            budgets=(Budget(2, "at least", times="floor"),),
        ),
        Figure(
            "log-memory",
            "Peak memory for that log",
            "MB",
            floor=_READER,
            older="its `PipesRayJobClient`",
            budgets=(Budget(64),),
            compared="difference",
        ),
        Figure(
            "log-lines",
            f"Lines that arrived of {FAST_LINES:,}",
            "lines",
            floor=_READER,
            older="its `PipesRayJobClient`",
        ),
    ),
)

_SCRIPT = "the same body in a script, submitted with `JobSubmissionClient`"
DRIVER = Benchmark(
    "driver",
    "Bodies inside the cluster",
    "The same body with both values of `driver`, on one shared `KubeRayCluster` of the simulator with a real head. "
    "Each step is a fresh process that has imported everything. The body runs "
    f"{TINY_TASKS:,} tasks that return 1, one after another, and gets each result. Then a task makes a result of "
    f"{RESULT_BYTES // 10**6} MB for another task, and once more for the body. The head's object store has 100 MB, so "
    "that Ray keeps such a result in a file. Network costs nothing here; on Kubernetes, each call and each byte of "
    f"Ray Client crosses it. Another body writes {LOG_LINES:,} lines by `context.log`: seconds are from the first line "
    "until the last one is in the step's SQLite instance.",
    (
        Figure(
            "driver-start",
            '`driver="cluster"`: set-up of the resource to first line of the body',
            "s",
            floor="`submit_job` to the line after `ray.init` in a script",
            step="the same step, its body a driver of Ray Client",
            budgets=(Budget(3, over="step"),),
            compared="difference",
        ),
        Figure(
            "driver-tasks",
            f'`driver="cluster"`: {TINY_TASKS:,} tiny tasks, one by one',
            "s",
            floor=_SCRIPT,
            budgets=(Budget(1.05, times="floor"),),
        ),
        Figure("driver-kept", '`driver="cluster"`: 200 MB that stay in the cluster', "s", floor=_SCRIPT),
        Figure("driver-fetched", '`driver="cluster"`: 200 MB that the body fetches', "s", floor=_SCRIPT),
        Figure(
            "driver-lines",
            f'`driver="cluster"`: {LOG_LINES:,} lines of `context.log`',
            "s",
            floor="the same body in the step's process, without Ray",
            budgets=(Budget(1.25, times="floor"),),
        ),
        Figure("client-start", '`driver="step"`: set-up of the resource to first line of the body', "s"),
        Figure("client-tasks", f'`driver="step"`: {TINY_TASKS:,} tiny tasks, one by one', "s", floor=_SCRIPT),
        Figure("client-kept", '`driver="step"`: 200 MB that stay in the cluster', "s", floor=_SCRIPT),
        Figure("client-fetched", '`driver="step"`: 200 MB that the body fetches', "s", floor=_SCRIPT),
    ),
)

EXECUTOR = Benchmark(
    "executor",
    "Steps as Ray jobs",
    f"A run of many steps that do nothing, of which at most {AT_ONCE} run at the same time: with `ray_executor` on a "
    "real head on the same machine, and with Dagster's `multiprocess_executor`. The instance has SQLite. Each executor "
    f"runs in a fresh process. The run has {STEPS} steps, and {STEPS_A_TURN} in each turn of `make bench`. Both "
    "executors start a process for each step, which imports Dagster and loads the job; beside it, Ray starts a process "
    "that supervises the job. The ratio shows what that costs where the step itself costs nothing. It has no budget, "
    "because most of it is Ray's. Requests to the job server are counted by a proxy: one `POST` submits a step, and a "
    "step that runs is looked at every 20 s, so the number of `GET`s depends on the machine.",
    (
        Figure(
            "executor-rate",
            "`ray_executor`: steps that do nothing",
            "steps/s",
            floor="the same run with Dagster's `multiprocess_executor`",
        ),
        Figure(
            "executor-posts",
            "`ray_executor`: `POST` requests to the job server, by step",
            "requests",
            budgets=(Budget(1, each_turn=True),),
        ),
        Figure("executor-gets", "`ray_executor`: `GET` requests to the job server, by step", "requests"),
        Figure(
            "executor-failures",
            "`ray_executor`: attempts of these steps that were called failures",
            "failures",
            budgets=(Budget(0, each_turn=True),),
        ),
    ),
)

BENCHMARKS = (
    IMPORT_COST,
    LOCAL_RAY,
    INTERACTIVE_STEP,
    FAILED_STEP,
    DRIVER,
    EXECUTOR,
    PIPES_LOGS,
    SHARING,
    POOL,
    BACKFILL,
    COLLECTOR,
)
SUMMARY = ("step-requests", "step-connect", "import-time", "log-p95", "log-rate", "tick-seconds")
"""The figures that the README shows."""

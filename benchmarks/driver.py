"""What a body inside the cluster costs, and what it saves.

    python benchmarks/driver.py [--turns N] [--json FILE]

Runs on the simulator with one real head, so image pull, scheduling and network cost nothing. Three take turns on that
one cluster; each is a fresh process with everything imported, and runs the same body:

- ours: a step of `KubeRayCluster` with `driver="cluster"`;
- step: the same step with `driver="step"`, whose body is a driver of Ray Client;
- floor: a script without dagster-ray, submitted with Ray's `JobSubmissionClient`.

The body runs tiny tasks one after another and waits for each, then lets a task make a large result twice: for a task,
which reads it in the cluster, and for itself. A worker process of Ray is running before anything is measured.

Another body writes lines by `context.log`. Seconds are from the first line to the moment when the last one is in the
SQLite instance of the step's process; the floor is the same body in that process, without Ray.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# ruff: noqa: PLC0415 - the driver's process imports only what it needs

import json
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import dagster as dg
from catalogue import DRIVER, LOG_LINES, RESULT_BYTES, TINY_TASKS
from rivals import MARK, Collected, measured, parser_of, present, take_turns, tell

from dagster_ray.core import RayResource

DASHBOARD_PORT = 8265
# A call of Ray Client takes some milliseconds on a quiet machine, and many on a busy one.
PATIENCE_SECONDS = 900.0
FLOOR_FIGURES = ("start", "tasks", "kept", "fetched")
RUN: dict[str, Any] = {"execution": {"config": {"in_process": {}}}}


def now() -> float:
    """Return the time on the clock that all processes of this machine have, and Dagster's events."""
    return datetime.now(UTC).timestamp()


# The body


def body(count: int = TINY_TASKS) -> dict[str, float]:
    """Run what is measured on the Ray that this process is connected to; return when it began, and seconds."""
    begun = now()
    import ray

    def one() -> int:
        return 1

    def large() -> bytes:
        return bytes(RESULT_BYTES)

    def length_of(result: bytes) -> int:
        return len(result)

    functions: Any = (one, large, length_of)
    tiny, made, length = (ray.remote(num_cpus=1)(function) for function in functions)
    ray.get(tiny.remote())
    started = time.perf_counter()
    total = sum(ray.get(tiny.remote()) for _ in range(count))
    tasks = time.perf_counter()
    kept = ray.get(length.remote(made.remote()))
    read = time.perf_counter()
    fetched = len(ray.get(made.remote()))
    end = time.perf_counter()
    assert (total, kept, fetched) == (count, RESULT_BYTES, RESULT_BYTES)
    return {"begun": begun, "tasks": tasks - started, "kept": read - tasks, "fetched": end - read}


# Rivals


@dg.asset
def measured_body(ray_cluster: RayResource, tasks: dg.ResourceParam[int]) -> dg.MaterializeResult[Any]:
    """The body as a step's."""
    return dg.MaterializeResult(metadata={**body(tasks), "cluster": ray_cluster.display_name})


def write_lines(context: dg.AssetExecutionContext) -> None:
    """Write numbered lines."""
    for number in range(LOG_LINES):
        context.log.info("line %d", number)


@dg.asset
def lines_in_cluster(context: dg.AssetExecutionContext, ray_cluster: RayResource) -> None:
    """Write lines where the cluster is."""
    del ray_cluster
    write_lines(context)


@dg.asset
def lines_in_process(context: dg.AssetExecutionContext) -> None:
    """Write lines without Ray."""
    write_lines(context)


ASSETS = (measured_body, lines_in_cluster, lines_in_process)


def job_of(
    kubeconfig: str, driver: Literal["step", "cluster"], folder: str, tasks: int, asset: str = "measured_body"
) -> dg.JobDefinition:
    """Return the job with one step on the shared cluster; the worker in the cluster loads it here, too."""
    from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, RayClusterConfig
    from dagster_ray.kuberay.groups import head_group

    spec: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2), "workerGroupSpecs": []}
    given: dict[str, Any] = {
        "kubeconfig_file": kubeconfig,
        "access": "direct",
        "head_host": "{pod_ip}",
        "timeout": PATIENCE_SECONDS,
        "ray_cluster": RayClusterConfig(spec=spec),
        "cluster_sharing": ClusterSharing(enabled=True, ttl_seconds=3600),
        "driver": driver,
    }
    resources: dict[str, Any] = {
        "ray_cluster": KubeRayCluster(**given),
        "io_manager": dg.FilesystemIOManager(base_dir=folder),
        "tasks": tasks,
    }
    jobs = [dg.define_asset_job(str(each.key.path[-1]), [each]) for each in ASSETS]
    return dg.Definitions(ASSETS, resources=resources, jobs=jobs).resolve_job_def(asset)


def by_step(kubeconfig: str, driver: Literal["step", "cluster"], tasks: int = TINY_TASKS) -> dict[str, float]:
    """Measure a step: its start counts from the set-up of its resource to the first line of its body."""
    import ray  # noqa: F401  # pyright: ignore[reportUnusedImport] - imported before, as for the floor
    from kubernetes import client  # noqa: F401  # pyright: ignore[reportUnusedImport]

    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        arguments: Any = (kubeconfig, driver, folder, tasks)
        job = dg.build_reconstructable_job("driver", "job_of", arguments, {}, str(Path(__file__).parent))
        result = dg.execute_job(job, instance, run_config=RUN, raise_on_error=True)
        entries = instance.all_logs(result.run_id)
    told = {entry.dagster_event.event_type_value: entry for entry in entries if entry.dagster_event is not None}
    metadata = _metadata(told["ASSET_MATERIALIZATION"])
    found = {name: float(value.value) for name, value in metadata.items() if name != "cluster"}
    return figures_of(told["RESOURCE_INIT_STARTED"].timestamp, found)


def _metadata(entry: dg.EventLogEntry) -> Mapping[str, Any]:
    return {} if entry.asset_materialization is None else entry.asset_materialization.metadata


def figures_of(started: float, found: Mapping[str, float]) -> dict[str, float]:
    """Return a body's figures, with its start since some time."""
    return {"start": found["begun"] - started, **{name: found[name] for name in ("tasks", "kept", "fetched")}}


def lines_stored(kubeconfig: str, asset: str) -> float:
    """Return the seconds from the first line that a body writes until the last one is in this process's instance."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        stored: list[float] = []
        _on_line(instance, lambda: stored.append(now()))
        arguments: Any = (kubeconfig, "cluster", folder, 0, asset)
        job = dg.build_reconstructable_job("driver", "job_of", arguments, {}, str(Path(__file__).parent))
        result = dg.execute_job(job, instance, run_config=RUN, raise_on_error=True)
        lines = [entry for entry in instance.all_logs(result.run_id) if _is_line(entry)]
    if [entry.user_message for entry in lines] != [f"line {number}" for number in range(LOG_LINES)]:
        raise RuntimeError(f"{len(lines)} lines of {LOG_LINES} arrived, or in another order")
    return stored[-1] - lines[0].timestamp


def _is_line(entry: dg.EventLogEntry) -> bool:
    return entry.dagster_event is None and entry.user_message.startswith("line ")


def _on_line(instance: dg.DagsterInstance, then: Callable[[], None]) -> None:
    store = instance.handle_new_event

    def handle(event: dg.EventLogEntry, **more: Any) -> None:
        store(event, **more)
        if _is_line(event):
            then()

    cast("Any", instance).handle_new_event = handle


def by_script(address: str) -> dict[str, float]:
    """Measure the script: its start counts from its submission to the line after `ray.init`."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    client = JobSubmissionClient(f"http://{address}:{DASHBOARD_PORT}")
    started = now()
    job = client.submit_job(entrypoint=shlex.join([sys.executable, __file__, "--measure", "script"]))
    pause, end = threading.Event(), time.perf_counter() + PATIENCE_SECONDS
    while (status := client.get_job_status(job)) not in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}:
        if time.perf_counter() > end:
            raise TimeoutError(f"the script is {status}")
        pause.wait(0.2)
    said = [line for line in client.get_job_logs(job).splitlines() if line.startswith(MARK)]
    return figures_of(started, json.loads(said[-1].removeprefix(MARK)))


def script() -> dict[str, float]:
    """Be the script."""
    import ray

    ray.init()
    return body()


def measure(rival: str, kubeconfig: str = "", address: str = "") -> dict[str, float]:
    """Be a rival."""
    if rival == "script":
        return script()
    if rival == "floor":
        return by_script(address)
    if rival.startswith("lines"):
        return {"driver-lines": lines_stored(kubeconfig, rival)}
    if rival == "cold":
        return by_step(kubeconfig, "step", tasks=1)
    return by_step(kubeconfig, "cluster" if rival == "ours" else "step")


def collect(turns: int) -> Collected:
    """Let them take turns on one cluster, which a first step makes that is not measured."""
    from dagster_ray.simulator import Simulator

    collected = Collected()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # of the image: tasks and actors may be in this module
    with Simulator() as simulator:
        kubeconfig = str(simulator.kubeconfig)
        print(f"cold: {measured(__file__, 'cold', kubeconfig, patience=PATIENCE_SECONDS)}", file=sys.stderr)
        (made,) = simulator.store.list("rayclusters")
        address = made["status"]["head"]["podIP"]
        for rival in take_turns(turns, ["floor", "ours", "step"]):
            found = measured(__file__, rival, kubeconfig, address, patience=PATIENCE_SECONDS)
            add(collected, rival, found)
        bodies = {"lines_in_process": "floor", "lines_in_cluster": "ours"}
        for body_of in take_turns(turns, list(bodies)):
            found = measured(__file__, body_of, kubeconfig, patience=PATIENCE_SECONDS)
            collected.add(bodies[body_of], found, ["driver-lines"])
        if len(simulator.store.list("rayclusters")) != 1:
            raise RuntimeError("the cluster was not shared")
    return collected


def add(collected: Collected, rival: str, found: Mapping[str, float] | None) -> None:
    """Add what a turn has shown: Ray Client has rows of its own, and is what the start is compared with."""
    if rival == "step":
        mine = found and {f"client-{name}": found[name] for name in FLOOR_FIGURES}
        collected.add("ours", mine, [f"client-{name}" for name in FLOOR_FIGURES])
        collected.add("step", found and {"driver-start": found["start"]}, ["driver-start"])
        return
    named = found and {f"driver-{name}": found[name] for name in FLOOR_FIGURES}
    collected.add(rival, named, [f"driver-{name}" for name in FLOOR_FIGURES])
    if rival == "floor":
        bare = FLOOR_FIGURES[1:]
        collected.add(
            "floor", found and {f"client-{name}": found[name] for name in bare}, [f"client-{b}" for b in bare]
        )


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(DRIVER).parse_args()
    if given.measure:
        tell(measure(*given.measure))
        return
    present(DRIVER, collect(given.turns), given.json)


if __name__ == "__main__":
    main()

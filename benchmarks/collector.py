"""What a tick of the cleanup sensor costs over many RayClusters.

    python benchmarks/collector.py [RAYCLUSTERS]

The Kubernetes API is the simulator in a process of its own, on this machine: its answers cost it CPU, which is told
beside the tick's. Dagster's storage is SQLite in a folder. Half of the clusters are shared and locked, half belong to
2,500 runs in progress, and each hundredth has a lock that has ended, so that it goes.

- seconds of each tick until all was seen (budget for 10,000 RayClusters: 10 s), and the CPU seconds of this process;
- requests;
- how far the memory of this process grew, at its peak (budget: bounded by a page, not by the number of clusters);
- the same for a second tick, which finds nothing to delete.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

RUNS = 2500
IDENTITY = {
    "app.kubernetes.io/managed-by": "dagster-ray",
    "dagster/code-location": "benchmarks",
    "dagster/deployment": "benchmark",
    "dagster/job": "training_job",
    "dagster/resource-key": "ray_cluster",
    "dagster/step-key": "train_model",
}
STATUS: dict[str, Any] = {
    "state": "ready",
    "observedGeneration": 1,
    "readyWorkerReplicas": 2,
    "desiredWorkerReplicas": 2,
    "desiredCPU": "6",
    "desiredMemory": "24Gi",
    "desiredGPU": "0",
    "endpoints": {"client": "10001", "dashboard": "8265", "gcs-server": "6379", "metrics": "8080", "serve": "8000"},
    "head": {"podIP": "10.0.0.1", "podName": "head", "serviceIP": "10.0.0.1", "serviceName": "head-svc"},
    "conditions": [
        {
            "type": kind,
            "status": "True",
            "reason": kind,
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind in ("HeadPodReady", "RayClusterProvisioned")
    ],
}


def annotations(ends_in_seconds: float) -> dict[str, str]:
    """Return a lock."""
    begun = (datetime.now(UTC) + timedelta(seconds=ends_in_seconds - 600)).strftime("%Y-%m-%dT%H:%M:%SZ")
    lock = {"run_id": "r", "step_key": "s", "applied_at": begun, "renewed_at": begun, "ttl_seconds": 600}
    return {"dagster/lock-0123456789abcdef": json.dumps(lock)}


def cluster(number: int, runs: list[str], instance_id: str) -> dict[str, Any]:
    """Return the RayCluster of a number."""
    from dagster_ray.kuberay.groups import head_group, worker_group  # noqa: PLC0415

    labels, notes = dict(IDENTITY), {"dagster/asset-key": "a/long/key/of/an/asset"}
    if number % 2 == 0:
        labels |= {"dagster/cluster-sharing": "true", "dagster/spec-hash": "0123456789abcdef"}
        notes |= annotations(-30 if number % 100 == 0 else 86_400)
    else:
        labels |= {"dagster/run-id": runs[number % len(runs)], "dagster/instance-id": instance_id}
        labels["dagster/cleanup"] = "always"
    env = {f"VARIABLE_{n}": "a value that is as long as values are" for n in range(12)}
    spec = {
        "rayVersion": "2.60.0",
        "headGroupSpec": head_group(cpus=2, memory="8Gi", image="rayproject/ray:2.60.0", env=env, labels=labels),
        "workerGroupSpecs": [
            worker_group("workers", cpus=2, memory="8Gi", replicas=2, image="rayproject/ray:2.60.0", labels=labels)
        ],
    }
    metadata = {"name": f"dagster-{number:05}", "namespace": "default", "labels": labels, "annotations": notes}
    return {"metadata": metadata, "spec": spec}


def serve(count: int, instance_id: str) -> None:
    """Serve that many RayClusters; answer each line of the input with the number of requests and our CPU seconds."""
    from dagster_ray.kuberay.testing import Simulator  # noqa: PLC0415

    runs = json.loads(sys.stdin.readline())
    with Simulator(operator=False, fake_heads=True) as simulator:
        for number in range(count):
            stored = simulator.store.create("rayclusters", cluster(number, runs, instance_id))
            simulator.store.replace_status("rayclusters", {**stored, "status": STATUS})
        size = len(json.dumps(simulator.store.get("rayclusters", "default", "dagster-00001")))
        print(json.dumps([str(simulator.kubeconfig), size]), flush=True)
        for _ in sys.stdin:
            print(json.dumps([len(simulator.requests), time.process_time()]), flush=True)


@dataclass
class Server:
    """The simulator's process."""

    process: "subprocess.Popen[str]"

    def ask(self, line: str) -> list[Any]:
        """Send a line; return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def serving(count: int, instance_id: str) -> Generator[Server]:
    """Yield a simulator in a process of its own."""
    command = [sys.executable, __file__, "serve", str(count), instance_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # ends it


def peak_megabytes() -> float:
    """Return the most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ticks(sensor: Any, instance: Any, server: Server, title: str) -> None:
    """Let the sensor tick until all was seen, and print what that cost."""
    import dagster as dg  # noqa: PLC0415

    memory, (requests, server_cpu) = peak_megabytes(), server.ask("")
    seconds: list[float] = []
    messages: list[str] = []
    cursor, cpu = None, time.process_time()
    while not messages or json.loads(cursor or "{}")["places"]:
        begun = time.perf_counter()
        result: Any = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
        seconds.append(time.perf_counter() - begun)
        cursor = result.cursor
        messages.append(result.skip_reason.skip_message.splitlines()[0])
    cpu = time.process_time() - cpu
    after, server_cpu_after = server.ask("")
    print(f"{title}: {len(seconds)} tick(s) of {', '.join(f'{one:.2f}' for one in seconds)} s")
    print(f"  CPU: {cpu:.2f} s here, {server_cpu_after - server_cpu:.2f} s in the simulator")
    print(f"  requests: {after - requests}; peak memory grew by {peak_megabytes() - memory:.1f} MB")
    print(f"  {' / '.join(messages)}")


def main(count: int) -> None:
    """Print the figures."""
    import dagster as dg  # noqa: PLC0415

    from dagster_ray.core import instance_id_of  # noqa: PLC0415
    from dagster_ray.kuberay import build_cleanup_sensor  # noqa: PLC0415

    @dg.job
    def training() -> None: ...

    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        started = dg.DagsterRunStatus.STARTED
        runs = [instance.create_run_for_job(training, status=started).run_id for _ in range(min(RUNS, count))]
        with serving(count, str(instance_id_of(instance))) as server:
            kubeconfig, size = server.ask(json.dumps(runs))
            print(f"{count} RayClusters of {size / 1000:.1f} kB, {len(runs)} runs")
            warm = build_cleanup_sensor(kubeconfig_file=kubeconfig, namespaces=["empty"])
            ticks(warm, instance, server, "an empty namespace, with the first import of kubernetes")
            sensor = build_cleanup_sensor(kubeconfig_file=kubeconfig)
            ticks(sensor, instance, server, "the first pass")
            ticks(sensor, instance, server, "the second pass")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

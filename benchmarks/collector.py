"""What a tick of the cleanup sensor costs over many RayClusters.

    python benchmarks/collector.py [--turns N] [--without-older] [--json FILE] [--rayclusters N]

The Kubernetes API is the simulator in a process of its own, on this machine. Dagster's storage is SQLite with the
events of all runs in one database, as in PostgreSQL; by default each run has a file of its own, which takes 0.1 s to
open.
All clusters are two hours old, so that the sensor has to ask about steps. Half of them are shared and locked, and each
hundredth has a lock that has ended. The other half belongs to 2,500 runs in progress; the steps of one in five of these
have not been heard of for two hours. Each measurement is a fresh process, which first ticks over an empty namespace:

- deleting: the sensor of this project deletes what has ended; it is made again before each turn;
- ours: the sensor finds nothing to delete;
- floor: the kubernetes client lists all pages, and nothing else;
- floor-deleting: it lists all pages, and deletes by name what has ended;
- older: the sensor of the older project finds nothing to delete. It deletes in a run, which is not measured.

Seconds until all was seen, requests, and how far the memory of the process grew at its peak.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# ruff: noqa: PLC0415 - each process imports only what is in its own environment

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from catalogue_of_clusters import COLLECTOR, RAYCLUSTERS
from rivals import Collected, measured, parser_of, peak_above_now, present, take_turns, tell

RUNS = 2500
DELETING = {"floor-deleting": "floor", "deleting": "ours"}
"""What deletes, and the rival that it is a figure of."""
AGE_SECONDS = 7200
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
    """Return a lock that both projects understand: this one's fields, and those of 0.4.8, whose times have no zone."""
    begun = datetime.now(UTC) + timedelta(seconds=ends_in_seconds - 600)
    ours, older = begun.strftime("%Y-%m-%dT%H:%M:%SZ"), begun.astimezone().replace(tzinfo=None).isoformat()
    lock = {"run_id": "r", "step_key": "s", "applied_at": ours, "renewed_at": ours, "ttl_seconds": 600}
    lock |= {"key": "s", "created_at": older, "heartbeat_at": older}
    return {"dagster/lock-0123456789abcdef": json.dumps(lock)}


def cluster(number: int, runs: list[str], instance_id: str) -> dict[str, Any]:
    """Return the RayCluster of a number."""
    from dagster_ray.kuberay.groups import head_group, worker_group

    labels, notes = dict(IDENTITY), {"dagster/asset-key": "a/long/key/of/an/asset"}
    if number % 2 == 0:
        labels |= {"dagster/cluster-sharing": "true", "dagster/spec-hash": "0123456789abcdef"}
        notes |= annotations(-30 if number % 100 == 0 else 86_400)
    else:
        labels |= {"dagster/run-id": runs[number % len(runs)], "dagster/instance-id": instance_id}
        labels["dagster/cleanup"] = "always"
        if number % 10 != 1:  # the step of every fifth one is silent
            alive_at = datetime.now(UTC) + timedelta(seconds=AGE_SECONDS - 300)
            notes["dagster/alive-at"] = alive_at.strftime("%Y-%m-%dT%H:%M:%SZ")
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


def dagster_instance(folder: str) -> Any:
    """Return the Dagster instance of a folder."""
    import dagster as dg

    events = {
        "module": "dagster._core.storage.event_log",
        "class": "ConsolidatedSqliteEventLogStorage",
        "config": {"base_dir": folder},
    }
    return dg.DagsterInstance.local_temp(folder, overrides={"event_log_storage": events})


def serve(count: int, instance_id: str) -> None:
    """Serve that many RayClusters; answer each line of the input by the number of requests so far.

    The line `fill` makes what was deleted again. Requests about the empty namespace are not counted.
    """
    from dagster_ray.simulator import Simulator

    runs = json.loads(sys.stdin.readline())
    with Simulator(operator=False, fake_heads=True) as simulator:

        def fill() -> int:
            there = {obj["metadata"]["name"] for obj in simulator.store.list("rayclusters")}
            for number in range(count):
                made = cluster(number, runs, instance_id)
                if made["metadata"]["name"] not in there:
                    stored = simulator.store.create("rayclusters", made)
                    simulator.store.replace_status("rayclusters", {**stored, "status": STATUS})
            return count - len(there)

        fill()
        simulator.faults.clock_offset_seconds = AGE_SECONDS
        print(json.dumps(str(simulator.kubeconfig)), flush=True)
        for line in sys.stdin:
            asked = sum("/namespaces/empty/" not in request.path for request in simulator.requests)
            print(json.dumps(fill() if line.strip() == "fill" else asked), flush=True)


@dataclass
class Server:
    """The simulator's process."""

    process: "subprocess.Popen[str]"

    def ask(self, line: str) -> Any:
        """Send a line; return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def serving(count: int, instance_id: str) -> Generator[Server]:
    """Yield a simulator in a process of its own."""
    command = [sys.executable, __file__, "--measure", "serve", str(count), instance_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # ends it


# In a process of its own


def timed(tick: Callable[[], int]) -> dict[str, float]:
    """Return the cost of what a callable does, and how many RayClusters it has seen."""
    peak, begun = peak_above_now(), time.perf_counter()
    seen = tick()
    return {"tick-seconds": time.perf_counter() - begun, "tick-memory": peak(), "seen": seen}


def ours(kubeconfig: str, folder: str) -> dict[str, float]:
    """Let the sensor tick until all was seen."""
    import dagster as dg

    from dagster_ray.kuberay import build_cleanup_sensor

    def pass_of(sensor: Any) -> int:
        seen, cursor = 0, None
        while cursor is None or json.loads(cursor)["places"]:
            result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
            cursor = result.cursor
            said = re.match(r"Looked at (\d+):", result.skip_reason.skip_message)
            seen += int(said[1]) if said else 0
        return seen

    with dagster_instance(folder) as instance:
        pass_of(build_cleanup_sensor(kubeconfig_file=kubeconfig, namespaces=["empty"]))
        sensor = build_cleanup_sensor(kubeconfig_file=kubeconfig)
        return timed(lambda: pass_of(sensor))


def bare(kubeconfig: str, _: str, *, deletes: bool = False) -> dict[str, float]:
    """List all pages, and delete what has ended if that is asked for."""
    from kubernetes import client, config

    with config.new_client_from_config(kubeconfig) as api:
        calls, kind = client.CustomObjectsApi(api), ("ray.io", "v1")

        def pages(namespace: str) -> int:
            seen, token, ended = 0, "", list[str]()
            while True:
                page: Any = calls.list_namespaced_custom_object(
                    *kind, namespace, "rayclusters", limit=500, _continue=token
                )
                names = (item["metadata"]["name"] for item in page["items"] if deletes)
                ended += [name for name in names if name.endswith("00")]
                seen += len(page["items"])
                token = page["metadata"].get("continue")
                if not token:
                    break
            for name in ended:
                calls.delete_namespaced_custom_object(*kind, namespace, "rayclusters", name)
            return seen

        pages("empty")
        return timed(lambda: pages("default"))


def bare_deleting(kubeconfig: str, folder: str) -> dict[str, float]:
    """List all pages, and delete what has ended."""
    return bare(kubeconfig, folder, deletes=True)


def older(kubeconfig: str, folder: str) -> dict[str, float]:
    """Let the sensor of the older project tick."""
    import dagster as dg

    module: Any = importlib.import_module("dagster_ray.kuberay")
    clients: Any = importlib.import_module("dagster_ray.kuberay.client")
    seen: list[int] = []

    class Counted(clients.RayClusterClient):
        def list(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            found = super().list(*args, **kwargs)
            seen.append(len(found["items"]))
            return found

    client = Counted(kube_config=kubeconfig)

    def tick(namespace: str) -> int:
        os.environ["DAGSTER_RAY_NAMESPACES"] = namespace
        context: Any = dg.build_sensor_context(instance=instance, resources={"raycluster_client": client})
        # Only a code server sets it.
        context._code_location_origin = SimpleNamespace(location_name=IDENTITY["dagster/code-location"])  # noqa: SLF001
        (answer,) = module.cleanup_expired_kuberay_clusters(context)
        if not isinstance(answer, dg.SkipReason):
            raise TypeError(f"nothing has expired, but its sensor says {answer}")
        return seen[-1]

    with dagster_instance(folder) as instance:
        tick("empty")
        return timed(lambda: tick("default"))


RIVALS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "deleting": ours,
    "ours": ours,
    "floor": bare,
    "floor-deleting": bare_deleting,
    "older": older,
}


# In the process that lets them take turns


def turn(rival: str, python: str, count: int, server: Server, where: tuple[str, str]) -> dict[str, float] | None:
    """Measure a rival once."""
    if rival in DELETING:
        server.ask("fill")
    before = server.ask("")
    found = measured(__file__, rival, *where, python=python)
    if found is None or found["seen"] != count - (count // 100 if rival not in DELETING else 0):
        print(f"{rival}: {found}", file=sys.stderr)
        return None
    return {**found, "tick-requests": server.ask("") - before}


def collect(turns: int, count: int, *, with_older: bool) -> Collected:
    """Let the rivals take turns."""
    import dagster as dg
    from dagster import DagsterEvent

    from dagster_ray.core import instance_id_of

    pythons = dict.fromkeys((*DELETING, "floor", "ours"), sys.executable)
    if with_older:
        from older_project import older_python

        pythons["older"] = older_python()
    collected = Collected()
    with tempfile.TemporaryDirectory() as folder, dagster_instance(folder) as instance:
        runs = [str(uuid.uuid4()) for _ in range(min(RUNS, count))]
        for run_id in runs:
            instance.add_run(dg.DagsterRun("training", run_id=run_id, status=dg.DagsterRunStatus.STARTED))
            started = DagsterEvent("STEP_START", "training", step_key=IDENTITY["dagster/step-key"])
            instance.report_dagster_event(started, run_id)
        with serving(count, str(instance_id_of(instance))) as server:
            kubeconfig = server.ask(json.dumps(runs))
            for rival in take_turns(turns, list(pythons)):
                found = turn(rival, pythons[rival], count, server, (kubeconfig, folder))
                if rival in DELETING:
                    collected.add(
                        DELETING[rival], found and {"tick-deleting": found["tick-seconds"]}, ["tick-deleting"]
                    )
                else:
                    collected.add(rival, found, ["tick-seconds", "tick-memory", "tick-requests"])
    return collected


def main() -> None:
    """Measure in turns, or be a rival or the server."""
    parser = parser_of(COLLECTOR)
    parser.add_argument("--rayclusters", type=int, default=RAYCLUSTERS)
    given = parser.parse_args()
    if given.measure is None:
        collected = collect(given.turns, given.rayclusters, with_older=not given.without_older)
        present(COLLECTOR, collected, given.json)
        return
    rival, *rest = given.measure
    if rival == "serve":
        serve(int(rest[0]), rest[1])
    else:
        tell(RIVALS[rival](rest[0], rest[1]))


if __name__ == "__main__":
    main()

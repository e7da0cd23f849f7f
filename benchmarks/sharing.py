"""What sharing a KubeRay cluster costs: `python benchmarks/sharing.py [pairs]`.

Runs on the simulator, so image pull, scheduling and network cost nothing here.

- crowd: N steps that take a shared cluster at the same moment, in threads of one process, with heads that answer as far
  as the wait needs. Clusters created, errors, seconds from the start to the last lock, requests of a step (budget for
  200: one cluster, no errors).
- warm: seconds from the set-up of the resource to the result of the first remote task, on a shared cluster that is
  there, and the same for a bare `ray.init` at its head. Real Ray head; each measurement is a fresh process, and the two
  take turns.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CROWDS = (1, 10, 50, 200)
TIMEOUT_SECONDS = 120.0
PORT = 10001


def cluster(kubeconfig: str, **more: Any) -> Any:
    """Return a resource that shares a cluster which is a head alone."""
    from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, RayClusterConfig  # noqa: PLC0415
    from dagster_ray.kuberay.groups import head_group  # noqa: PLC0415

    spec: dict[str, Any] = {
        "headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=2),
        "workerGroupSpecs": [],
    }
    given: dict[str, Any] = {
        "kubeconfig_file": kubeconfig,
        "access": "direct",
        "head_host": "{pod_ip}",
        "timeout": TIMEOUT_SECONDS,
        "ray_cluster": RayClusterConfig(spec=spec),
        "cluster_sharing": ClusterSharing(enabled=True, ttl_seconds=3600),
        **more,
    }
    return KubeRayCluster(**given)


# A crowd


def take_all(kubeconfig: str, crowd: int) -> dict[str, Any]:
    """Let a crowd take the cluster at once; return how long it took, and what went wrong."""
    import dagster as dg  # noqa: PLC0415

    start = threading.Barrier(crowd + 1)
    locked: list[float] = []
    errors: list[str] = []

    def take(_: int) -> None:
        context = dg.build_init_resource_context()
        resource = cluster(kubeconfig)
        start.wait()
        try:
            resource.create(context)
            locked.append(time.perf_counter())
            resource.wait(context)
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"{type(error).__name__}: {error}")
        finally:
            resource.release(context)

    with ThreadPoolExecutor(crowd) as threads:
        done = [threads.submit(take, number) for number in range(crowd)]
        start.wait()
        begun = time.perf_counter()
        for each in done:
            each.result()
    return {"seconds": max(locked, default=0.0) - begun, "errors": errors}


def measure_crowd(crowd: int) -> str:
    """Return a row of the table."""
    from dagster_ray.kuberay.testing import KubeletOptions, PodTimes, Simulator  # noqa: PLC0415

    options = KubeletOptions(times=PodTimes(probe_grid_seconds=None))
    with Simulator(fake_heads=True, kubelet_options=options) as simulator:
        command = [sys.executable, __file__, "crowd", str(simulator.kubeconfig), str(crowd)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        asked = Counter(
            "watch" if "watch=true" in request.path else request.method
            for request in simulator.requests
            if request.user_agent.startswith("dagster-ray")
        )
        clusters = simulator.store.list("rayclusters")
    locks = sum(key.startswith("dagster/lock-") for key in clusters[0]["metadata"]["annotations"])
    each = ", ".join(f"{count / crowd:.2f} {kind}" for kind, count in sorted(asked.items()))
    total = sum(asked.values()) / crowd
    row = f"| {crowd} | {len(clusters)} | {locks} | {len(found['errors'])} | {found['seconds']:.2f} | {total:.2f} |"
    return f"{row} {each} |" + "".join(f"\n  {error}" for error in sorted(set(found["errors"])))


# A warm cluster


def first_task() -> None:
    """Run one remote task."""
    import ray  # noqa: PLC0415

    def one() -> int:
        return 1

    task: Any = ray.remote(num_cpus=1)(one)
    assert ray.get(task.remote()) == 1


def measure_step(kubeconfig: str) -> float:
    """Return the seconds from the set-up of the resource to the first result."""
    import dagster as dg  # noqa: PLC0415
    import ray  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport] - imported before, as for ray.init

    from dagster_ray.core import run_phases  # noqa: PLC0415

    resource = cluster(kubeconfig)
    begun = time.perf_counter()
    with run_phases(resource, dg.build_init_resource_context()):
        first_task()
        return time.perf_counter() - begun


def measure_bare(address: str) -> float:
    """Return the seconds from `ray.init` to the first result."""
    import ray  # noqa: PLC0415

    begun = time.perf_counter()
    ray.init(f"ray://{address}:{PORT}")
    first_task()
    seconds = time.perf_counter() - begun
    ray.shutdown()
    return seconds


def child(kind: str, argument: str) -> float:
    """Return what a fresh process measures."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, __file__, kind, argument]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_warm(pairs: int) -> None:
    """Print the figures of a warm cluster."""
    from dagster_ray.kuberay.testing import Simulator  # noqa: PLC0415

    with Simulator() as simulator:
        kubeconfig = str(simulator.kubeconfig)
        cold = child("step", kubeconfig)
        (made,) = simulator.store.list("rayclusters")
        address = made["status"]["head"]["podIP"]
        bare: list[float] = []
        warm: list[float] = []
        before = 0
        for _ in range(pairs):
            bare.append(child("bare", address))
            before = len(simulator.requests)
            warm.append(child("step", kubeconfig))
        asked = [r.method for r in simulator.requests[before:] if r.user_agent.startswith("dagster-ray")]
        assert len(simulator.store.list("rayclusters")) == 1
    differences = [step - init for step, init in zip(warm, bare, strict=True)]
    print(f"cold: {cold:.2f} s")
    print(f"bare ray.init: median {statistics.median(bare):.2f} s of {[round(x, 2) for x in bare]}")
    print(f"warm acquire:  median {statistics.median(warm):.2f} s of {[round(x, 2) for x in warm]}")
    print(f"pair by pair:  median {statistics.median(differences):.2f} s of {[round(x, 2) for x in differences]}")
    print(f"requests of a warm step: {', '.join(asked)}")


def main(pairs: int) -> None:
    """Print all figures."""
    print("| steps at once | clusters | locks | errors | seconds to the last lock | requests of a step | |")
    print("|---|---|---|---|---|---|---|")
    for crowd in CROWDS:
        print(measure_crowd(crowd), flush=True)
    measure_warm(pairs)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["crowd", kubeconfig_, number]:
            print(json.dumps(take_all(kubeconfig_, int(number))))
        case ["step", kubeconfig_]:
            print(json.dumps(measure_step(kubeconfig_)))
        case ["bare", address_]:
            print(json.dumps(measure_bare(address_)))
        case rest:
            main(int(rest[0]) if rest else 5)

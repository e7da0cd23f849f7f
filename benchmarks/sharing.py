"""What sharing a KubeRay cluster costs.

    python benchmarks/sharing.py [--turns N] [--without-older] [--json FILE]

Runs on the simulator, so image pull, scheduling and network cost nothing here.

- crowd: 200 steps that take a shared cluster at the same moment, in threads of one process, with heads that answer as
  far as the wait needs. Clusters, errors, seconds from the start to the last lock, requests of a step. The floor is a
  POST and a PATCH of each with the kubernetes client.
- warm: seconds from the set-up of the resource to the result of the first remote task, on a shared cluster that is
  there; the floor is a bare `ray.init` at its head. Real Ray head; each measurement is a fresh process.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# ruff: noqa: PLC0415 - each process imports only what is in its own environment

import importlib
import logging
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from catalogue_of_clusters import CROWD, SHARING
from rivals import Collected, measured, parser_of, present, take_turns, tell

TIMEOUT_SECONDS = 120.0
PORT = 10001
CROWD_FIGURES = ("crowd-clusters", "crowd-errors", "crowd-seconds", "crowd-requests")
NAME = "bare"


def cluster(kubeconfig: str, packages: str = "") -> Any:
    """Return a resource that shares a cluster which is a head alone, whose image has these packages beside Ray."""
    from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, RayClusterConfig
    from dagster_ray.kuberay.groups import head_group

    group = head_group(cpus=1, memory="2Gi", num_cpus=2, env={"PYTHONPATH": packages} if packages else None)
    spec: dict[str, Any] = {"headGroupSpec": group, "workerGroupSpecs": []}
    given: dict[str, Any] = {
        "kubeconfig_file": kubeconfig,
        "access": "direct",
        "head_host": "{pod_ip}",
        "timeout": TIMEOUT_SECONDS,
        "ray_cluster": RayClusterConfig(spec=spec),
        "cluster_sharing": ClusterSharing(enabled=True, ttl_seconds=3600),
    }
    return KubeRayCluster(**given)


def older_cluster(kubeconfig: str, address: str) -> Any:
    """Return the same of the older project; it has no way to a head outside of the cluster's network but this."""
    module: Any = importlib.import_module("dagster_ray.kuberay")
    configs: Any = importlib.import_module("dagster_ray.kuberay.configs")
    client: Any = importlib.import_module("dagster_ray.kuberay.client")

    class Reached(module.KubeRayCluster):
        def resolve_hostname(self, service_name: str, namespace: str) -> str:  # noqa: ARG002
            return address

    # A resource key comes with a step of Dagster's; its labels are no part of what is measured.
    labels = configs.MatchDagsterLabels(code_location=False, resource_key=False, git_sha=False)
    return Reached(
        client=client.RayClusterClient(kube_config=kubeconfig),
        image="rayproject/ray",
        ray_cluster=module.RayClusterConfig(namespace="default"),
        cluster_sharing=configs.ClusterSharing(enabled=True, ttl_seconds=3600, match_dagster_labels=labels),
        timeout=TIMEOUT_SECONDS,
    )


def import_kubernetes() -> None:
    """Import what this project imports when its first step needs it, and the others before."""
    for name in ("client", "config"):
        importlib.import_module(f"kubernetes.{name}")


def older_context() -> Any:
    """Return what the older project asks of a context."""
    import dagster as dg

    run = dg.DagsterRun(job_name="benchmark", run_id=str(uuid.uuid4()))
    log = logging.getLogger("benchmark")
    return SimpleNamespace(log=log, run_id=run.run_id, dagster_run=run, run=run)


# A crowd


Take = Callable[[Callable[[], None]], None]
"""Takes the cluster, and calls what it is given when it has its lock."""


def at_once(prepared: Callable[[], Take]) -> dict[str, Any]:
    """Let a crowd take the cluster at once."""
    start = threading.Barrier(CROWD + 1)
    locked: list[float] = []
    errors: list[str] = []

    def one(take: Take) -> None:
        start.wait()
        try:
            take(lambda: locked.append(time.perf_counter()))
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"{type(error).__name__}: {error}"[:300])

    with ThreadPoolExecutor(CROWD) as threads:
        done = [threads.submit(one, prepared()) for _ in range(CROWD)]
        start.wait()
        begun = time.perf_counter()
        for each in done:
            each.result()
    return {"seconds": max(locked, default=begun) - begun, "errors": errors}


def our_crowd(kubeconfig: str) -> dict[str, Any]:
    """Take it with this project."""
    import dagster as dg

    import_kubernetes()

    def prepared() -> Take:
        context, resource = dg.build_init_resource_context(), cluster(kubeconfig)

        def take(locked: Callable[[], None]) -> None:
            try:
                resource.create(context)
                locked()
                resource.wait(context)
            finally:
                resource.release(context)

        return take

    return at_once(prepared)


def older_crowd(kubeconfig: str) -> dict[str, Any]:
    """Take it with the older project."""
    older_cluster(kubeconfig, "127.0.0.1")  # imports everything

    def prepared() -> Take:
        context = older_context()

        def take(locked: Callable[[], None]) -> None:
            resource = older_cluster(kubeconfig, "127.0.0.1")  # loads the kubeconfig, as the others do in this time
            resource.create(context)
            locked()
            resource.wait(context)

        return take

    return at_once(prepared)


def bare_crowd(kubeconfig: str) -> dict[str, Any]:
    """Create it and annotate it with the kubernetes client."""
    from kubernetes import client, config

    from dagster_ray.kuberay.groups import head_group

    group = head_group(cpus=1, memory="2Gi", num_cpus=2, image="rayproject/ray")
    metadata = {"name": NAME, "annotations": {}}
    body = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": {"headGroupSpec": group}}
    where = ("ray.io", "v1", "default", "rayclusters")

    def take(locked: Callable[[], None]) -> None:
        with config.new_client_from_config(kubeconfig) as api:
            calls = client.CustomObjectsApi(api)
            try:
                calls.create_namespaced_custom_object(*where, body)
            except client.ApiException as error:
                if error.status != 409:
                    raise
            note = {f"dagster/lock-{uuid.uuid4().hex[:16]}": "bare"}
            calls.patch_namespaced_custom_object(*where, NAME, {"metadata": {"annotations": note}})
            locked()

    return at_once(lambda: take)


def measure_crowd(rival: str, python: str) -> dict[str, float] | None:
    """Return what a rival's crowd has shown."""
    from dagster_ray.simulator import KubeletOptions, PodTimes, Simulator

    options = KubeletOptions(times=PodTimes(probe_grid_seconds=None))
    with Simulator(fake_heads=True, kubelet_options=options) as simulator:
        found = measured(__file__, f"{rival}-crowd", str(simulator.kubeconfig), python=python)
        asked = [r for r in simulator.requests if not r.user_agent.startswith("kuberay")]
        clusters = simulator.store.list("rayclusters")
    if found is None:
        return None
    kinds = Counter("watch" if request.is_watch else request.method for request in asked)
    print(f"{rival}: {dict(kinds)}, {sorted(set(found['errors']))[:3]}", file=sys.stderr)
    shown = (len(clusters), len(found["errors"]), found["seconds"], len(asked) / CROWD)
    return dict(zip(CROWD_FIGURES, shown, strict=True))


# A warm cluster


def first_task() -> None:
    """Run one remote task."""
    import ray

    def one() -> int:
        return 1

    task: Any = ray.remote(num_cpus=1)(one)
    assert ray.get(task.remote()) == 1


def warm_ours(kubeconfig: str, _: str, packages: str) -> float:
    """Return the seconds from the set-up of the resource to the first result."""
    import dagster as dg
    import ray  # noqa: F401  # pyright: ignore[reportUnusedImport] - imported before, as for ray.init

    from dagster_ray.core import run_phases

    import_kubernetes()
    resource, context = cluster(kubeconfig, packages), dg.build_init_resource_context()
    begun = time.perf_counter()
    with run_phases(resource, context):
        first_task()
        return time.perf_counter() - begun


def warm_older(kubeconfig: str, address: str, _: str) -> float:
    """Return the same of the older project."""
    importlib.import_module("ray.data")  # its connect imports it, which is not what is measured
    older_cluster(kubeconfig, address)  # imports everything
    context = older_context()
    begun = time.perf_counter()
    resource = older_cluster(kubeconfig, address)  # loads the kubeconfig, as this project does in this time
    with resource.yield_for_execution(context):
        first_task()
        return time.perf_counter() - begun


def warm_bare(_kubeconfig: str, address: str, _packages: str) -> float:
    """Return the seconds from `ray.init` to the first result."""
    import ray

    begun = time.perf_counter()
    ray.init(f"ray://{address}:{PORT}")
    first_task()
    seconds = time.perf_counter() - begun
    ray.shutdown()
    return seconds


def collect_warm(collected: Collected, turns: int, pythons: dict[str, str], packages: str) -> None:
    """Let the rivals take turns on one cluster, which the first step of this project makes."""
    from dagster_ray.simulator import Simulator

    with Simulator() as simulator:
        kubeconfig = str(simulator.kubeconfig)
        print(f"cold: {measured(__file__, 'ours-warm', kubeconfig, '', packages)}", file=sys.stderr)
        (made,) = simulator.store.list("rayclusters")
        address = made["status"]["head"]["podIP"]
        for rival in take_turns(turns, list(pythons)):
            found = measured(__file__, f"{rival}-warm", kubeconfig, address, packages, python=pythons[rival])
            collected.add(rival, found, ["warm-acquire"])
        if len(simulator.store.list("rayclusters")) != 1:
            raise RuntimeError("the cluster was not shared")


MEASURES: dict[str, Callable[..., Any]] = {
    "floor-crowd": bare_crowd,
    "ours-crowd": our_crowd,
    "older-crowd": older_crowd,
    "floor-warm": lambda *given: {"warm-acquire": warm_bare(*given)},
    "ours-warm": lambda *given: {"warm-acquire": warm_ours(*given)},
    "older-warm": lambda *given: {"warm-acquire": warm_older(*given)},
}


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(SHARING).parse_args()
    if given.measure:
        tell(MEASURES[given.measure[0]](*given.measure[1:]))
        return
    pythons, packages = {"floor": sys.executable, "ours": sys.executable}, ""
    if not given.without_older:
        from older_project import older_packages, older_python

        pythons["older"], packages = older_python(), older_packages()
    collected = Collected()
    for rival in take_turns(given.turns, list(pythons)):
        collected.add(rival, measure_crowd(rival, pythons[rival]), CROWD_FIGURES)
    collect_warm(collected, given.turns, pythons, packages)
    present(SHARING, collected, given.json)


if __name__ == "__main__":
    main()

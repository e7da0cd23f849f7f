"""What a step on KubeRay costs: `python benchmarks/interactive_step.py [--turns N] [--without-older]`.

Runs on the simulator with real local heads, so image pull, scheduling and network cost nothing here. Each measurement
is a fresh process. The rivals take turns, so that a machine whose speed drifts treats all alike:

- bare `ray.init` on a RayJob that somebody else has made;
- a step of this project's `KubeRayInteractiveJob`, on the way `direct`;
- a step of the older project's `KubeRayInteractiveJob`, in an environment of its own (see older_project.py). It knows
  no way to a head outside of the cluster's network; its documented `resolve_hostname` gets the head's address.

What is measured:

- requests that a happy step makes of the Kubernetes API, without its DELETE (budget: 4, whatever the step lasts);
- connect: seconds from the moment when the head's client port speaks HTTP/2 to the first line of the step, or to the
  return of `ray.init` that is called at that moment (budget: `ray.init` + 0.3 s);
- start: seconds from the creation of the RayJob to the first line of the step;
- import: `import dagster_ray.kuberay` on top of `import dagster` (budget: 60 ms, 4 MB).
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# ruff: noqa: PLC0415 - each process imports only what is in its own environment

import argparse
import importlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

# RFC 9113: a client's preface and an empty SETTINGS frame; the server answers with a SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PORT = 10001
PATIENCE_SECONDS = 120
AGENT = "benchmark"

IMPORT = """
import json, os, sys, time, dagster
def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before = megabytes()
start = time.perf_counter()
import dagster_ray.kuberay
seconds = time.perf_counter() - start
heavy = [name for name in ("ray", "kubernetes") if name in sys.modules]
print(json.dumps({"seconds": seconds, "megabytes": megabytes() - before, "heavy": heavy}))
"""


# In a process of its own


def accepts(host: str) -> bool:
    """Return whether a gRPC server answers."""
    try:
        with socket.create_connection((host, PORT), timeout=1) as connection:
            connection.sendall(PREFACE)
            return len(connection.recv(9)) > 3
    except OSError:
        return False


def wait_until_accepts(host: str) -> float:
    """Return the time at which the client port of a head spoke."""
    pause = threading.Event()
    end = time.perf_counter() + PATIENCE_SECONDS
    while time.perf_counter() < end:
        if accepts(host):
            return time.perf_counter()
        pause.wait(0.02)
    raise TimeoutError(f"{host}:{PORT} did not open")


def head_address(kubeconfig: str, name: str) -> str:
    """Return the address of the head pod of a RayJob, as soon as it has one."""
    from kubernetes import client, config

    pause = threading.Event()
    with config.new_client_from_config(kubeconfig) as api:
        api.user_agent = AGENT
        for _ in range(PATIENCE_SECONDS * 20):
            pods: Any = client.CoreV1Api(api).list_namespaced_pod("default", label_selector="ray.io/node-type=head")
            for pod in pods.items:
                if pod.metadata.name.startswith(name) and pod.status.pod_ip:
                    return pod.status.pod_ip
            pause.wait(0.05)
    raise TimeoutError("the head pod has no address")


def bare(kubeconfig: str, name: str, _: dict[str, Any]) -> tuple[float, float]:
    """Return when the port spoke, and when `ray.init`, called at that moment, returned."""
    import ray

    address = head_address(kubeconfig, name)
    opened = wait_until_accepts(address)
    ray.init(f"ray://{address}:{PORT}")
    connected = time.perf_counter()
    ray.shutdown()
    return opened, connected


def step_on(cluster: Any, kubeconfig: str, name: str) -> tuple[float, float]:
    """Return when the port spoke, and when the first line of a step on this resource ran."""
    import dagster as dg
    import ray  # noqa: F401  # pyright: ignore[reportUnusedImport] - imported before, as for ray.init

    opened: list[float] = []
    begun: list[float] = []

    @dg.op(required_resource_keys={"ray_cluster"})
    def step() -> None:
        begun.append(time.perf_counter())

    @dg.job(resource_defs={"ray_cluster": cluster}, executor_def=dg.in_process_executor)
    def job() -> None:
        step()

    watcher = threading.Thread(target=lambda: opened.append(wait_until_accepts(head_address(kubeconfig, name))))
    watcher.start()
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance)
    watcher.join()
    return opened[0], begun[0]


def ours(kubeconfig: str, name: str, spec: dict[str, Any], access: str = "direct") -> tuple[float, float]:
    """Measure a step of this project."""
    from dagster_ray.kuberay import KubeRayInteractiveJob

    given: dict[str, Any] = {"access": access, "head_host": "{pod_ip}" if access == "direct" else None}
    job = {"metadata": {"name": name}, "spec": spec}
    cluster = KubeRayInteractiveJob(
        kubeconfig_file=kubeconfig, ray_job=job, lifecycle={"cleanup": "always"}, timeout=PATIENCE_SECONDS, **given
    )
    return step_on(cluster, kubeconfig, name)


def forwarded(kubeconfig: str, name: str, spec: dict[str, Any]) -> tuple[float, float]:
    """Measure a step of this project on the way through the Kubernetes API."""
    return ours(kubeconfig, name, spec, "port_forward")


def older(kubeconfig: str, name: str, spec: dict[str, Any]) -> tuple[float, float]:
    """Measure a step of the older project."""
    package: Any = importlib.import_module("dagster_ray")
    module: Any = importlib.import_module("dagster_ray.kuberay")

    class Reached(module.KubeRayInteractiveJob):
        def resolve_hostname(self, service_name: str, namespace: str) -> str:  # noqa: ARG002
            return head_address(kubeconfig, name)

    cluster = Reached(
        ray_job={"metadata": {"name": name, "namespace": "default"}, "spec": snake_case(spec)},
        image="rayproject/ray",
        client=module.KubeRayJobClientResource(kube_config=kubeconfig),
        lifecycle=package.Lifecycle(cleanup="always"),
        timeout=PATIENCE_SECONDS,
    )
    return step_on(cluster, kubeconfig, name)


def snake_case(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec as models of Python take it."""
    cluster = spec["rayClusterSpec"]
    groups = {"head_group_spec": cluster["headGroupSpec"], "worker_group_specs": cluster["workerGroupSpecs"]}
    return {"ray_cluster_spec": groups}


KINDS: dict[str, Callable[[str, str, dict[str, Any]], tuple[float, float]]] = {
    "bare": bare,
    "ours": ours,
    "forwarded": forwarded,
    "older": older,
}


# In the process with the simulator


def spec_of(packages: str | None) -> dict[str, Any]:
    """Return a cluster that is a head alone, whose image has these packages beside Ray."""
    from dagster_ray.kuberay.groups import head_group

    env = None if packages is None else {"PYTHONPATH": packages}
    group = head_group(cpus=1, memory="2Gi", num_cpus=2, env=env)
    return {"rayClusterSpec": {"headGroupSpec": group, "workerGroupSpecs": []}}


def make_rayjob(simulator: Any, name: str) -> None:
    """Make a RayJob without dagster-ray."""
    job: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"submissionMode": "InteractiveMode", **spec_of(None)},
    }
    containers = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "rayproject/ray"
    simulator.store.create("rayjobs", job)


class Measured:
    """What one rival has shown."""

    def __init__(self, kind: str, python: str = sys.executable, packages: str | None = None) -> None:
        """Begin with nothing."""
        self.kind, self.python, self.spec = kind, python, spec_of(packages)
        self.connect: list[float] = []
        self.start: list[float] = []
        self.requests: list[str] = []

    def turn(self, simulator: Any) -> None:
        """Measure once, in a fresh process."""
        name = f"{self.kind}-{uuid.uuid4().hex[:6]}"
        created: list[float] = []

        def look(_: str, plural: str, obj: dict[str, Any]) -> None:
            if plural == "rayjobs" and obj["metadata"]["name"] == name:
                created.append(time.perf_counter())  # the system's clock: the same in every process

        unsubscribe, before = simulator.store.subscribe(look), len(simulator.requests)
        if self.kind == "bare":
            make_rayjob(simulator, name)
        command = [self.python, __file__, "--measure", self.kind, str(simulator.kubeconfig), name]
        env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [*command, json.dumps(self.spec)], check=False, capture_output=True, text=True, env=env, timeout=300
        )
        if done.returncode != 0:
            sys.exit(f"{self.kind} failed:\n{done.stdout[-3000:]}\n{done.stderr[-20000:]}")
        unsubscribe()
        if self.kind == "bare":
            simulator.store.delete("rayjobs", "default", name)
        opened, begun = json.loads(done.stdout.splitlines()[-1])
        self.connect.append(begun - opened)
        self.start.append(begun - created[0])
        self.requests.append(requests_of(simulator, before))

    def row(self, title: str) -> str:
        """Return a line of the table."""
        cost = "-"
        if self.kind in {"ours", "older"}:
            milliseconds, megabytes, heavy = import_cost(self.python, max(3, len(self.connect)))
            cost = f"{milliseconds:.0f} ms, {megabytes:.1f} MB, loads {', '.join(sorted(heavy)) or 'neither'}"
        requests = "-" if self.kind == "bare" else self.requests[-1]
        return f"| {title} | {requests} | {spread(self.connect)} | {spread(self.start)} | {cost} |"


def spread(values: list[float]) -> str:
    """Return the median and the extremes."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def requests_of(simulator: Any, before: int) -> str:
    """Return what a step has asked of the API since; the DELETE is the lifecycle `always` of this benchmark."""
    made = [r for r in simulator.requests[before:] if r.user_agent != AGENT and r.method != "DELETE"]
    kinds = Counter("port-forward stream" if "portforward" in r.path else _kind(r) for r in made)
    return f"{len(made)}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _kind(request: Any) -> str:
    return "watch" if request.is_watch else str(request.method)


def import_cost(python: str, times: int) -> tuple[float, float, set[str]]:
    """Return the medians of milliseconds and megabytes, and which of ray and kubernetes are loaded."""
    seconds: list[float] = []
    megabytes: list[float] = []
    heavy: set[str] = set()
    for _ in range(times):
        done = subprocess.run([python, "-c", IMPORT], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        seconds.append(found["seconds"])
        megabytes.append(found["megabytes"])
        heavy.update(found["heavy"])
    return statistics.median(seconds) * 1000, statistics.median(megabytes), heavy


def main(turns: int, *, with_older: bool) -> None:
    """Let the rivals take turns, and print a table."""
    from older_project import older_packages, older_python

    from dagster_ray.kuberay.testing import Simulator

    rivals = {"bare `ray.init`": Measured("bare"), "this project": Measured("ours")}
    if with_older:
        rivals["dagster-ray 0.4.8"] = Measured("older", older_python(), older_packages())
    rivals["this project, `port_forward`"] = Measured("forwarded")
    with Simulator() as simulator:
        for _ in range(turns):
            for rival in rivals.values():
                rival.turn(simulator)
    print(f"{turns} turns each: median (least to most)")
    print("| | requests of a step | first line after the port speaks | after the RayJob is made | import |")
    print("|---|---|---|---|---|")
    for title, rival in rivals.items():
        print(rival.row(title))
    init, step = (rivals[title].connect for title in ("bare `ray.init`", "this project"))
    print(f"this project - ray.init, turn by turn: {spread([b - a for a, b in zip(init, step, strict=True)])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a step on KubeRay costs.")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--without-older", action="store_true", help="make no environment for dagster-ray 0.4.8")
    parser.add_argument("--measure", nargs=4, metavar=("KIND", "KUBECONFIG", "NAME", "SPEC"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        kind, kubeconfig_, name_, spec_ = arguments.measure
        print("\n" + json.dumps(KINDS[kind](kubeconfig_, name_, json.loads(spec_))))
    else:
        main(arguments.turns, with_older=not arguments.without_older)

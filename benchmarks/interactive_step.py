"""What a step on KubeRay costs.

    python benchmarks/interactive_step.py [--turns N] [--without-older] [--json FILE]

Runs on the simulator with real local heads, so image pull, scheduling and network cost nothing here. Each measurement
is a fresh process. The rivals take turns:

- floor: bare `ray.init` on a RayJob that somebody else has made;
- ours: a step of this project's `KubeRayInteractiveJob`, on the way `direct`;
- hours: the same with `hours=True`, whose requests are counted;
- forwarded: the same through a port-forward;
- older: a step of the older project's `KubeRayInteractiveJob`, in an environment of its own (see older_project.py).
  It knows no way to a head outside of the cluster's network; its documented `resolve_hostname` gets the head's address.

The moment when the head accepts clients is that at which its client port speaks HTTP/2. Requests are counted without
the DELETE, which belongs to the lifecycle `always` of this benchmark.
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# ruff: noqa: PLC0415 - each process imports only what is in its own environment

import importlib
import json
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from catalogue import INTERACTIVE_STEP
from rivals import Collected, measured, parser_of, present, take_turns, tell

# RFC 9113: a client's preface and an empty SETTINGS frame; the server answers with a SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PORT = 10001
PATIENCE_SECONDS = 120
AGENT = "benchmark"
FIGURES = ("step-requests", "step-connect", "step-start")


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


def ours(
    kubeconfig: str, name: str, spec: dict[str, Any], access: str = "direct", *, hours: bool = False
) -> tuple[float, float]:
    """Measure a step of this project."""
    from dagster_ray.kuberay import KubeRayInteractiveJob

    given: dict[str, Any] = {"access": access, "head_host": "{pod_ip}" if access == "direct" else None, "hours": hours}
    job = {"metadata": {"name": name}, "spec": spec}
    cluster = KubeRayInteractiveJob(
        kubeconfig_file=kubeconfig, ray_job=job, lifecycle={"cleanup": "always"}, timeout=PATIENCE_SECONDS, **given
    )
    return step_on(cluster, kubeconfig, name)


def with_hours(kubeconfig: str, name: str, spec: dict[str, Any]) -> tuple[float, float]:
    """Measure a step of this project whose cluster is measured."""
    return ours(kubeconfig, name, spec, hours=True)


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


RIVALS: dict[str, Callable[[str, str, dict[str, Any]], tuple[float, float]]] = {
    "floor": bare,
    "ours": ours,
    "hours": with_hours,
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


def turn(simulator: Any, rival: str, python: str, packages: str | None) -> dict[str, float] | None:
    """Measure a rival once, in a fresh process."""
    name = f"{rival}-{uuid.uuid4().hex[:6]}"
    created: list[float] = []

    def look(_: str, plural: str, obj: dict[str, Any]) -> None:
        if plural == "rayjobs" and obj["metadata"]["name"] == name:
            created.append(time.perf_counter())  # the system's clock: the same in every process

    unsubscribe, before = simulator.store.subscribe(look), len(simulator.requests)
    if rival == "floor":
        make_rayjob(simulator, name)
    spec = json.dumps(spec_of(packages))
    found = measured(__file__, rival, str(simulator.kubeconfig), name, spec, python=python)
    unsubscribe()
    if any(job["metadata"]["name"] == name for job in simulator.store.list("rayjobs")):
        simulator.store.delete("rayjobs", "default", name)  # nobody else deletes the floor's, or a failed rival's
    if found is None:
        return None
    opened, begun = found
    made = kinds_of(simulator, before)
    print(f"{rival}: {sum(made.values())} requests: {dict(made)}", file=sys.stderr)
    return {"step-connect": begun - opened, "step-start": begun - created[0], "step-requests": sum(made.values())}


def kinds_of(simulator: Any, before: int) -> Counter[str]:
    """Return what a step has asked of the API since."""
    made = [r for r in simulator.requests[before:] if r.user_agent != AGENT and r.method != "DELETE"]
    return Counter("port-forward stream" if "portforward" in r.path else _kind(r) for r in made)


def _kind(request: Any) -> str:
    return "watch" if request.is_watch else str(request.method)


def counted(found: dict[str, float] | None) -> dict[str, float] | None:
    """Return the requests of a step, for the figure that compares a step with `hours` with one without."""
    return found and {"step-hours-requests": found["step-requests"]}


def collect(turns: int, *, with_older: bool) -> Collected:
    """Let the rivals take turns."""
    from older_project import older_packages, older_python

    from dagster_ray.simulator import Simulator

    rivals: dict[str, tuple[str, str | None]] = dict.fromkeys(
        ("floor", "ours", "hours", "forwarded"), (sys.executable, None)
    )
    if with_older:
        rivals["older"] = (older_python(), older_packages())
    collected = Collected()
    with Simulator() as simulator:
        for rival in take_turns(turns, list(rivals)):
            found = turn(simulator, rival, *rivals[rival])
            if rival == "forwarded":
                through = {"step-forwarded": "step-connect", "step-forwarded-requests": "step-requests"}
                collected.add("ours", found and {key: found[its] for key, its in through.items()}, list(through))
                continue
            if rival == "hours":
                collected.add("ours", counted(found), ["step-hours-requests"])
                continue
            if rival == "ours":
                collected.add("floor", counted(found), ["step-hours-requests"])
            collected.add(rival, found, FIGURES if rival != "floor" else FIGURES[1:])
            if rival == "floor":
                collected.add("floor", found and {"step-forwarded": found["step-connect"]}, ["step-forwarded"])
    return collected


def main() -> None:
    """Measure in turns, or be a rival."""
    given = parser_of(INTERACTIVE_STEP).parse_args()
    if given.measure:
        rival, kubeconfig, name, spec = given.measure
        tell(RIVALS[rival](kubeconfig, name, json.loads(spec)))
    else:
        collected = collect(given.turns, with_older=not given.without_older)
        present(INTERACTIVE_STEP, collected, given.json)


if __name__ == "__main__":
    main()

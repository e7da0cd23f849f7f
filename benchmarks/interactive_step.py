"""What a step on KubeRay costs: `python benchmarks/interactive_step.py [pairs]`.

Runs on the simulator with real local heads, so image pull, scheduling and network cost nothing here. Each measurement
is a fresh process. `ray.init` and the resource take turns, so that a machine whose speed drifts treats both alike.

- requests: what a happy step asks of the Kubernetes API, streams of a port-forward apart (budget: 4);
- connect: seconds from the moment when the head's client port speaks HTTP/2 to the first line of the step, and to the
  return of a bare `ray.init` that is called at that moment (budget: ray.init + 0.3 s);
- import: `import dagster_ray.kuberay` on top of `import dagster` (budget: 60 ms, 4 MB).
"""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

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
from typing import Any

# RFC 9113: a client's preface and an empty SETTINGS frame; the server answers with a SETTINGS frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PORT = 10001
PATIENCE_SECONDS = 120

IMPORT = """
import os, time, dagster
def megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before = megabytes()
start = time.perf_counter()
import dagster_ray.kuberay
seconds = time.perf_counter() - start
import sys
heavy = [name for name in ("ray", "kubernetes") if name in sys.modules]
print(seconds, megabytes() - before, heavy)
"""


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
    from kubernetes import client, config  # noqa: PLC0415

    pause = threading.Event()
    with config.new_client_from_config(kubeconfig) as api:
        for _ in range(PATIENCE_SECONDS * 20):
            pods: Any = client.CoreV1Api(api).list_namespaced_pod("default", label_selector="ray.io/node-type=head")
            for pod in pods.items:
                if pod.metadata.name.startswith(name) and pod.status.pod_ip:
                    return pod.status.pod_ip
            pause.wait(0.05)
    raise TimeoutError("the head pod has no address")


def spec() -> dict[str, Any]:
    """Return a cluster that is a head alone."""
    from dagster_ray.kuberay.groups import head_group  # noqa: PLC0415

    group = head_group(cpus=1, memory="2Gi", num_cpus=2)
    return {"rayClusterSpec": {"headGroupSpec": group, "workerGroupSpecs": []}}


def measure_bare(kubeconfig: str, name: str) -> float:
    """Return the seconds of `ray.init`, called when the port speaks."""
    import ray  # noqa: PLC0415

    opened = wait_until_accepts(head_address(kubeconfig, name))
    ray.init(f"ray://{head_address(kubeconfig, name)}:{PORT}")
    seconds = time.perf_counter() - opened
    ray.shutdown()
    return seconds


def measure_step(kubeconfig: str, name: str, access: str) -> float:
    """Return the seconds from the moment when the port speaks to the first line of the step."""
    import dagster as dg  # noqa: PLC0415
    import ray  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport] - imported before, as for ray.init

    from dagster_ray.core import run_phases  # noqa: PLC0415
    from dagster_ray.kuberay import KubeRayInteractiveJob  # noqa: PLC0415

    found: list[float] = []
    watcher = threading.Thread(target=lambda: found.append(wait_until_accepts(head_address(kubeconfig, name))))
    given: dict[str, Any] = {"access": access, "head_host": "{pod_ip}" if access == "direct" else None}
    job = {"metadata": {"name": name}, "spec": spec()}
    cluster = KubeRayInteractiveJob(
        kubeconfig_file=kubeconfig, ray_job=job, lifecycle={"cleanup": "always"}, timeout=PATIENCE_SECONDS, **given
    )
    watcher.start()
    with run_phases(cluster, dg.build_init_resource_context()):
        begun = time.perf_counter()
        watcher.join()
        return begun - found[0]


def child(kind: str, kubeconfig: str, name: str) -> float:
    """Return what a fresh process measures."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, __file__, "measure", kind, kubeconfig, name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


def bare_pair_side(simulator: Any, name: str) -> float:
    """Make a RayJob without dagster-ray, and measure `ray.init` on it."""
    job: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"submissionMode": "InteractiveMode", **spec()},
    }
    template = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    template["template"]["spec"]["containers"][0]["image"] = "rayproject/ray"
    simulator.store.create("rayjobs", job)
    seconds = child("bare", str(simulator.kubeconfig), name)
    simulator.store.delete("rayjobs", "default", name)
    return seconds


def requests_of(simulator: Any, before: int) -> str:
    """Return what dagster-ray has asked of the API since."""
    ours = [r for r in simulator.requests[before:] if r.user_agent.startswith("dagster-ray")]
    kinds = Counter("port-forward stream" if "portforward" in r.path else _kind(r) for r in ours)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _kind(request: Any) -> str:
    return "watch" if "watch=true" in request.path else str(request.method)


def import_cost(times: int) -> tuple[float, float, set[str]]:
    """Return the medians of milliseconds and megabytes, and what heavy modules were loaded."""
    lines = [
        subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True).stdout.split(" ", 2)
        for _ in range(times)
    ]
    seconds, megabytes = (statistics.median(float(line[i]) for line in lines) for i in (0, 1))
    return seconds * 1000, megabytes, {line[2].strip() for line in lines}


def main(pairs: int) -> None:
    """Print the figures."""
    from dagster_ray.kuberay.testing import Simulator  # noqa: PLC0415

    bare: list[float] = []
    steps: list[float] = []
    direct = ""
    with Simulator() as simulator:
        for _ in range(pairs):
            bare.append(bare_pair_side(simulator, f"bare-{uuid.uuid4().hex[:6]}"))
            before = len(simulator.requests)
            steps.append(child("direct", str(simulator.kubeconfig), f"step-{uuid.uuid4().hex[:6]}"))
            direct = requests_of(simulator, before)
        before = len(simulator.requests)
        forwarded = child("port_forward", str(simulator.kubeconfig), f"step-{uuid.uuid4().hex[:6]}")
        forward = requests_of(simulator, before)
    print(f"requests, direct:       {direct} (the DELETE is the lifecycle `always` of this benchmark)")
    print(f"requests, port_forward: {forward}")
    print(f"ray.init after the port speaks:   median {statistics.median(bare):.2f} s of {[round(x, 2) for x in bare]}")
    print(
        f"first line after the port speaks: median {statistics.median(steps):.2f} s of {[round(x, 2) for x in steps]}"
    )
    differences = [step - init for step, init in zip(steps, bare, strict=True)]
    print(f"difference pair by pair:          {[round(x, 2) for x in differences]} s")
    print(f"once by port_forward:             {forwarded:.2f} s")
    milliseconds, megabytes, heavy = import_cost(max(3, pairs))
    print(f"import dagster_ray.kuberay: {milliseconds:.0f} ms, {megabytes:.1f} MB on top of dagster; loads {heavy}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        _, _, kind_, kubeconfig_, name_ = sys.argv
        result = measure_bare(kubeconfig_, name_) if kind_ == "bare" else measure_step(kubeconfig_, name_, kind_)
        print(json.dumps(result))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

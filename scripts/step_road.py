"""The road of a step: which files of ours run from Dagster's call of the resource until the driver is connected.

A step runs in a fresh process on the simulator, whose head is a real Ray, and is traced from the call of
`yield_for_execution` until the step's body begins. What a module does at its import does not count.
"""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from json import dumps, loads
from pathlib import Path
from types import FrameType
from typing import Any

ROADS = ("job", "job-forwarded", "shared")
"""What is traced: an interactive RayJob on the direct way and through a port-forward, and a new shared cluster."""
MARK = "ROAD "
PATIENCE_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Road:
    """What a traced step has run.

    Attributes:
        files: Every file of ours with a function that ran, in order of its first call.
        calls: From which of our files into which other one, in order of the first such call. A call through a library,
            as of a callback, counts from the last function of ours below it.
        to_post: The functions of ours on the stack at the POST that creates the cluster, outermost first.
    """

    files: tuple[str, ...]
    calls: tuple[tuple[str, str], ...]
    to_post: tuple[str, ...]

    @property
    def control_flow(self) -> tuple[str, ...]:
        """The files that call into another file of ours."""
        callers = {caller for caller, _ in self.calls}
        return tuple(file for file in self.files if file in callers)


@dataclass(slots=True)
class Tracer:
    """Notes calls in all threads while it is on.

    Attributes:
        sources: The folders of our source.
        creates: The end of the path that creates the cluster.
    """

    sources: tuple[str, ...]
    creates: str
    files: dict[str, None] = field(default_factory=dict[str, None])
    calls: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    to_post: tuple[str, ...] = ()
    on: bool = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take one event of `sys.setprofile`."""
        if event != "call":
            return
        code = frame.f_code
        if not self.on:
            self.on = code.co_name == "yield_for_execution" and self._file(frame) is not None
        if self.on and code.co_name == "putrequest" and code.co_filename.endswith("http/client.py"):
            self._request(frame)
        if self.on and (file := self._file(frame)) is not None:
            self._called(frame, file)

    def _called(self, frame: FrameType, file: str) -> None:
        """Note a call of a function of ours, unless an import makes it."""
        below = list(self._ours_below(frame))
        if any(caller.f_code.co_name == "<module>" for caller in (frame, *below)):
            return
        self.files[file] = None
        caller = self._file(below[0]) if below else None
        if caller is not None and caller != file:
            self.files[caller] = None
            self.calls[caller, file] = None

    def _request(self, frame: FrameType) -> None:
        method, url = frame.f_locals.get("method"), str(frame.f_locals.get("url"))
        if not self.to_post and method == "POST" and url.partition("?")[0].endswith(self.creates):
            sender = _outermost_of_urllib3(frame)
            functions = [f"{self._file(caller)}: {caller.f_code.co_name}" for caller in self._ours_below(sender)]
            self.to_post = tuple(reversed(functions))

    def _ours_below(self, frame: FrameType) -> Iterator[FrameType]:
        """Yield the frames of ours below one, innermost first."""
        caller = frame.f_back
        while caller is not None:
            if self._file(caller) is not None:
                yield caller
            caller = caller.f_back

    def _file(self, frame: FrameType) -> str | None:
        """Return the file of a frame, from `dagster_ray/` on; None if it is not ours."""
        name = frame.f_code.co_filename
        return next((name.removeprefix(source) for source in self.sources if name.startswith(source)), None)


def _outermost_of_urllib3(frame: FrameType) -> FrameType:
    """Return the call that handed a request over to urllib3: what urllib3 calls back belongs to the sending."""
    found, caller = frame, frame.f_back
    while caller is not None:
        if "/urllib3/" in caller.f_code.co_filename:
            found = caller
        caller = caller.f_back
    return found


def resource_of(road: str, kubeconfig: str) -> tuple[Any, str]:
    """Return the resource of a traced step, and the end of the path that creates its cluster."""
    # Imported in the process that is traced.
    from dagster_ray.kuberay import ClusterSharing, KubeRayCluster, KubeRayInteractiveJob, RayClusterConfig  # noqa: PLC0415
    from dagster_ray.kuberay.groups import head_group  # noqa: PLC0415

    spec: dict[str, Any] = {"headGroupSpec": head_group(cpus=1, memory="2Gi", num_cpus=1), "workerGroupSpecs": []}
    way = {"access": "port_forward"} if road == "job-forwarded" else {"access": "direct", "head_host": "{pod_ip}"}
    given: dict[str, Any] = {"kubeconfig_file": kubeconfig, "timeout": PATIENCE_SECONDS, **way}
    if road == "shared":
        sharing = ClusterSharing(enabled=True, ttl_seconds=600)
        return KubeRayCluster(ray_cluster=RayClusterConfig(spec=spec), cluster_sharing=sharing, **given), "/rayclusters"
    return KubeRayInteractiveJob(ray_job={"spec": {"rayClusterSpec": spec}}, **given), "/rayjobs"


def traced(root: Path, road: str, kubeconfig: str) -> Road:
    """Run a step in this process and return its road."""
    import dagster as dg  # noqa: PLC0415
    import ray  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]

    resource, creates = resource_of(road, kubeconfig)
    tracer = Tracer(tuple(f"{source}/" for source in root.glob("packages/*/src")), creates)

    @dg.op(required_resource_keys={"ray_cluster"})
    def step() -> None:
        tracer.on = False
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]

    @dg.job(resource_defs={"ray_cluster": resource}, executor_def=dg.in_process_executor)
    def job() -> None:
        step()

    with dg.DagsterInstance.ephemeral() as instance:
        threading.setprofile(tracer)
        sys.setprofile(tracer)
        job.execute_in_process(instance=instance)
    return Road(tuple(tracer.files), tuple(tracer.calls), tracer.to_post)


def road_of(root: Path, road: str, kubeconfig: str) -> Road:
    """Trace a step in a fresh process."""
    command = [sys.executable, __file__, str(root), road, kubeconfig]
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_SECONDS)
    told = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not told:
        raise RuntimeError(f"the step {road} ended with {done.returncode}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = loads(told[-1].removeprefix(MARK))
    return Road(tuple(found["files"]), tuple((a, b) for a, b in found["calls"]), tuple(found["to_post"]))


def main() -> None:
    """Be the process that is traced."""
    root, road, kubeconfig = sys.argv[1:]
    print(f"\n{MARK}{dumps(asdict(traced(Path(root), road, kubeconfig)))}", flush=True)


if __name__ == "__main__":
    main()

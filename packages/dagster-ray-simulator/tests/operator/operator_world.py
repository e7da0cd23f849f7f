"""An operator, a node and a store in one thread, with a clock that jumps. No Ray, no network."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from typing_extensions import override

from dagster_ray.simulator._api.store import Store
from dagster_ray.simulator._kubelet.fake_node import IdleNode
from dagster_ray.simulator._kubelet.kubelet import Kubelet, KubeletOptions
from dagster_ray.simulator._kubelet.nodes import NodeOrder
from dagster_ray.simulator._kubelet.pod_life import PodTimes
from dagster_ray.simulator._operator.conditions import condition
from dagster_ray.simulator._operator.dashboard import DashboardCall
from dagster_ray.simulator._operator.loop import Operator, OperatorOptions
from dagster_ray.simulator._operator.running import Limits

START = datetime(2026, 1, 1, tzinfo=UTC)


def container(**more: Any) -> dict[str, Any]:
    return {"name": "ray-head", "image": "rayproject/ray:2.60.0", **more}


def cluster_spec(workers: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    head = {"rayStartParams": {"num-cpus": "2"}, "template": {"spec": {"containers": [container()]}}}
    spec: dict[str, Any] = {"rayVersion": "2.60.0", "headGroupSpec": head, **more}
    return spec if workers is None else {**spec, "workerGroupSpecs": workers}


def group(name: str = "small", **more: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [container(name="ray-worker")]}}
    return {"groupName": name, "replicas": 1, "minReplicas": 0, "maxReplicas": 3, "template": template, **more}


def rayjob(**spec: Any) -> dict[str, Any]:
    full = {"submissionMode": "InteractiveMode", "rayClusterSpec": cluster_spec(), **spec}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "job", "namespace": "ns"}, "spec": full}


def raycluster(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "cluster", "namespace": "ns"}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": cluster_spec(**spec)}


class QuickNode(IdleNode):
    """A Ray node that is ready one second after its start."""

    def __init__(self, world: "World") -> None:
        super().__init__("10.0.0.1")
        self._world = world
        self._since = START

    @override
    def start(self) -> None:
        super().start()
        self.gcs_open = self.ready = False
        self._since = self._world.clock

    @override
    def poll(self) -> None:
        self.gcs_open = self.ready = (self._world.clock - self._since).total_seconds() >= 1


class World:
    """Everything, and the time."""

    def __init__(self, version: str = "1.7.0", times: PodTimes | None = None, **options: Any) -> None:
        self.clock = START
        self.jobs: dict[str, dict[str, Any]] = {}
        self.calls: list[DashboardCall] = []
        self.dashboard_down = False
        self.store = Store(lambda: self.clock)
        self.pod_events: list[tuple[float, str, str]] = []
        self.store.subscribe(self._on_change)
        kubelet_options = KubeletOptions(times=times or PodTimes(), nodes=self._node, now=lambda: self.clock)
        self.kubelet = Kubelet(self.store, fake_heads=True, options=kubelet_options)
        limits = options.pop("limits", Limits())
        self.operator = Operator(
            self.store,
            version,
            dashboard=self._dashboard,
            options=OperatorOptions(limits=limits, now=lambda: self.clock, seed=1, **options),
        )
        self.kubelet.watch()
        self.operator.watch()

    def _on_change(self, kind: str, plural: str, obj: dict[str, Any]) -> None:
        if plural == "events" and kind != "DELETED" and obj["involvedObject"]["kind"] == "Pod":
            seconds = (self.clock - START).total_seconds()
            self.pod_events.append((seconds, str(obj["reason"]), str(obj["message"])))

    def _node(self, order: NodeOrder) -> QuickNode:
        return QuickNode(self)

    def _dashboard(self, call: DashboardCall) -> tuple[int, str]:
        self.calls.append(call)
        if self.dashboard_down:
            raise ConnectionRefusedError(call.path)
        if call.method == "POST" and call.path == "/api/jobs/" and call.body is not None:
            self.jobs[call.body["submission_id"]] = {"status": "PENDING"}
        known = self.jobs.get(call.path.removeprefix("/api/jobs/"))
        return (404, "Job does not exist") if known is None else (200, json.dumps(known))

    def create(self, obj: dict[str, Any]) -> None:
        self.store.create(f"{obj['kind'].lower()}s", obj)

    def merge(self, plural: str, name: str, body: dict[str, Any]) -> None:
        self.store.patch(plural, "ns", name, body, "application/merge-patch+json")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock + timedelta(seconds=seconds)
        loops = (*self.operator.loops, self.kubelet.loop)
        while True:
            if any(loop.run_one() for loop in loops):
                self.clock += timedelta(milliseconds=1)
                continue
            due = [when for loop in loops if (when := loop.schedule.next_due()) is not None]
            if not due or min(due) > end:
                break
            self.clock = max(self.clock, min(due))
        self.clock = max(self.clock, end)

    def job(self) -> dict[str, Any]:
        """The status of the RayJob."""
        found = self.store.get("rayjobs", "ns", "job")
        return {} if found is None else found.get("status") or {}

    def cluster(self) -> dict[str, Any]:
        """The only RayCluster; empty when there is none."""
        found = self.store.list("rayclusters")
        return found[0] if found else {}

    def pods(self, node_type: str | None = None) -> list[dict[str, Any]]:
        pods = self.store.list("pods")
        return [pod for pod in pods if node_type in {None, pod["metadata"]["labels"]["ray.io/node-type"]}]

    def told(self) -> list[tuple[str, str]]:
        """Reason and message of each event about RayJobs and RayClusters."""
        kinds = {"RayJob", "RayCluster"}
        events = self.store.list("events")
        return [(item["reason"], item["message"]) for item in events if item["involvedObject"]["kind"] in kinds]

    def condition(self, kind: str) -> tuple[str, str, str] | None:
        """Status, reason and message of a condition of the RayCluster."""
        found = condition(self.cluster(), kind)
        return None if found is None else (found["status"], found["reason"], found["message"])

    def until_waiting(self) -> None:
        """Create an interactive RayJob and let its cluster become ready."""
        self.create(rayjob(shutdownAfterJobFinishes=True))
        self.run(5)
        assert self.job()["jobDeploymentStatus"] == "Waiting"

    def until_running(self) -> None:
        """Let an interactive RayJob run."""
        self.until_waiting()
        self.jobs["01000000"] = {"status": "RUNNING", "start_time": 1_790_000_000_000}
        self.merge("rayjobs", "job", {"spec": {"jobId": "01000000"}})
        self.run(0.5)
        assert self.job()["jobStatus"] == "RUNNING"

"""Replay a recording against the simulated operator: no Ray, no network, no threads, and a clock that jumps."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from compared_states import cluster_state, event_state, job_state, without_repeats
from typing_extensions import override

from dagster_ray.simulator._api.schema import admit
from dagster_ray.simulator._api.store import Store
from dagster_ray.simulator._kubelet.fake_node import IdleNode
from dagster_ray.simulator._kubelet.kubelet import Kubelet, KubeletOptions
from dagster_ray.simulator._kubelet.nodes import NodeOrder
from dagster_ray.simulator._kubelet.pod_life import PodTimes
from dagster_ray.simulator._operator.dashboard import DashboardCall
from dagster_ray.simulator._operator.loop import Operator, OperatorOptions
from dagster_ray.simulator._operator.names import labels_of, name_of
from dagster_ray.simulator._operator.running import Limits

RECORDINGS = Path(__file__).parents[4] / "tests-integration/recordings/operator"
START = datetime(2026, 1, 1, tzinfo=UTC)
STOP_SECONDS = 2.2
SLOW_IMAGE = re.compile(r"slow-\d+")
EARLY_SECONDS = 0.15  # a pod is looked at every 0.1 s
TICK = timedelta(milliseconds=1)


def recordings() -> list[tuple[str, str]]:
    """Version and scenario of each recording."""
    return sorted((file.parent.name, file.stem) for file in RECORDINGS.glob("*/*.json"))


def recorded(version: str, scenario: str) -> dict[str, Any]:
    """Return one recording."""
    return json.loads((RECORDINGS / version / f"{scenario}.json").read_text(encoding="utf-8"))


class ReplayedNode(IdleNode):
    """A Ray node that is ready as late as a recorded one."""

    def __init__(self, replay: "Replay", seconds: Mapping[str, Any], number: int) -> None:
        super().__init__(f"10.0.0.{number}")
        self._replay = replay
        self._seconds = seconds
        self._since = replay.now()
        self._stopping: datetime | None = None

    @override
    def start(self) -> None:
        self.exit_code = None

    @override
    def poll(self) -> None:
        passed = (self._replay.now() - self._since).total_seconds()
        self.gcs_open = passed >= self._replay.head_seconds
        self.ready = passed >= self._seconds.get("ready", 1e9) - EARLY_SECONDS
        if self._stopping is not None and self._replay.now() >= self._stopping:
            self.exit_code = 137

    @override
    def stop(self, grace_seconds: float) -> None:
        self._stopping = self._replay.now() + timedelta(seconds=STOP_SECONDS)

    @override
    def close(self) -> None:
        self.exit_code = 137


class Replay:
    """One recording against a fresh operator."""

    def __init__(self, version: str, recording: Mapping[str, Any]) -> None:
        self.clock = START
        self.recording = recording
        self.pods = [dict(seconds) for seconds in recording["pods"]]
        self.head_seconds = min((pod["joined"] for pod in self.pods if "joined" in pod), default=1.0)
        self.seen: dict[str, dict[str, list[Any]]] = {"rayjobs": {}, "rayclusters": {}}
        self.events: list[list[str]] = []
        self._names: dict[str, str] = {}
        self._submitted = False
        self.store = Store(self.now, admit=lambda kind, obj, old: admit(kind, obj, version, old).object)  # pyright: ignore[reportArgumentType]
        images = {
            image: float(image.rpartition("-")[2]) for image in SLOW_IMAGE.findall(json.dumps(recording["calls"]))
        }
        # The pods of the recordings were started by processes, whose back-off began a little later than a kubelet's.
        times = PodTimes(slow_images=images, image_backoff_seconds=14.0)
        options = KubeletOptions(times=times, nodes=self._node, now=self.now)
        self.kubelet = Kubelet(self.store, fake_heads=True, options=options)
        limits = Limits(status_check_seconds=recording["status_check_seconds"])
        self.operator = Operator(
            self.store,
            version,
            dashboard=self._dashboard,
            options=OperatorOptions(limits=limits, now=self.now, seed=1),
        )

    def now(self) -> datetime:
        return self.clock

    def run(self) -> None:
        """Do the client's calls at their times, and everything that falls due between them."""
        self.store.subscribe(self._on_change)
        self.kubelet.watch()
        self.operator.watch()
        for call in self.recording["calls"]:
            self._until(START + timedelta(seconds=call["t"]))
            self._call(call)
        self._until(START + timedelta(seconds=self.recording["until"] + 5))

    def _until(self, moment: datetime) -> None:
        loops = (*self.operator.loops, self.kubelet.loop)
        while True:
            if self._one_piece(loops):
                continue
            due = [when for loop in loops if (when := loop.schedule.next_due()) is not None]
            if not due or min(due) > moment:
                break
            self.clock = max(self.clock, min(due))
        self.clock = max(self.clock, moment)

    def _one_piece(self, loops: tuple[Any, ...]) -> bool:
        """Do one piece of what is due; it takes a moment, so that no two things happen at once."""
        for loop in loops:
            if loop.run_one():
                self.clock += TICK
                return True
        return False

    def _call(self, call: Mapping[str, Any]) -> None:
        plural, namespace = call["plural"], call["namespace"]
        if call["method"] == "POST":
            self.store.create(plural, call["object"])
        elif call["method"] == "PATCH":
            self.store.patch(plural, namespace, call["name"], call["body"], call["content_type"])
        elif call["method"] == "DELETE":
            name = self._pod(namespace, call["name"]) if plural == "pods" else call["name"]
            self.store.delete(plural, namespace, name, propagation=call.get("propagation", "Background"))

    def _pod(self, namespace: str, node_type: str) -> str:
        pods = self.store.list("pods", namespace)
        return next(name_of(pod) for pod in pods if labels_of(pod)["ray.io/node-type"] == node_type)

    def _node(self, order: NodeOrder) -> ReplayedNode:
        kind = "head" if order.is_head else "worker"
        mine = next((pod for pod in self.pods if pod["type"] == kind), {"type": kind})
        if mine in self.pods:
            self.pods.remove(mine)
        return ReplayedNode(self, mine, len(self.recording["pods"]) - len(self.pods))

    def _dashboard(self, call: DashboardCall) -> tuple[int, str]:
        passed = (self.clock - START).total_seconds()
        script = self.recording["dashboard"]
        self._submitted = self._submitted or (call.method == "POST" and call.path == "/api/jobs/")
        answers = [answer for answer in script if answer["t"] <= passed] or (script[:1] if self._submitted else [])
        now = answers[-1] if answers else {"outcome": "absent"}
        if now["outcome"] == "failed":
            raise ConnectionRefusedError(call.path)
        return (200, json.dumps(now["details"])) if now["outcome"] == "job" else (404, "Job does not exist")

    def _on_change(self, kind: str, plural: str, obj: dict[str, Any]) -> None:
        if plural == "events" and kind == "ADDED":
            self.events.append(event_state(obj))
        if plural not in self.seen:
            return
        name = self._names.setdefault(obj["metadata"]["uid"], str(sum(len(seen) for seen in self.seen.values())))
        states = self.seen[plural].setdefault(name, [])
        if kind == "DELETED":
            states.append("gone")
        else:
            states.append(job_state(obj) if plural == "rayjobs" else cluster_state(obj.get("status") or {}))

    def states(self, plural: str) -> list[list[Any]]:
        """The states of each object of a resource, in the order in which they came."""
        return [without_repeats(seen) for seen in self.seen[plural].values()]

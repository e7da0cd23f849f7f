"""The simulated node: schedules pods, runs them, writes their status and events, ends them."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.simulator._api.store import Refused
from dagster_ray.simulator._kubelet.fake_node import FakeJobs, FakeRayNode, FakeRows, IdleNode
from dagster_ray.simulator._kubelet.nodes import GCS_PORT, Node, NodeFactory, NodeOrder
from dagster_ray.simulator._kubelet.pod_env import container_env, insufficient, start_params
from dagster_ray.simulator._kubelet.pod_life import NODE_NAME, PodKey, PodLife, PodTimes
from dagster_ray.simulator._kubelet.ray_node import RayNode
from dagster_ray.simulator._operator.names import (
    NODE_TYPE_LABEL,
    EventFacts,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
)
from dagster_ray.simulator._operator.writes import EventRecorder, ObjectStore
from dagster_ray.simulator._schedule import Schedule, ScheduleThread

_LOG_BYTES = 64 * 1024


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class KubeletOptions:
    """How the simulated node behaves.

    Attributes:
        times: How long things take.
        capacity: What the node has; a resource that is absent it has not.
        crashing_images: Parts of names of images whose container exits with code 1 at once, a sidecar's as well.
        crash_log: What such a container prints.
        image_folder: The working directory of every image; a container's `workingDir` wins. None, and a folder that
            this machine does not have, mean an empty one.
        nodes: Makes what a Ray pod runs; None for real Ray nodes, or fake ones with `fake_heads`.
        now: The clock.
    """

    times: PodTimes = field(default_factory=PodTimes)
    capacity: Mapping[str, str] = field(default_factory=lambda: {"cpu": "64", "memory": "256Gi"})
    crashing_images: tuple[str, ...] = ("crashing",)
    crash_log: str = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'ray'\n"
    image_folder: str | None = None
    nodes: NodeFactory | None = None
    now: Callable[[], datetime] = _utc_now


class Kubelet:
    """Runs every pod of a store. Implements `PodRuntime`.

    Args:
        store: The objects.
        fake_heads: Whether Ray pods run without Ray.
        options: How it behaves.
    """

    def __init__(self, store: ObjectStore, *, fake_heads: bool = False, options: KubeletOptions | None = None) -> None:
        self.options = options or KubeletOptions()
        self.times = self.options.times
        self.may_connect: Callable[[str, str], bool] = lambda _token, _namespace: True
        """Whether the owner of a token may connect to Rays of a namespace, where heads ask Kubernetes."""
        self.now = self.options.now
        self._store = store
        self._events = EventRecorder.on(store, self.now)
        self._nodes: NodeFactory = self.options.nodes or (FakeRayNode if fake_heads else RayNode)
        self._lives: dict[PodKey, PodLife] = {}
        self._lock = threading.Lock()
        self._addresses = 0
        self.loop = ScheduleThread(Schedule[PodKey](self.now), self._step, "simulated-kubelet")
        self._unsubscribe: Callable[[], None] | None = None

    def watch(self) -> None:
        """Listen to the store, and take the pods that are there."""
        self._unsubscribe = self._store.subscribe(self._on_change)
        for pod in self._store.list("pods"):
            self._on_change("ADDED", "pods", pod)

    def start(self) -> None:
        """Watch, and start the thread."""
        self.watch()
        self.loop.start()

    def stop(self) -> None:
        """End the thread and everything that runs in pods; the pods stay as they are."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self.loop.stop()
        with self._lock:
            lives = list(self._lives.values())
            self._lives.clear()
        enders = [threading.Thread(target=life.node.close) for life in lives if life.node is not None]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    # PodRuntime

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int] | None:
        """Where a pod's port listens on this machine now; None when nothing listens."""
        node = self._node(namespace, pod)
        return None if node is None else node.address(port)

    def log(self, namespace: str, pod: str, container: str | None = None, *, previous: bool = False) -> str:
        """What a pod's container printed, or printed before its last restart."""
        del container
        with self._lock:
            life = self._lives.get((namespace, pod))
        if life is None:
            return ""
        if previous:
            return life.previous_log
        return life.node.log() if life.node is not None else ""

    # For tests

    def kill_pod(self, namespace: str, name: str) -> None:
        """Delete a pod, as an eviction does; its owner makes a new one."""
        self._store.delete("pods", namespace, name)

    def crash_container(self, namespace: str, name: str) -> None:
        """End what runs in a pod; the container is restarted in place after a back-off."""
        node = self._node(namespace, name)
        if node is not None:
            node.stop(0)

    def fake_jobs(self, namespace: str, cluster: str) -> FakeJobs:
        """The jobs that the fake dashboard of a cluster tells; gone with its head pod.

        Raises:
            LookupError: The cluster has no fake head now.
        """
        return self._fake_head(namespace, cluster).jobs

    def fake_rows(self, namespace: str, cluster: str) -> FakeRows:
        """The tasks and actors that the state API of a fake dashboard lists.

        Raises:
            LookupError: The cluster has no fake head now.
        """
        return self._fake_head(namespace, cluster).rows

    def _fake_head(self, namespace: str, cluster: str) -> FakeRayNode:
        for pod in self._store.list("pods", namespace):
            labels = labels_of(pod)
            if labels.get(CLUSTER_LABEL) == cluster and labels.get(NODE_TYPE_LABEL) == "head":
                node = self._node(namespace, name_of(pod))
                if isinstance(node, FakeRayNode):
                    return node
        raise LookupError(f"{namespace}/{cluster} has no fake head now")

    # PodHost

    def read(self, key: PodKey) -> dict[str, Any] | None:
        """The pod as it is stored."""
        return self._store.get("pods", *key)

    def write(self, key: PodKey, status: Mapping[str, Any], node_name: str | None = None) -> None:
        """Write the pod's status, and its node; a conflict or a pod that is gone changes nothing."""
        pod = self.read(key)
        if pod is None:
            return
        try:
            if node_name is not None:
                pod = self._store.replace("pods", {**pod, "spec": {**pod["spec"], "nodeName": node_name}})
            self._store.replace_status("pods", {**pod, "metadata": _unversioned(pod), "status": dict(status)})
        except Refused:
            return

    def tell(self, key: PodKey, reason: str, message: str, *, warning: bool = False, scheduler: bool = False) -> None:
        """Write an event about the pod, in the style of the scheduler or of the kubelet."""
        pod = self.read(key)
        if pod is None:
            return
        reporter = "default-scheduler" if scheduler else "kubelet"
        facts = EventFacts(pod, reason, message, reporter, "Binding" if scheduler else "", warning)
        if scheduler:
            self._events.tell(facts, new_style=True)
            return
        container = mappings(at(pod, "spec", "containers"))[0].get("name")
        self._events.tell(facts, new_style=False, host=NODE_NAME, field_path=f"spec.containers{{{container}}}")

    def lacking(self, pod: Mapping[str, Any]) -> tuple[str, ...]:
        """The resources that the node has too little of for the pod."""
        own = (namespace_of(pod), name_of(pod))
        return insufficient(pod, self._placed(own), self.options.capacity)

    def _placed(self, own: PodKey) -> Iterable[Mapping[str, Any]]:
        for other in self._store.list("pods"):
            if (namespace_of(other), name_of(other)) != own and at(other, "spec", "nodeName"):
                yield other

    def make_node(self, pod: Mapping[str, Any]) -> Node:
        """What the pod runs.

        Raises:
            MissingConfigError: A Secret or ConfigMap is not there.
        """
        namespace = namespace_of(pod)
        container = mappings(at(pod, "spec", "containers"))[0]
        image, folder = str(container.get("image") or ""), container.get("workingDir") or self.options.image_folder
        env = container_env(pod, lambda plural, name: self._store.get(plural, namespace, name))
        if self.crashes(image):
            return IdleNode(self._plain_address(), 1, self.options.crash_log)
        node_type = labels_of(pod).get(NODE_TYPE_LABEL)
        if node_type is None:
            return IdleNode(self._plain_address())

        def head_gcs() -> tuple[str, int] | None:
            head = self._head_node(pod)
            return None if head is None else head.address(GCS_PORT)

        def admits(token: str) -> bool:
            return self.may_connect(token, namespace)

        return self._nodes(
            NodeOrder(
                namespace,
                name_of(pod),
                node_type == "head",
                start_params(env),
                env,
                env.get("RAY_AUTH_TOKEN") if env.get("RAY_AUTH_MODE") == "token" else None,
                admits if env.get("RAY_ENABLE_K8S_TOKEN_AUTH") == "true" else None,
                head_gcs,
                None if folder is None else str(folder),
            )
        )

    def head_gcs_open(self, pod: Mapping[str, Any]) -> bool:
        """Whether the head of the pod's cluster can be joined."""
        head = self._head_node(pod)
        if head is not None:
            head.poll()
        return head is not None and head.gcs_open

    def crashes(self, image: str) -> bool:
        """Whether a container of this image ends at once."""
        return any(part in image for part in self.options.crashing_images)

    def is_worker(self, pod: Mapping[str, Any]) -> bool:
        """Whether the pod is a Ray worker."""
        return labels_of(pod).get(NODE_TYPE_LABEL) == "worker"

    def remove(self, key: PodKey) -> None:
        """Take the pod away."""
        self._store.remove("pods", *key)

    # Inside

    def _node(self, namespace: str, pod: str) -> Node | None:
        with self._lock:
            life = self._lives.get((namespace, pod))
        return None if life is None else life.node

    def _plain_address(self) -> str:
        self._addresses += 1
        return f"10.77.{1 + self._addresses // 250}.{1 + self._addresses % 250}"

    def _head_node(self, pod: Mapping[str, Any]) -> Node | None:
        cluster = labels_of(pod).get(CLUSTER_LABEL)
        for other in self._store.list("pods", namespace_of(pod)):
            labels = labels_of(other)
            same = cluster is not None and labels.get(CLUSTER_LABEL) == cluster
            if same and labels.get(NODE_TYPE_LABEL) == "head" and not is_terminating(other):
                return self._node(namespace_of(other), name_of(other))
        return None

    def _on_change(self, kind: str, plural: str, pod: dict[str, Any]) -> None:
        if plural == "pods" and (kind != "MODIFIED" or is_terminating(pod)):
            self.loop.schedule.add((namespace_of(pod), name_of(pod)))

    def _step(self, key: PodKey) -> None:
        pod = self.read(key)
        with self._lock:
            life = self._lives.get(key)
        uid = str(mapping(mapping(pod).get("metadata")).get("uid"))
        if life is not None and (pod is None or life.uid != uid):
            self._forget(key, life)
            life = None
        if pod is None:
            return
        if life is None:
            life = PodLife(key, uid, self)
            with self._lock:
                self._lives[key] = life
        if is_terminating(pod) and not life.dying:
            self.loop.schedule.drop(key)
            life.die()
        delay = life.step()
        if delay is not None:
            self.loop.schedule.add(key, self.now() + timedelta(seconds=delay))

    def _forget(self, key: PodKey, life: PodLife) -> None:
        with self._lock:
            self._lives.pop(key, None)
        if life.node is not None:
            life.node.close()


def _unversioned(pod: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in pod["metadata"].items() if name != "resourceVersion"}

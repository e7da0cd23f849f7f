"""Watches the pods of a cluster, and reads the nodes that they are on, for as long as a step uses it."""

import logging
import threading
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._hours.figures import Node
from dagster_ray.kuberay._hours.pods import PodHistory
from dagster_ray.kuberay._kubernetes.errors import UnavailableError
from dagster_ray.kuberay._kubernetes.fields import at, mapping, quantity
from dagster_ray.kuberay._kubernetes.kinds import NODES, PODS
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_LOOK_SECONDS, _FIRST_LOOK_SECONDS, _JOIN_SECONDS = 0.5, 0.05, 2.0
_NODE_SECONDS = 5.0


class PodWatch:
    """Notes when the pods of a cluster get a node and when they end, from its construction until `close`."""

    def __init__(
        self, api: "KubernetesApi", namespace: str, cluster: str, log: logging.Logger, *, reads_nodes: bool
    ) -> None:
        """Start: a list of the pods, and a watch.

        Args:
            api: The Kubernetes API.
            namespace: The cluster's namespace.
            cluster: The RayCluster's name.
            log: Where it is told that nodes may not be read.
            reads_nodes: Whether labels and sizes of the nodes are wanted.
        """
        self._api, self._log, self._reads_nodes = api, log, reads_nodes
        self._is_complete = True
        self._history, self._nodes = PodHistory(), dict[str, Node]()
        self._gone_nodes = set[str]()
        self._lock, self._closed, self._heard = threading.Lock(), threading.Event(), threading.Event()
        self._stream = api.watch(PODS, namespace, label_selector=f"{CLUSTER_LABEL}={cluster}")
        self._thread = threading.Thread(target=self._run, name="dagster-ray hours", daemon=True)
        self._thread.start()

    @property
    def is_exact(self) -> bool:
        """Whether everything was heard when it happened: not before a watch is open, nor if the server was away."""
        return self._is_complete and self._heard.is_set()

    def history(self, seconds: float) -> tuple[PodHistory, dict[str, Node]]:
        """Return the pods until now, and their nodes as far as they are known.

        Args:
            seconds: How long to wait until the watch is open, which follows a list, or is refused.
        """
        self._heard.wait(seconds)
        with self._lock:
            return PodHistory(dict(self._history.pods)), dict(self._nodes)

    def close(self, deadline: Deadline) -> None:
        """End the watch and the thread, which is waited for until the deadline."""
        self._closed.set()
        self._stream.close()
        self._thread.join(min(_JOIN_SECONDS, deadline.remaining_seconds()))

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                event = self._stream.next(_LOOK_SECONDS if self._heard.is_set() else _FIRST_LOOK_SECONDS)
                if self._stream.absence is not None:
                    self._is_complete = False
                if event is None:
                    if self._stream.is_open:  # what the list has shown is noted by now
                        self._heard.set()
                    continue
                heard_at = self._api.server_time()
                with self._lock:
                    self._history.note(event.object, heard_at, is_gone=event.type == "DELETED")
                if self._reads_nodes:
                    self._read_nodes()
            except Exception as error:  # noqa: BLE001 - figures are extras: a thread of theirs must not say more
                if self._closed.is_set():
                    return
                self._log.warning("The pods of the cluster could not be watched, so its hours are estimated: %s", error)
                self._is_complete = False
                self._heard.set()
                return

    def _read_nodes(self) -> None:
        """Read the nodes that are not known yet. One that is gone later, as spot nodes are, is known then."""
        with self._lock:
            new = {pod.node for pod in self._history.pods.values()} - self._nodes.keys() - self._gone_nodes
        for name in new:
            node = self._node(name)
            if node is None:
                continue
            with self._lock:
                self._nodes[name] = node

    def _node(self, name: str) -> Node | None:
        """Return a node; None if nothing is known of it, so that no price holds that may be another node's."""
        try:
            found = self._api.listed(NODES, None, name, Deadline(_NODE_SECONDS))
        except UnavailableError as error:
            self._log.debug("Node %s could not be read; the next change of a pod asks again: %s", name, error)
            return None
        except DagsterRayError as error:
            self._reads_nodes = False
            self._log.warning("Nodes could not be read, so prices by node are not known: %s", error)
            return None
        if found is None:
            self._gone_nodes.add(name)
            return None
        labels = {key: str(value) for key, value in mapping(at(found, "metadata", "labels")).items()}
        sizes = mapping(at(found, "status", "allocatable"))
        return Node(labels, {key: quantity(value) for key, value in sizes.items()})

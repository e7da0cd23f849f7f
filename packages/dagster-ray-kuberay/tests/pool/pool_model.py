"""Steps of a pool around one API server, in the world of the sharing model: its actors, its clock, its faults."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
from sharing_model import Actor, VirtualConnection
from typing_extensions import override

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, time_text
from dagster_ray.kuberay._kubernetes.kinds import Call, Kind
from dagster_ray.kuberay._kubernetes.watch import WatchEvent
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL, POOL_LABEL, POOL_NAME_LABEL, SLOT_LABEL
from dagster_ray.kuberay._pool.members import SIZES_ANNOTATION, USED_ANNOTATION, Sizes
from dagster_ray.kuberay._pool.pooled_cluster import PooledCluster
from dagster_ray.kuberay._pool.requests import PoolRequest
from dagster_ray.kuberay._sharing.choice import Selection
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._steps.heartbeat import Sign
from dagster_ray.kuberay._steps.wait import Reach

LOG = logging.getLogger("pool model")
CONTEXT = dg.build_init_resource_context()
SELECTION = Selection({POOL_LABEL: "digest", MANAGED_BY_LABEL: MANAGED_BY, POOL_NAME_LABEL: "ray"})
_POLL_SECONDS = 1.0


class CountedConnection(VirtualConnection):
    """Counts what an actor sends."""

    def __init__(self, actor: Actor, sent: Counter[str]) -> None:
        super().__init__(actor)
        self._sent, self._name = sent, actor.name

    @override
    def request(self, call: Call, deadline: Deadline, name: str | None = None) -> Manifest:
        self._sent[self._name] += 1
        return super().request(call, deadline, name)


class VirtualWatch:
    """What had changed of the clusters at the last look, in virtual time: it is always one look late."""

    def __init__(self, actor: Actor, known: Iterable[Mapping[str, Any]]) -> None:
        self._actor = actor
        self._known = {one["metadata"]["uid"]: one for one in known}
        self._late = self._known
        self._events: list[WatchEvent] = []
        self.absence = None

    def next(self, timeout_seconds: float) -> WatchEvent | None:
        left = timeout_seconds
        self._look()
        while not self._events and left > 0:
            self._actor.sleep(min(_POLL_SECONDS, left))
            left -= _POLL_SECONDS
            self._look()
        return self._events.pop(0) if self._events else None

    def _look(self) -> None:
        now, known = self._late, self._known
        self._late = {one["metadata"]["uid"]: one for one in self._actor.world.store.list("rayclusters")}
        for uid, one in now.items():
            if uid not in known:
                self._events.append(WatchEvent("ADDED", one))
            elif at(known[uid], "metadata", "resourceVersion") != one["metadata"]["resourceVersion"]:
                self._events.append(WatchEvent("MODIFIED", one))
        self._events += [WatchEvent("DELETED", one) for uid, one in known.items() if uid not in now]
        self._known = now

    def close(self) -> None: ...


class PoolApi(KubernetesApi):
    """The API of one actor, whose watches take virtual time."""

    def __init__(self, actor: Actor, sent: Counter[str]) -> None:
        super().__init__(CountedConnection(actor, sent))
        self._actor, self._sent = actor, sent

    @override
    def watch(self, kind: Kind, namespace: str, *, known: Iterable[Mapping[str, Any]] = (), **_: Any) -> Any:
        self._sent[self._actor.name] += 1
        self._actor.turn()
        return VirtualWatch(self._actor, known)


def pool_of(name: str, sizes: Sizes) -> PoolRequest:
    """Return the request of a step."""

    def render(cluster: str, slot: int, claim: Lock) -> dict[str, Any]:
        labels = {**SELECTION.labels, SLOT_LABEL: str(slot)}
        notes = {SIZES_ANNOTATION: sizes.text(), USED_ANNOTATION: time_text(claim.applied_at)}
        annotations = {"dagster/creation-id": name, claim.key: claim.text(), **notes}
        metadata = {"name": cluster, "namespace": "default", "labels": labels, "annotations": annotations}
        template = {"spec": {"containers": [{"name": "ray-head", "image": "a"}]}}
        spec = {"headGroupSpec": {"rayStartParams": {}, "template": template}}
        return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}

    return PoolRequest("default", SELECTION, "dagster", name, frozenset(), "run", name, sizes, render)


class CleanCluster(PooledCluster):
    """A cluster that was reached, and on which the dashboard shows nothing left."""

    def reach_head(self) -> None:
        """Let it look as if the head had answered."""
        self.route = Answering()  # pyright: ignore[reportAttributeAccessIssue]

    @override
    def keep_alive(self, sign: Sign | None = None, interval_seconds: float | None = None) -> None:
        """Steps of the model are shorter than a claim lives."""

    @override
    def _left(self, deadline: Deadline) -> str | None:
        return None


class Answering:
    """A way to a head; nothing is sent by it."""

    dashboard_url = None

    def close(self) -> None: ...


def pooled(actor: Actor, sent: Counter[str], budget_seconds: float = 10_000.0) -> CleanCluster:
    """Return what holds the cluster of a step, without a heartbeat."""
    deadline = Deadline(budget_seconds, actor.monotonic, actor.sleep)
    cluster = CleanCluster(PoolApi(actor, sent), Reach("auto", None, 60), CONTEXT, deadline)
    cluster.log = actor.world.log
    return cluster


def claim_of(cluster: Mapping[str, Any], name: str) -> bool:
    """Return whether a cluster has a step's claim."""
    return at(cluster, "metadata", "annotations", f"dagster/lock-{name}") is not None

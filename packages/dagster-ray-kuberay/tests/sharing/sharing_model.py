"""Steps, operators and collectors around one API server, in every order that a seed tells, in virtual time.

Each actor runs the real code in a thread of its own and stops before each call of the API until the schedule lets it
go on. The API server is the simulator's, without sockets: its semantics are those of the recordings.
"""

import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import dagster as dg
from typing_extensions import override

from dagster_ray.core import Deadline, Identity, safe_log
from dagster_ray.kuberay._kubernetes.answers import error_of
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.connection import KubernetesConnection
from dagster_ray.kuberay._kubernetes.errors import UnavailableError
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping
from dagster_ray.kuberay._kubernetes.kinds import Call
from dagster_ray.kuberay._kubernetes.kubeconfig import Settings
from dagster_ray.kuberay._kubernetes.transport import ServerClock
from dagster_ray.kuberay._labels import GENERATION_LABEL, MANAGED_BY, MANAGED_BY_LABEL, SharingRules
from dagster_ray.kuberay._sharing.choice import Leave, Selection, selection_of
from dagster_ray.kuberay._sharing.locks import Lock, live_locks
from dagster_ray.kuberay._sharing.requests import SharedRequest
from dagster_ray.kuberay._sharing.shared_cluster import Held, SharedCluster
from dagster_ray.kuberay._steps.wait import Reach
from dagster_ray.simulator._api.answers import Objects, Sent
from dagster_ray.simulator._api.routes import route_of
from dagster_ray.simulator._api.statuses import Refused
from dagster_ray.simulator._api.store import Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TTL_SECONDS = 60
BUDGET_SECONDS = 10_000.0
LOG = logging.getLogger("sharing model")
SELECTION = selection_of(Identity(resource_key="ray"), SharingRules(spec=False), "")
WAIT_SECONDS = 60.0
CONTEXT = dg.build_init_resource_context()
AGAIN_SECONDS = 2.0


class Crash(BaseException):
    """The process of an actor is killed."""


@dataclass(slots=True)
class Actor:
    """One process."""

    name: str
    world: "World"
    skew_seconds: float
    go: threading.Event = field(default_factory=threading.Event)
    is_over: bool = False
    crashes: bool = False
    loses_answer: bool = False
    error: BaseException | None = None
    asleep_until: datetime = NOON

    @property
    def api(self) -> KubernetesApi:
        return KubernetesApi(VirtualConnection(self))

    def deadline(self) -> Deadline:
        return Deadline(BUDGET_SECONDS, self.monotonic, self.sleep)

    def monotonic(self) -> float:
        """This machine's clock: right in its pace, wrong by an hour in what it says."""
        return (self.world.now - NOON).total_seconds() + self.skew_seconds

    def sleep(self, seconds: float) -> None:
        self.asleep_until = self.world.now + timedelta(seconds=seconds)
        self.turn()

    def turn(self) -> None:
        """Wait until the schedule lets this actor go on."""
        self.world.idle.set()
        assert self.go.wait(WAIT_SECONDS)
        self.go.clear()
        if self.crashes:
            raise Crash


class VirtualConnection(KubernetesConnection):
    """The API server's answers, without a network."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(Settings("the model", "http://model"), in_cluster=True)
        self._actor = actor
        self._clock = ServerClock(actor.monotonic)

    @override
    def request(self, call: Call, deadline: Deadline, name: str | None = None) -> Manifest:
        self._actor.turn()
        while self._actor.world.is_away:
            self._actor.sleep(AGAIN_SECONDS)
            if deadline.is_over():
                resource = call.kind.resource
                raise UnavailableError(call.verb, resource, call.namespace, call.name or name, 0, "reset", 1)
        if self._actor.loses_answer:  # the client sends the call again
            self.unanswered_writes += call.method != "GET"
            self._actor.world.answer(call, self._actor.name)
            self._actor.turn()
        self._clock.heard(format_datetime(self._actor.world.now, usegmt=True))
        status, body = self._actor.world.answer(call, self._actor.name)
        if status >= 300:
            raise error_of(call.verb, call.kind, call.namespace, call.name or name, status=status, body=body)
        return mapping(json.loads(body))

    @override
    def close(self) -> None: ...


class World:
    """One API server, and what must hold of it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = NOON
        self.store = Store(lambda: self.now, rng=random.Random(seed))
        self.store.create("namespaces", {"metadata": {"name": "default"}})
        self._objects = Objects(self.store, "1.7.0")
        self.idle = threading.Event()
        self.actors: list[Actor] = []
        self.created = 0
        self.made_by: Counter[str] = Counter()
        self.deleted = 0
        self.violations: list[str] = []
        self.outages: list[tuple[datetime, datetime]] = []
        """When the API server is away, and Dagster's storage with it."""
        self.owners_delete = False
        """Whether a step may delete a cluster under its own lock."""
        self.denied = 0.0
        """How likely it is that a webhook denies a patch."""
        self.log = self._log()

    def _log(self) -> logging.Logger:
        """Return a log whose messages go into Dagster's storage."""
        world = self

        class Storage(logging.Handler):
            @override
            def emit(self, record: logging.LogRecord) -> None:
                if world.is_away:
                    raise OSError("the storage is away")

        inner = logging.Logger("storage")
        inner.addHandler(Storage())
        return safe_log(inner)

    @property
    def is_away(self) -> bool:
        return any(begin <= self.now < end for begin, end in self.outages)

    # The API server

    def answer(self, call: Call, sender: str) -> tuple[int, bytes]:
        """Answer one call, and note what must never happen."""
        route = route_of(call.method, call.path)
        assert route is not None
        if call.method == "PATCH" and self.rng.random() < self.denied:
            return self._denial()
        before = self.store.get("rayclusters", "default", call.name) if call.name else None
        raw = json.dumps(call.body).encode() if call.body is not None else b""
        try:
            answer = self._objects.answer(route, Sent(raw, call.content_type))
        except Refused as refused:
            return refused.code, json.dumps(refused.body()).encode()
        if call.method == "POST":
            self.created += 1
            self.made_by[sender] += 1
            self._one_cluster_per_generation()
        if call.method == "DELETE" and before is not None and "deletionTimestamp" not in before["metadata"]:
            self.deleted += 1
            locks = [one for one in live_locks(before, self.now) if not (self.owners_delete and one.id == sender)]
            if locks:
                self.violations.append(f"{call.name} was deleted under {locks}")
        return answer.status, json.dumps(answer.body).encode()

    def _denial(self) -> tuple[int, bytes]:
        """Return what a webhook without a code of its own, or a policy, says."""
        status = self.rng.choice([400, 422])
        body = {"kind": "Status", "code": status, "message": 'admission webhook "x" denied the request'}
        return status, json.dumps(body).encode()

    def _one_cluster_per_generation(self) -> None:
        labels = [cluster["metadata"]["labels"] for cluster in self.clusters()]
        live = [one[GENERATION_LABEL] for one in labels if GENERATION_LABEL in one]
        if len(live) != len(set(live)):
            self.violations.append(f"two live clusters of one generation: {live}")

    def clusters(self) -> list[dict[str, Any]]:
        """Return the clusters that are not being deleted."""
        return [c for c in self.store.list("rayclusters") if "deletionTimestamp" not in c["metadata"]]

    def set_status(self, name: str, status: Mapping[str, Any]) -> None:
        """Write a status as the operator does."""
        cluster = self.store.get("rayclusters", "default", name)
        assert cluster is not None
        self.store.replace_status("rayclusters", {**cluster, "status": dict(status)})

    def add_head_pod(self, cluster: Mapping[str, Any]) -> None:
        """Add a pod that the cluster owns, so that a deletion in the foreground takes until it is gone."""
        name, uid = cluster["metadata"]["name"], cluster["metadata"]["uid"]
        owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": name, "uid": uid}
        references = [{**owner, "controller": True, "blockOwnerDeletion": True}]
        metadata = {"name": f"{name}-head", "namespace": "default", "ownerReferences": references}
        if self.store.get("pods", "default", f"{name}-head") is None:
            self.store.create("pods", {"metadata": metadata, "spec": {"nodeName": "node", "containers": []}})

    # The schedule

    def actor(self, name: str, work: Callable[[Actor], None]) -> Actor:
        """Add an actor. Its clock is wrong by up to an hour."""
        actor = Actor(name, self, self.rng.uniform(-3600, 3600))
        self.actors.append(actor)

        def run() -> None:
            try:
                actor.turn()
                work(actor)
            except Crash:
                pass
            except BaseException as error:  # noqa: BLE001 - told by `run`
                actor.error = error
            finally:
                actor.is_over = True
                self.idle.set()

        self.idle.clear()
        threading.Thread(target=run, name=name, daemon=True).start()
        assert self.idle.wait(WAIT_SECONDS)
        return actor

    def step(self, *, crash: float, lose: float) -> bool:
        """Let one actor make one call; return whether anybody is left."""
        waiting = [actor for actor in self.actors if not actor.is_over]
        if not waiting:
            return False
        awake = [actor for actor in waiting if actor.asleep_until <= self.now]
        if not awake:
            self.now = min(actor.asleep_until for actor in waiting)
            return True
        actor = self.rng.choice(awake)
        self.now += timedelta(seconds=self.rng.choice([0, 0, 0, 1, 5]))
        actor.crashes = self.rng.random() < crash
        actor.loses_answer = self.rng.random() < lose
        self.let(actor)
        return True

    def let(self, actor: Actor, calls: int = 1) -> None:
        """Let one actor go on until it is before its next call but `calls - 1`."""
        for _ in range(calls):
            self.idle.clear()
            actor.go.set()
            assert self.idle.wait(WAIT_SECONDS)

    def finish(self, actor: Actor) -> None:
        """Let one actor come to its end while all others stand."""
        while not actor.is_over:
            self.let(actor)

    def run(self, *, crash: float = 0.0, lose: float = 0.0) -> None:
        """Let all actors come to their end."""
        while self.step(crash=crash, lose=lose):
            pass
        for actor in self.actors:
            if actor.error is not None:
                raise actor.error
        self.actors.clear()


def request(name: str, *, ttl_seconds: float = TTL_SECONDS, selection: Selection = SELECTION) -> SharedRequest:
    """Return the request of a step."""

    def render(cluster: str, generation: int, lock: Lock) -> dict[str, Any]:
        labels = {MANAGED_BY_LABEL: MANAGED_BY, **selection.labels, GENERATION_LABEL: str(generation)}
        annotations = {"dagster/creation-id": name, lock.key: lock.text()}
        metadata = {"name": cluster, "namespace": "default", "labels": labels, "annotations": annotations}
        template = {"spec": {"containers": [{"name": "ray-head", "image": "a"}]}}
        head = {"headGroupSpec": {"rayStartParams": {}, "template": template}}
        return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": head}

    return SharedRequest("default", selection, "dagster", name, name, "run", name, ttl_seconds, render)


def holding(api: KubernetesApi, deadline: Deadline, log: logging.Logger) -> SharedCluster:
    """Return what holds the cluster of a step."""
    cluster = SharedCluster(api, Reach("auto", None, 60), CONTEXT, deadline)
    cluster.log = log
    return cluster


def acquire(api: KubernetesApi, wanted: SharedRequest, deadline: Deadline, log: logging.Logger) -> Held:
    """Take a cluster; return what the step holds then."""
    cluster = holding(api, deadline, log)
    cluster.take(wanted)
    assert cluster.held is not None
    return cluster.held


def leave(api: KubernetesApi, held: Held, what: Leave, deadline: Deadline, log: logging.Logger) -> None:
    """Give a cluster up, in a process that lost all but what it held."""
    cluster = holding(api, deadline, log)
    cluster.held = held
    cluster.leave(what, deadline)

"""Carry a reconcile's actions out on the store, and read what it looks at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from typing_extensions import Protocol

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.simulator._api.store import Refused
from dagster_ray.simulator._operator.actions import Action, Create, Delete, Failure, Replace, Tell
from dagster_ray.simulator._operator.facts import ClusterFacts, JobFacts
from dagster_ray.simulator._operator.names import (
    EventFacts,
    counted_up,
    head_service_name,
    labels_of,
    name_of,
    namespace_of,
    new_style_event,
    old_style_event,
    repeats,
)
from dagster_ray.simulator._operator.objects import auth_secret_name, job_service_name


class ObjectStore(Protocol):
    """The part of the store that operator and kubelet use."""

    def create(self, plural: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Store a new object."""
        ...

    def get(self, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a copy of an object."""
        ...

    def list(self, plural: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return copies of all objects of a kind."""
        ...

    def replace(self, plural: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Write an object without its status."""
        ...

    def replace_status(self, plural: str, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Write an object's status."""
        ...

    def delete(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        """Delete an object."""
        ...

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Take an object away whatever holds it."""
        ...

    def subscribe(self, listener: Callable[[str, str, dict[str, Any]], None]) -> Callable[[], None]:
        """Call the listener after each change; returns what ends it."""
        ...


@dataclass(slots=True)
class EventRecorder:
    """Writes events; a repeat is counted up on the event that told it first.

    Args:
        store: Where to.
        now: The clock.
    """

    store: ObjectStore
    now: Callable[[], datetime]
    _told: "dict[tuple[object, ...], str]"
    _count: int = 0

    @classmethod
    def on(cls, store: ObjectStore, now: Callable[[], datetime]) -> "EventRecorder":
        """Return a recorder that has told nothing yet."""
        return cls(store, now, {})

    def tell(
        self, facts: EventFacts, *, new_style: bool, host: str | None = None, field_path: str | None = None
    ) -> None:
        """Write one event in the style of events.k8s.io or of core/v1."""
        now = self.now()
        if new_style:
            event = new_style_event(facts, now)
        else:
            event = old_style_event(facts, now, host=host, field_path=field_path)
        namespace = namespace_of(event)
        key = (namespace, at(event, "involvedObject", "uid"), facts.reason, facts.message, field_path)
        old = self.store.get("events", namespace, self._told[key]) if key in self._told else None
        self._count += 1
        event["metadata"]["name"] += f"{self._count:04x}"  # several events of one moment
        try:
            if old is None or not repeats(event, old):
                self._told[key] = name_of(self.store.create("events", event))
            elif not new_style or "series" not in old:
                self.store.replace("events", counted_up(old, now))
        except Refused:
            self._told.pop(key, None)


@dataclass(frozen=True, slots=True)
class Writer:
    """Carries actions out.

    Attributes:
        store: Where to.
        events: Tells what was done.
        new_style: Whether events have the style of operator 1.7.
    """

    store: ObjectStore
    events: EventRecorder
    new_style: bool

    def carry_out(self, actions: Sequence[Action]) -> Failure | None:
        """Do the actions in order; the first refusal ends them and is returned."""
        for action in actions:
            try:
                self._do(action)
            except Refused as error:
                if isinstance(action, Delete) and error.code == 404:
                    continue
                return self._refused(action, error)
        return None

    def _refused(self, action: Action, error: Refused) -> Failure:
        if not isinstance(action, Create):
            return Failure("", str(error))
        if action.failed is not None:
            self.tell(replace(action.failed, message=f"{action.failed.message}{error}"))
        return Failure(action.failure, str(error))

    def _do(self, action: Action) -> None:
        if isinstance(action, Tell):
            self.tell(action.event)
        elif isinstance(action, Create):
            self.store.create(action.plural, action.obj)
        elif isinstance(action, Replace):
            self.store.replace(action.plural, action.obj)
        elif isinstance(action, Delete):
            self.store.delete(action.plural, action.namespace, action.name)
        if isinstance(action, Create | Replace | Delete) and action.event is not None:
            self.tell(action.event)

    def tell(self, event: EventFacts) -> None:
        """Write an event about the object as it is stored now."""
        plural = f"{event.regarding['kind'].lower()}s"
        current = self.store.get(plural, namespace_of(event.regarding), name_of(event.regarding))
        self.events.tell(replace(event, regarding=current or event.regarding), new_style=self.new_style)

    def put_status(self, plural: str, obj: Mapping[str, Any], status: Mapping[str, Any]) -> Failure | None:
        """Write a status on the object as it is stored now."""
        current = self.store.get(plural, namespace_of(obj), name_of(obj))
        if current is None or at(current, "metadata", "uid") != at(obj, "metadata", "uid"):
            return None
        try:
            self.store.replace_status(plural, {**current, "status": dict(status)})
        except Refused as error:
            return None if error.code == 404 else Failure("", str(error))
        return None


def cluster_facts(store: ObjectStore, namespace: str, name: str) -> ClusterFacts | None:
    """Read what a reconcile of a RayCluster looks at; None when it is gone."""
    cluster = store.get("rayclusters", namespace, name)
    if cluster is None:
        return None
    pods = [pod for pod in store.list("pods", namespace) if labels_of(pod).get(CLUSTER_LABEL) == name]
    service = store.get("services", namespace, head_service_name(cluster))
    secret = store.get("secrets", namespace, auth_secret_name(cluster))
    return ClusterFacts(cluster, pods, service, secret is not None)


def job_facts(store: ObjectStore, namespace: str, name: str) -> JobFacts | None:
    """Read what a reconcile of a RayJob looks at; None when it is gone."""
    rayjob = store.get("rayjobs", namespace, name)
    if rayjob is None:
        return None
    cluster_name = str(mapping(rayjob.get("status")).get("rayClusterName") or "")
    cluster = store.get("rayclusters", namespace, cluster_name) if cluster_name else None
    service = store.get("services", namespace, head_service_name(cluster)) if cluster else None
    own_service = store.get("services", namespace, job_service_name(rayjob))
    return JobFacts(rayjob, cluster, service, own_service is not None, store.get("jobs", namespace, name))

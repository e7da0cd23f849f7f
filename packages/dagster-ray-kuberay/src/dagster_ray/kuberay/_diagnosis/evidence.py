"""Reads what may tell why a cluster does not come up, as far as this account may read it."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain
from dagster_ray.kuberay._diagnosis.facts import is_head
from dagster_ray.kuberay._kubernetes.errors import ForbiddenError, KindNotInstalledError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mappings
from dagster_ray.kuberay._kubernetes.kinds import (
    CLAIMS,
    ENDPOINT_SLICES,
    EVENTS,
    NODES,
    PODS,
    RAYCLUSTERS,
    RAYJOBS,
    SERVICES,
    WORKLOADS,
    Kind,
)
from dagster_ray.kuberay._labels import OPERATOR_SELECTOR
from dagster_ray.kuberay._status.created import Created

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_LOOK_SECONDS = 5.0
_LOG_LINES = 20
_MOST_PODS = 3
_NEEDS_NODES = ("unschedulable", "no-scale-up")


@dataclass(frozen=True, slots=True)
class Question:
    """What is known when somebody asks why.

    Attributes:
        manifest: The awaited object as it was seen last.
        cluster: The RayCluster's name; None while it is not known.
        is_seen: Whether an operator has written a status.
        is_queued: Whether a queue holds it.
        closed_port: The place that accepts no driver, if the head is ready.
        by_service: Whether drivers dial the head's Service, so that its endpoints matter.
    """

    manifest: Manifest
    cluster: str | None
    is_seen: bool = True
    is_queued: bool = False
    closed_port: str | None = None
    by_service: bool = False


@dataclass(slots=True)
class _Facts:
    """Objects for `explain`; None where they were not asked for or may not be read."""

    pods: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    rayjob: Manifest | None = None
    raycluster: Manifest | None = None
    nodes: list[dict[str, Any]] | None = None
    claims: list[dict[str, Any]] | None = None
    services: list[dict[str, Any]] | None = None
    endpoint_slices: list[dict[str, Any]] | None = None
    workloads: list[dict[str, Any]] | None = None
    operator_pods: list[dict[str, Any]] | None = None
    logs: Mapping[str, str] | None = None
    closed_port: str | None = None

    def explained(self) -> Diagnosis | None:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return explain(given.pop("pods"), given.pop("events"), **given)


class Evidence:
    """What can be read about one cluster. A missing right is noticed once, and done without."""

    def __init__(self, api: "KubernetesApi", awaited: Created, log: logging.Logger) -> None:
        """Read nothing yet."""
        self._api, self._awaited, self._log = api, awaited, log
        self._refused: set[str] = set()

    def look(self, question: Question, budget_seconds: float = _LOOK_SECONDS) -> Diagnosis | None:
        """Return why the cluster is not there; None if nothing that is known keeps it away.

        Args:
            question: What is known already.
            budget_seconds: The longest that all reads may take together, up to 5 s.
        """
        deadline = Deadline(min(_LOOK_SECONDS, budget_seconds))
        facts = self._gathered(question, deadline)
        found = facts.explained()
        if found is not None and found.code.startswith(_NEEDS_NODES):
            facts.nodes = self._list(NODES, None, deadline)
            found = facts.explained()
        if found is not None and found.fatal:
            facts.logs = self._head_log(facts.pods, deadline)
            found = facts.explained()
        return found

    def head_log(self, question: Question, budget_seconds: float = _LOOK_SECONDS) -> str:
        """Return the last lines of the head's log, of the container before if it was restarted."""
        deadline = Deadline(min(_LOOK_SECONDS, budget_seconds))
        return "\n".join(self._head_log(self._pods(question.cluster, deadline), deadline).values())

    # Reading

    def _gathered(self, question: Question, deadline: Deadline) -> _Facts:
        awaited, facts = self._awaited, _Facts(closed_port=question.closed_port)
        if awaited.kind is RAYJOBS:
            facts.rayjob = question.manifest
            facts.raycluster = self._get(RAYCLUSTERS, question.cluster, deadline)
        else:
            facts.raycluster = question.manifest
        facts.pods = self._pods(question.cluster, deadline)
        waiting = [pod for pod in facts.pods if at(pod, "status", "phase") != "Running"][:_MOST_PODS]
        names = [awaited.name, question.cluster, *(at(pod, "metadata", "name") for pod in waiting)]
        facts.events = self._events(dict.fromkeys(name for name in names if name), deadline)
        if any(at(v, "persistentVolumeClaim") for pod in waiting for v in mappings(at(pod, "spec", "volumes"))):
            facts.claims = self._list(CLAIMS, awaited.namespace, deadline)
        if question.is_queued:
            facts.workloads = self._list(WORKLOADS, awaited.namespace, deadline)
        if not question.is_seen:
            facts.operator_pods = self._list(PODS, None, deadline, OPERATOR_SELECTOR)
        if question.closed_port is not None and question.by_service:
            facts.services = self._list(SERVICES, awaited.namespace, deadline, f"ray.io/cluster={question.cluster}")
            facts.endpoint_slices = self._list(ENDPOINT_SLICES, awaited.namespace, deadline)
        return facts

    def _pods(self, cluster: str | None, deadline: Deadline) -> list[dict[str, Any]]:
        if cluster is None:
            return []
        return self._list(PODS, self._awaited.namespace, deadline, f"ray.io/cluster={cluster}") or []

    def _events(self, names: Iterable[str], deadline: Deadline) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name in names:
            selector = f"involvedObject.name={name}"
            found += self._list(EVENTS, self._awaited.namespace, deadline, field_selector=selector) or []
        return found

    def _head_log(self, pods: list[dict[str, Any]], deadline: Deadline) -> dict[str, str]:
        head = next(filter(is_head, pods), None)
        if head is None or "pods/log" in self._refused:
            return {}
        name = str(at(head, "metadata", "name"))
        containers = mappings(at(head, "spec", "containers"))  # the first one is Ray's; an autoscaler may be beside it
        container = str(containers[0].get("name")) if containers else None
        restarted = any(status.get("restartCount") for status in mappings(at(head, "status", "containerStatuses")))
        for previous in (True, False) if restarted else (False,):
            try:
                text = self._api.pod_log(
                    self._awaited.namespace,
                    name,
                    deadline,
                    container=container,
                    previous=previous,
                    tail_lines=_LOG_LINES,
                )
            except ForbiddenError as error:
                self._refused.add("pods/log")
                self._log.debug("The head's log may not be read: %s", error)
                return {}
            except DagsterRayError as error:
                self._log.debug("The head's log could not be read: %s", error)
                continue
            if text:
                return {name: text}
        return {}

    def _get(self, kind: Kind, name: str | None, deadline: Deadline) -> dict[str, Any] | None:
        if name is None or kind.resource in self._refused:
            return None
        try:
            return self._api.get(kind, self._awaited.namespace, name, deadline)
        except NotFoundError:
            return None
        except DagsterRayError as error:
            return self._unread(kind, error)

    def _list(
        self,
        kind: Kind,
        namespace: str | None,
        deadline: Deadline,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> list[dict[str, Any]] | None:
        key = kind.resource if namespace is not None else f"{kind.resource} everywhere"
        if key in self._refused:
            return None
        try:
            return self._api.list(
                kind, namespace, deadline, label_selector=label_selector, field_selector=field_selector
            ).items
        except DagsterRayError as error:
            return self._unread(kind, error, key)

    def _unread(self, kind: Kind, error: DagsterRayError, key: str | None = None) -> None:
        if isinstance(error, (ForbiddenError, KindNotInstalledError, NotFoundError)):
            self._refused.add(key or kind.resource)
        self._log.debug("%s could not be read, so less is known: %s", kind.resource, error)

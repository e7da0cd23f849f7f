"""Reads what may tell why a cluster does not come up, as far as this account may read it."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, is_head
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis, explain
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
from dagster_ray.kuberay._status.cluster_state import Created

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
        pods: Pods that may be gone and whose events are wanted all the same.
    """

    manifest: Manifest
    cluster: str | None
    is_seen: bool = True
    is_queued: bool = False
    closed_port: str | None = None
    by_service: bool = False
    pods: tuple[str, ...] = ()


class Evidence:
    """What can be read about one cluster. A missing right is noticed once, and done without.

    Attributes:
        unread: Why something could not be read, by its resource.
    """

    def __init__(self, api: "KubernetesApi", awaited: Created, log: logging.Logger) -> None:
        """Read nothing yet."""
        self._api, self._awaited, self._log = api, awaited, log
        self._refused: set[str] = set()
        self.unread: dict[str, str] = {}

    def look(self, question: Question, budget_seconds: float = _LOOK_SECONDS) -> Diagnosis | None:
        """Return why the cluster is not there; None if nothing that is known keeps it away.

        Args:
            question: What is known already.
            budget_seconds: The longest that all reads may take together, up to 5 s.
        """
        deadline = Deadline(min(_LOOK_SECONDS, budget_seconds))
        return self.explained(self.gathered(question, deadline), deadline)

    def explained(self, facts: Facts, deadline: Deadline) -> Diagnosis | None:
        """Return what facts say, with what more it takes: the nodes, or the end of a log.

        Args:
            facts: What was gathered.
            deadline: Ends the reads.
        """
        found = explain(facts)
        if found is not None and found.code.startswith(_NEEDS_NODES):
            facts = replace(facts, nodes=self._list(NODES, None, deadline))
            found = explain(facts)
        if found is not None and (found.fatal or (found.code == "container" and found.proof is None)):
            telling = _crashed_worker(facts.pods) if found.proof is None else _head(facts.pods)
            found = explain(replace(facts, logs=self._end_of_log(telling, deadline)))
        return found

    def head_log(self, question: Question, budget_seconds: float = _LOOK_SECONDS) -> str:
        """Return the last lines of the head's log, of the container before if it was restarted."""
        deadline = Deadline(min(_LOOK_SECONDS, budget_seconds))
        return "\n".join(self._end_of_log(_head(self._pods(question.cluster, deadline)), deadline).values())

    # Reading

    def gathered(self, question: Question, deadline: Deadline) -> Facts:
        """Read what there is.

        Args:
            question: What is known already.
            deadline: Ends the reads.
        """
        awaited, cluster = self._awaited, question.cluster
        is_rayjob = awaited.kind is RAYJOBS
        raycluster = self._get(RAYCLUSTERS, cluster, deadline) if is_rayjob else question.manifest
        pods = self._pods(cluster, deadline)
        waiting = [pod for pod in pods if at(pod, "status", "phase") != "Running"][:_MOST_PODS]
        has_claims = any(
            at(v, "persistentVolumeClaim") for pod in waiting for v in mappings(at(pod, "spec", "volumes"))
        )
        names = [awaited.name, cluster, *(at(pod, "metadata", "name") for pod in waiting), *question.pods]
        by_service = question.closed_port is not None and question.by_service
        selector = f"ray.io/cluster={cluster}"
        return Facts(
            rayjob=question.manifest if is_rayjob else None,
            raycluster=raycluster,
            pods=pods,
            events=self._events(dict.fromkeys(name for name in names if name), deadline),
            claims=self._list(CLAIMS, awaited.namespace, deadline) if has_claims else None,
            workloads=self._list(WORKLOADS, awaited.namespace, deadline) if question.is_queued else None,
            operator_pods=None if question.is_seen else self._list(PODS, None, deadline, OPERATOR_SELECTOR),
            services=self._list(SERVICES, awaited.namespace, deadline, selector) if by_service else None,
            endpoint_slices=self._list(ENDPOINT_SLICES, awaited.namespace, deadline) if by_service else None,
            closed_port=question.closed_port,
        )

    def _pods(self, cluster: str | None, deadline: Deadline) -> list[dict[str, Any]]:
        if cluster is None:
            return []
        return self._list(PODS, self._awaited.namespace, deadline, f"ray.io/cluster={cluster}") or []

    def _events(self, names: Iterable[str], deadline: Deadline) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name in names:
            selector = f"involvedObject.name={name}"
            found += self._list(EVENTS, self._awaited.namespace, deadline, fields=selector) or []
        return found

    def _end_of_log(self, pod: Manifest | None, deadline: Deadline) -> dict[str, str]:
        if pod is None or "pods/log" in self._refused:
            return {}
        name = str(at(pod, "metadata", "name"))
        containers = mappings(at(pod, "spec", "containers"))  # the first one is Ray's; an autoscaler may be beside it
        container = str(containers[0].get("name")) if containers else None
        for previous in (True, False) if _has_restarted(pod) else (False,):
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
                self._log.debug("The log of a pod may not be read: %s", error)
                return {}
            except DagsterRayError as error:
                self._log.debug("The log of a pod could not be read: %s", error)
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
        labels: str | None = None,
        fields: str | None = None,
    ) -> list[dict[str, Any]] | None:
        key = kind.resource if namespace is not None else f"{kind.resource} everywhere"
        if key in self._refused:
            return None
        try:
            return self._api.list(kind, namespace, deadline, label_selector=labels, field_selector=fields).items
        except DagsterRayError as error:
            return self._unread(kind, error, key)

    def _unread(self, kind: Kind, error: DagsterRayError, key: str | None = None) -> None:
        if isinstance(error, (ForbiddenError, KindNotInstalledError, NotFoundError)):
            self._refused.add(key or kind.resource)
        self.unread[key or kind.resource] = error.problem
        self._log.debug("%s could not be read, so less is known: %s", kind.resource, error)


def _head(pods: Sequence[Manifest]) -> Manifest | None:
    return next(filter(is_head, pods), None)


def _crashed_worker(pods: Sequence[Manifest]) -> Manifest | None:
    return next((pod for pod in pods if not is_head(pod) and _has_restarted(pod)), None)


def _has_restarted(pod: Manifest) -> bool:
    return any(status.get("restartCount") for status in mappings(at(pod, "status", "containerStatuses")))

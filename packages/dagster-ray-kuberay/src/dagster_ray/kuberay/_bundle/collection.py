"""Reads what is known of steps that failed on one cluster: once what is about the cluster, and each step's own."""

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dagster_ray.core import DagsterRayError, Deadline, identity_of
from dagster_ray.core.failures.causes import Failure
from dagster_ray.kuberay._bundle.collected import About, Collected, ContainerLog, Driver
from dagster_ray.kuberay._bundle.head_facts import Head
from dagster_ray.kuberay._bundle.parts import Parts
from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, is_head
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mappings, name_of, text, time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_READ_SECONDS = 6.5
_MOST_LOGS = 6
_LOG_LINES = 500
_LIMIT_BYTES = 1_000_000
_PACKAGES = ("dagster", "dagster-ray-kuberay", "ray")
_VERSION_ANNOTATION = "ray.io/kuberay-version"


class Collection:
    """Reads the facts about steps that failed on one cluster: those about the cluster once, whatever their number."""

    def __init__(self, step: "StepCluster", deadline: Deadline) -> None:
        """Take the cluster; nothing is read yet.

        Args:
            step: The cluster of the steps.
            deadline: Ends the reads, with some seconds left for writing.
        """
        self._step = step
        self._parts = Parts(Deadline(min(_READ_SECONDS, deadline.remaining_seconds())))
        self._head = Head(step, self._parts)

    def facts(self, target: str, failures: Sequence[tuple[Failure, Driver]], secrets: Iterable[str]) -> list[Collected]:
        """Return what can be read of each step. What takes too long is missing of the steps that failed last.

        Args:
            target: The cluster, for people.
            failures: The steps that failed, at least one, each with its driver.
            secrets: Values that nobody may read.
        """
        jobs = [self._head.of_job(*failures[0])]
        found, diagnosis = self._objects()
        logs = [log for pod in _telling(found.pods)[:_MOST_LOGS] for log in self._logs(pod)]
        about = self._about(target, found)
        jobs += [self._head.of_job(*one) for one in failures[1:]]
        own = self._step.own
        return [
            Collected(
                about=replace(about, driver=driver.sentence),
                failure=failure,
                rayjob=found.rayjob,
                raycluster=found.raycluster,
                pods=found.pods,
                events=found.events,
                workloads=[one for one in found.workloads or () if own is not None and _is_of(one, own.name)],
                diagnosis=diagnosis,
                logs=logs,
                driver_log=job.driver_log,
                tasks=job.tasks,
                actors=job.actors,
                unread={**job.unread, **self._parts.unread},
                secrets=frozenset({*secrets, *((self._step.token,) if self._step.token else ())}),
            )
            for (failure, driver), job in zip(failures, jobs, strict=True)
        ]

    # Kubernetes

    def _objects(self) -> tuple[Facts, Diagnosis | None]:
        own = self._step.own
        if own is None:
            self._parts.unread["Kubernetes objects"] = "the step has no RayJob or RayCluster"
            return Facts(), None
        evidence = Evidence(self._step.api, own, self._step.log)
        manifest = self._parts.read(f"the {own.kind.kind}", self._own, own.manifest)
        cluster = self._step.cluster_name or text(manifest, "status", "rayClusterName") or None
        name = cluster if own.kind is RAYJOBS else own.name
        head = (self._step.head_pod,) if self._step.head_pod else ()
        asked = Question(manifest, name, is_queued=_is_suspended(manifest), pods=head)
        nothing = Facts(rayjob=manifest) if own.kind is RAYJOBS else Facts(raycluster=manifest)
        found = self._parts.read("Kubernetes objects", lambda deadline: evidence.gathered(asked, deadline), nothing)
        diagnosis = self._parts.read("the diagnosis", lambda deadline: evidence.explained(found, deadline), None)
        self._parts.unread |= evidence.unread
        return found, diagnosis

    def _own(self, deadline: Deadline) -> Manifest:
        own = self._step.made
        return self._step.api.get(own.kind, own.namespace, own.name, deadline)

    def _logs(self, pod: Manifest) -> Iterator[ContainerLog]:
        name = name_of(pod)
        restarted = {
            text(status, "name")
            for status in mappings(at(pod, "status", "containerStatuses"))
            if status.get("restartCount") or at(status, "lastState", "terminated")
        }
        started = {
            text(status, "name") for status in mappings(at(pod, "status", "containerStatuses")) if _began(status)
        }
        for container in started:
            for previous in (False, True) if container in restarted else (False,):
                what = f"the log of {name}, container {container}" + (", before its restart" if previous else "")
                said = self._parts.read(what, lambda d, c=container, p=previous: self._log(name, c, p, d), "")
                yield ContainerLog(name, container, said, previous)

    def _log(self, pod: str, container: str, previous: bool, deadline: Deadline) -> str:
        return self._step.api.pod_log(
            self._step.made.namespace,
            pod,
            deadline,
            container=container,
            previous=previous,
            tail_lines=_LOG_LINES,
            limit_bytes=_LIMIT_BYTES,
        )

    # What it is about

    def _about(self, target: str, found: Facts) -> About:
        identity = identity_of(self._step.context, attempt=0)
        head = next(filter(is_head, found.pods), None) or {}
        versions = {"python": platform.python_version(), **_installed()}
        ray = self._parts.read("the cluster's versions", self._head.metadata, None, "head")
        if ray is not None:
            versions |= {
                "ray of the cluster": ray.ray_version or "?",
                "python of the cluster": ray.python_version or "?",
            }
        kuberay = text(head, "metadata", "annotations", _VERSION_ANNOTATION)
        if kuberay:
            versions["kuberay"] = kuberay
        kubernetes = self._parts.read("the version of Kubernetes", lambda d: self._step.api.read("/version", d), {})
        if said := text(kubernetes, "gitVersion"):
            versions["kubernetes"] = said
        return About(
            run_id=identity.run_id or "",
            job=identity.job or "",
            target=target,
            driver="",
            time=time_text(self._now()),
            versions=versions,
        )

    def _now(self) -> datetime:
        try:
            return self._step.api.server_time()
        except DagsterRayError:  # it has not answered yet
            return datetime.now(UTC)


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _is_suspended(manifest: Manifest) -> bool:
    return at(manifest, "spec", "suspend") is True


def _is_of(workload: Manifest, name: str) -> bool:
    return any(owner.get("name") == name for owner in mappings(at(workload, "metadata", "ownerReferences")))


def _began(status: Manifest) -> bool:
    """Return whether a container has run at least once."""
    return bool(at(status, "state", "running") or at(status, "state", "terminated") or status.get("restartCount"))


def _telling(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return pods, those first that tell more: what restarted or ended, then the head."""

    def rank(pod: Manifest) -> tuple[bool, bool]:
        statuses = mappings(at(pod, "status", "containerStatuses"))
        is_hurt = any(status.get("restartCount") or at(status, "state", "terminated") for status in statuses)
        return not is_hurt, not is_head(pod)

    return sorted(pods, key=rank)

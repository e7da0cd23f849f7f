"""RayClusters and RayJobs as dagster-ray makes them, for tests of what collects them."""

# Dagster is typed in part only.
# pyright: reportUnknownMemberType=false

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_ray.core import Deadline, instance_id_of
from dagster_ray.kuberay._collector.candidate import Candidate
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import Cursor, targets_of
from dagster_ray.kuberay._collector.plan import Plan, plan
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, Rules
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.simulator import Simulator

PATIENCE_SECONDS = 60

INSTANCE, RUN, STEP = "instance-1", "run-1", "train"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONTAINERS = [{"name": "ray-head", "image": "rayproject/ray"}]
CLUSTER_SPEC = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": CONTAINERS}}}}
JOB_SPEC: dict[str, Any] = {"submissionMode": "InteractiveMode", "rayClusterSpec": CLUSTER_SPEC}


def labels(
    *, run: str | None = RUN, step: str | None = STEP, instance: str | None = INSTANCE, policy: str | None = None
) -> dict[str, str]:
    """Return the labels of what one step has made."""
    found = {
        "app.kubernetes.io/managed-by": "dagster-ray",
        "dagster/run-id": run,
        "dagster/step-key": step,
        "dagster/instance-id": instance,
        "dagster/cleanup": policy,
    }
    return {key: value for key, value in found.items() if value is not None}


def shared(*, scope: str | None = None, **more: Any) -> dict[str, str]:
    """Return the labels of a shared cluster."""
    found = {**labels(**more), "dagster/cluster-sharing": "true"}
    return found if scope is None else {**found, "dagster/sharing-scope": scope}


def lock(seconds: float, *, ttl: float = 600, now: datetime = NOON, name: str = "a") -> dict[str, str]:
    """Return the annotation of a lock that ends so many seconds after `now`."""
    applied = now + timedelta(seconds=seconds - ttl)
    found = Lock(name, RUN, STEP, applied, applied, ttl)
    return {found.key: found.text()}


def obj(
    name: str = "one",
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    *,
    age: float = 86_400,
    **more: Any,
) -> dict[str, Any]:
    """Return an object as a list shows it; `metadata`, `spec`, and `status` can be added to."""
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "creationTimestamp": time_text(NOON - timedelta(seconds=age)),
        "labels": labels or {},
        "annotations": annotations or {},
        **more.pop("metadata", {}),
    }
    return {"metadata": metadata, "spec": {}, **more}


def raycluster(name: str, labels: dict[str, str], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a RayCluster to create."""
    metadata = {"name": name, "namespace": "default", "labels": labels, "annotations": annotations or {}}
    return {"metadata": metadata, "spec": CLUSTER_SPEC}


def rayjob(name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    """Return a RayJob to create."""
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"metadata": metadata, "spec": {**JOB_SPEC, **spec}}


@dataclass
class World:
    """A simulated cluster whose objects nobody touches, and a Dagster instance."""

    simulator: Simulator
    instance: dg.DagsterInstance
    rules: Rules = field(default_factory=lambda: Rules(run_grace_seconds=0, pipes_grace_seconds=0))
    reports: list[Report] = field(default_factory=list[Report])
    later: timedelta = timedelta()
    """How far Dagster's clock is ahead of this machine's."""

    def collect(
        self,
        cursor: Cursor | None = None,
        *,
        namespaces: Sequence[str] = (),
        meanwhile: Callable[[], object] = lambda: None,
        deadline: Deadline | None = None,
        kubeconfig: Path | None = None,
        instance: Any = None,
        page: int = 250,
        pins_version: bool = True,
        query_seconds: float = 10.0,
        leaves_pools: bool = False,
    ) -> Cursor:
        """Run one collection; `meanwhile` is called after each page was listed, before anything of it is deleted."""

        def planned(candidates: Sequence[Candidate], facts: InstanceFacts, now: datetime) -> Plan:
            found = plan(candidates, facts, now, self.rules)
            meanwhile()
            return found

        api = KubernetesApi.load(str(kubeconfig or self.simulator.kubeconfig))
        try:
            collector = Collector(
                api,
                RunReader(
                    instance or self.instance, lambda: datetime.now(UTC) + self.later, query_seconds=query_seconds
                ),
                Work(planned, pins_version=pins_version, page=page, call_seconds=0.5, leaves_pools=leaves_pools),
                deadline or Deadline(PATIENCE_SECONDS),
                logging.getLogger("collector"),
            )
            self.reports.append(collector.report)
            return collector.run(targets_of(namespaces, api.namespace), cursor or Cursor())
        finally:
            api.close()

    @property
    def report(self) -> Report:
        """What the last collection has seen and done."""
        return self.reports[-1]

    def create(self, *clusters: dict[str, Any]) -> None:
        """Create RayClusters."""
        for cluster in clusters:
            self.simulator.store.create("rayclusters", cluster)

    def wait_for_silence(self) -> None:
        """Let two hours pass for the API server, so that nothing that is there shows life."""
        self.simulator.faults.clock_offset_seconds += 7200

    def create_job_on(self, cluster: str) -> None:
        """Create somebody's RayJob that runs on a RayCluster which exists."""
        spec = {"submissionMode": "HTTPMode", "entrypoint": "true", "clusterSelector": {"ray.io/cluster": cluster}}
        metadata = {"name": f"on-{cluster}", "namespace": "default"}
        self.simulator.store.create("rayjobs", {"metadata": metadata, "spec": spec})

    def left(self, plural: str = "rayclusters") -> list[str]:
        """Return the names of the objects that are there."""
        return [found["metadata"]["name"] for found in self.simulator.store.list(plural)]

    def instance_labels(self, run_id: str, **more: Any) -> dict[str, str]:
        """Return the labels of what a run of this instance has made."""
        return labels(run=run_id, instance=instance_id_of(self.instance), **more)

    def run(self, *, fails: bool) -> str:
        """Execute a run with one step; return its id."""

        @dg.op
        def train() -> None:
            if fails:
                raise ValueError("told to fail")

        @dg.job
        def training() -> None:
            train()

        return training.execute_in_process(instance=self.instance, raise_on_error=False).run_id

"""The operator: watches the store, reconciles RayJobs and RayClusters, comes back when it is time."""

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from dagster_ray.kuberay._kubernetes.fields import at, mappings
from dagster_ray.kuberay._operator_rules.verdicts import event_message, raycluster_rejection
from dagster_ray.simulator._operator.actions import Action, Failure, Replace, StopJob, Submit
from dagster_ray.simulator._operator.conditions import cluster_status, inconsistent
from dagster_ray.simulator._operator.dashboard import Dashboard, DashboardCall, asked, token_of
from dagster_ray.simulator._operator.facts import JobFacts
from dagster_ray.simulator._operator.names import (
    CLUSTER_CONTROLLER,
    SUFFIX_ALPHABET,
    SUFFIX_LENGTH,
    EventFacts,
    is_terminating,
    name_of,
    namespace_of,
)
from dagster_ray.simulator._operator.objects import auth_secret_name
from dagster_ray.simulator._operator.pods import uses_token
from dagster_ray.simulator._operator.raycluster import autoscaler_request, plan_cluster
from dagster_ray.simulator._operator.rayjob import DASHBOARD_PORT, JobPlan, plan_job
from dagster_ray.simulator._operator.running import Limits
from dagster_ray.simulator._operator.submitter import Submitter
from dagster_ray.simulator._operator.versions import operator_version
from dagster_ray.simulator._operator.writes import (
    EventRecorder,
    ObjectStore,
    Writer,
    cluster_facts,
    job_facts,
)
from dagster_ray.simulator._schedule import Schedule, ScheduleThread

ObjectKey: TypeAlias = tuple[str, str]
_AFTER_STATUS_SECONDS = 2.0
_IDLE_SECONDS = 300.0
_FIRST_BACKOFF = 0.005
_LONGEST_BACKOFF = 1000.0
_OWN = ("ray.io/kuberay-operator", None, "")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """How the operator runs.

    Attributes:
        gates: Feature gates that differ from the release's defaults.
        limits: Its periods.
        now: Its clock.
        namespaces: The namespaces that it watches; None means all.
        autoscales: Whether one worker is started for a head without CPUs (see `autoscaler_request`), and a second one
            when its jobs wait for resources (see `autoscaler.py`).
        seed: Makes names repeatable; None means random ones.
    """

    gates: Mapping[str, bool] = field(default_factory=dict[str, bool])
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], datetime] = _utc_now
    namespaces: frozenset[str] | None = None
    autoscales: bool = True
    seed: int | None = None


class Operator:
    """The KubeRay operator of one release, over a store.

    Args:
        store: The objects.
        version: Such as "1.7.0" or "1.4" (newest patch).
        dashboard: Calls a cluster's dashboard; see `http_dashboard`.
        options: How it runs.

    Raises:
        ValueError: The version is not simulated.
    """

    def __init__(
        self, store: ObjectStore, version: str, *, dashboard: Dashboard, options: OperatorOptions | None = None
    ) -> None:
        self.options = options or OperatorOptions()
        self.version = operator_version(version, self.options.gates)
        self._store = store
        self._dashboard = dashboard
        now = self.options.now
        self._random = random.Random(self.options.seed)  # noqa: S311 - names, not secrets
        self._writer = Writer(store, EventRecorder.on(store, now), self.version.writes_new_events)
        self._failures: dict[tuple[str, ObjectKey], int] = {}
        self._seen: dict[ObjectKey, object] = {}
        submitter = Submitter(store, dashboard, now)
        keeps = self.version.keeps_delayed_reconciles
        jobs = Schedule[ObjectKey](now, keeps_later=keeps)
        clusters = Schedule[ObjectKey](now, keeps_later=keeps)
        self._jobs = ScheduleThread(jobs, self._reconcile_job, "simulated-rayjob-controller")
        self._clusters = ScheduleThread(clusters, self._reconcile_cluster, "simulated-raycluster-controller")
        self._submitters = ScheduleThread(submitter.schedule, submitter.step, "simulated-job-controller")
        self._unsubscribe: Callable[[], None] | None = None
        self._is_frozen = False

    @property
    def is_running(self) -> bool:
        """Whether it works: it was started, and neither stopped nor frozen."""
        return self._unsubscribe is not None and not self._is_frozen

    @property
    def loops(self) -> "tuple[ScheduleThread[ObjectKey], ...]":
        """The controllers, for a test that runs them by hand."""
        return (self._jobs, self._clusters, self._submitters)

    def watch(self) -> None:
        """Listen to the store, and look at everything that is there."""
        self._unsubscribe = self._store.subscribe(self._on_change)
        for plural in ("rayclusters", "rayjobs", "jobs"):
            for obj in self._store.list(plural):
                self._on_change("ADDED", plural, obj)

    def start(self) -> None:
        """Watch, and start the threads."""
        self.watch()
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """End the threads; objects stay as they are."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for loop in self.loops:
            loop.stop()

    def freeze(self) -> None:
        """Do nothing more until `thaw`, as an operator that is down."""
        self._is_frozen = True
        for loop in self.loops:
            loop.schedule.freeze(frozen=True)

    def thaw(self) -> None:
        """Go on with everything that changed meanwhile."""
        self._is_frozen = False
        for loop in self.loops:
            loop.schedule.freeze(frozen=False)

    def _on_change(self, kind: str, plural: str, obj: dict[str, Any]) -> None:
        if self.options.namespaces is not None and namespace_of(obj) not in self.options.namespaces:
            return
        key = (namespace_of(obj), name_of(obj))
        if plural == "rayjobs":
            self._jobs.schedule.add(key)
        elif plural == "rayclusters" and self._concerns_controller(kind, key, obj):
            self._clusters.schedule.add(key)
        elif plural == "jobs" and kind == "ADDED":
            self._submitters.schedule.add(key)
        if plural in ("rayclusters", "services", "pods", "jobs", "secrets"):
            self._wake_owners(obj)

    def _concerns_controller(self, kind: str, key: ObjectKey, obj: Mapping[str, Any]) -> bool:
        """Only a new generation, label or annotation of a RayCluster makes the operator look at it."""
        metadata = obj["metadata"]
        seen = (metadata.get("uid"), metadata.get("generation"), metadata.get("labels"), metadata.get("annotations"))
        changed = self._seen.get(key) != seen or kind == "DELETED"
        self._seen[key] = seen
        return changed

    def _wake_owners(self, obj: Mapping[str, Any]) -> None:
        for reference in mappings(at(obj, "metadata", "ownerReferences")):
            key = (namespace_of(obj), str(reference.get("name")))
            if reference.get("kind") == "RayCluster":
                self._clusters.schedule.add(key)
            elif reference.get("kind") == "RayJob":
                self._jobs.schedule.add(key)

    def _suffix(self) -> str:
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=SUFFIX_LENGTH))

    def _again(self, loop: "ScheduleThread[ObjectKey]", key: ObjectKey, seconds: float | None) -> None:
        if seconds is not None:
            loop.schedule.add(key, self.options.now() + timedelta(seconds=seconds))

    def _backed_off(self, kind: str, key: ObjectKey, *, failed: bool) -> float | None:
        """How long to wait after a failed reconcile: 5 ms doubled each time, at most 1000 s; None after a good one."""
        if not failed:
            self._failures.pop((kind, key), None)
            return None
        count = self._failures.get((kind, key), 0)
        self._failures[kind, key] = count + 1
        return min(_FIRST_BACKOFF * 2.0 ** min(count, 30), _LONGEST_BACKOFF)

    # RayCluster

    def _reconcile_cluster(self, key: ObjectKey) -> None:
        facts = cluster_facts(self._store, *key)
        if facts is None or is_terminating(facts.cluster):
            return
        if at(facts.cluster, "spec", "managedBy") not in _OWN:
            return
        rejection = raycluster_rejection(facts.cluster, self.version.name, self.version.gates)
        if rejection is not None:
            text = event_message(rejection, facts.cluster, self.version.name)
            self._writer.tell(
                EventFacts(facts.cluster, rejection.reason, text, CLUSTER_CONTROLLER, "Validate", warning=True)
            )
            return
        plan = plan_cluster(facts, self.version, self._suffix, lambda: secrets.token_bytes(32))
        failure = self._writer.carry_out(plan.actions)
        written = self._write_cluster_status(key, failure, plan.error)
        backoff = self._backed_off("cluster", key, failed=failure is not None or plan.error is not None)
        quiet = _AFTER_STATUS_SECONDS if written else _IDLE_SECONDS
        self._again(self._clusters, key, quiet if backoff is None else backoff)

    def _write_cluster_status(self, key: ObjectKey, failure: Failure | None, error: str | None) -> bool:
        facts = cluster_facts(self._store, *key)
        if facts is None:
            return False
        failures = () if failure is None else (failure,)
        status = cluster_status(facts, self.version, self.options.now(), failures, error)
        written = inconsistent(facts.cluster.get("status") or {}, status)
        if written:
            self._writer.put_status("rayclusters", facts.cluster, status)
        if self.options.autoscales:
            asked_for = autoscaler_request({**facts.cluster, "status": status})
            current = self._store.get("rayclusters", *key)
            if asked_for is not None and current is not None:
                self._writer.carry_out([Replace("rayclusters", {**current, "spec": asked_for["spec"]})])
        return written

    # RayJob

    def _reconcile_job(self, key: ObjectKey) -> None:
        facts = job_facts(self._store, *key)
        if facts is None:
            return
        plan = self._planned(facts)
        failure = self._carry_out(facts, plan)
        if plan.ask is not None and failure is None:
            answer = asked(self._dashboard, self._call(facts, "GET", f"/api/jobs/{plan.ask}"))
            facts = job_facts(self._store, *key)
            if facts is None or is_terminating(facts.rayjob):
                return
            plan = self._planned(replace(facts, answer=answer))
            failure = self._carry_out(facts, plan)
        if plan.status is not None and failure is None:
            failure = self._writer.put_status("rayjobs", facts.rayjob, plan.status)
        backoff = self._backed_off("job", key, failed=failure is not None or plan.error is not None)
        self._again(self._jobs, key, plan.requeue if backoff is None else backoff)

    def _planned(self, facts: JobFacts) -> JobPlan:
        return plan_job(facts, self.version, self.options.now(), self._suffix, self.options.limits)

    def _carry_out(self, facts: JobFacts, plan: JobPlan) -> Failure | None:
        calls = [action for action in plan.actions if isinstance(action, Submit | StopJob)]
        for action in calls:
            self._call_dashboard(facts, action)
        return self._writer.carry_out([action for action in plan.actions if not isinstance(action, Submit | StopJob)])

    def _call_dashboard(self, facts: JobFacts, action: Action) -> None:
        if isinstance(action, Submit):
            asked(self._dashboard, self._call(facts, "POST", "/api/jobs/", action.body))
        elif isinstance(action, StopJob):
            asked(self._dashboard, self._call(facts, "POST", f"/api/jobs/{action.job_id}/stop"))

    def _call(self, facts: JobFacts, method: str, path: str, body: Mapping[str, Any] | None = None) -> DashboardCall:
        cluster = facts.cluster or {}
        token = None
        if uses_token(cluster, self.version):
            token = token_of(self._store, cluster, auth_secret_name(cluster))
        port = str(facts.status.get("dashboardURL") or "").rpartition(":")[2]
        return DashboardCall(
            namespace_of(facts.rayjob),
            str(facts.status.get("rayClusterName") or ""),
            int(port) if port.isdigit() else DASHBOARD_PORT,
            method,
            path,
            body,
            token,
        )

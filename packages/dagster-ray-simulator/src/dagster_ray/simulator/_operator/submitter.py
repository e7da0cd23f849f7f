"""Stands in for the submitter of K8sJobMode: submits the job, follows it, finishes the batch Job. It makes no pods."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.simulator._api.store import Refused
from dagster_ray.simulator._operator.actions import Submit
from dagster_ray.simulator._operator.dashboard import Dashboard, DashboardCall, asked
from dagster_ray.simulator._operator.facts import JobFacts
from dagster_ray.simulator._operator.names import timestamp
from dagster_ray.simulator._operator.running import submission
from dagster_ray.simulator._operator.writes import ObjectStore
from dagster_ray.simulator._schedule import Schedule

_POLL_SECONDS = 1.0
_END_SECONDS = 4.0
_DASHBOARD_PORT = 8265


class Submitter:
    """Runs the batch Jobs that the operator creates.

    Args:
        store: The objects.
        dashboard: Calls a cluster's dashboard.
        now: The clock.
    """

    def __init__(self, store: ObjectStore, dashboard: Dashboard, now: Callable[[], datetime]) -> None:
        self.schedule = Schedule[tuple[str, str]](now)
        self._store = store
        self._dashboard = dashboard
        self._now = now
        self._ending: set[str] = set()

    def step(self, key: tuple[str, str]) -> None:
        """Look at one Job and its Ray job, and come back until it has finished."""
        job, rayjob = self._store.get("jobs", *key), self._store.get("rayjobs", *key)
        if job is None or rayjob is None or at(job, "status", "completionTime"):
            return
        uid = str(job["metadata"]["uid"])
        if uid in self._ending:
            self._ending.discard(uid)
            self._finish(job)
            return
        if not at(job, "status", "startTime"):
            self._put(job, {"startTime": timestamp(self._now()), "active": 1, "ready": 0})
        job_id = at(rayjob, "status", "jobId")
        delay = _POLL_SECONDS
        if job_id and at(rayjob, "status", "rayClusterName"):
            answer = asked(self._dashboard, self._call(rayjob, "GET", f"/api/jobs/{job_id}"))
            if answer.outcome == "absent":
                body = submission(JobFacts(rayjob))
                asked(self._dashboard, self._call(rayjob, "POST", "/api/jobs/", Submit(body).body))
            elif answer.details.get("status") in ("SUCCEEDED", "FAILED", "STOPPED"):
                self._ending.add(uid)
                delay = _END_SECONDS
        self.schedule.add(key, self._now() + timedelta(seconds=delay))

    def _call(
        self, rayjob: Mapping[str, Any], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> DashboardCall:
        namespace, cluster = str(at(rayjob, "metadata", "namespace")), str(at(rayjob, "status", "rayClusterName"))
        return DashboardCall(namespace, cluster, _DASHBOARD_PORT, method, path, body)

    def _finish(self, job: Mapping[str, Any]) -> None:
        moment = timestamp(self._now())
        reached = {"reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}
        ended = {"status": "True", "lastProbeTime": moment, "lastTransitionTime": moment, **reached}
        conditions = [{"type": kind, **ended} for kind in ("SuccessCriteriaMet", "Complete")]
        started = at(job, "status", "startTime")
        done = {"conditions": conditions, "startTime": started, "completionTime": moment, "succeeded": 1, "ready": 0}
        self._put(job, done)

    def _put(self, job: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        try:
            self._store.replace_status("jobs", {**job, "status": dict(status)})
        except Refused:
            return

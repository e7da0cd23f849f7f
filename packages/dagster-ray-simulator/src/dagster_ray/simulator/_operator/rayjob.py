"""What the operator does with a RayJob: one reconcile, from facts to a plan. Pure.

Facts: KubeRay controllers/ray/rayjob_controller.go, as recorded with 1.4.2 and 1.7.0. SidecarMode is not simulated:
such a RayJob becomes Running and its job is never found.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._operator_rules.verdicts import Rejection, event_message, rayjob_rejection
from dagster_ray.simulator._operator.actions import Action, Create, Delete, Replace, StopJob, Tell
from dagster_ray.simulator._operator.conditions import ZERO_STATUS, inconsistent
from dagster_ray.simulator._operator.endings import cluster_deletion, ending_plan
from dagster_ray.simulator._operator.facts import JobFacts
from dagster_ray.simulator._operator.names import (
    JOB_CONTROLLER,
    JOB_FINALIZER,
    EventFacts,
    full_name,
    head_service_name,
    is_terminating,
    name_of,
    namespace_of,
    texts,
    timestamp,
)
from dagster_ray.simulator._operator.objects import raycluster_of, submitter_job, typed_rayjob
from dagster_ray.simulator._operator.running import (
    Limits,
    Reconcile,
    deadline_failure,
    pre_running_failure,
    running,
)
from dagster_ray.simulator._operator.versions import OperatorVersion

_KUBERAY = "ray.io/kuberay-operator"
_TERMINAL_JOB = ("SUCCEEDED", "FAILED", "STOPPED")
_NO_RETRY = ("DeadlineExceeded", "JobStatusCheckTimeoutExceeded")
DASHBOARD_PORT = 8265


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a reconcile of a RayJob does.

    Attributes:
        actions: In order.
        status: The status to write after them; None for none.
        ask: The job id that the dashboard is asked about; the reconcile is then planned again with its answer.
        requeue: Seconds until the next reconcile; None for none.
        error: Why it counts as failed: it is tried again with a backoff.
    """

    actions: tuple[Action, ...] = ()
    status: Mapping[str, Any] | None = None
    ask: str | None = None
    requeue: float | None = None
    error: str | None = None


def plan_job(
    facts: JobFacts, version: OperatorVersion, now: datetime, suffix: Callable[[], str], limits: Limits
) -> JobPlan:
    """Return what one reconcile does.

    Args:
        facts: The RayJob and what exists of it.
        version: The operator's release.
        now: The time.
        suffix: Makes the random end of a name.
        limits: The operator's own periods.
    """
    if (facts.spec.get("managedBy") or _KUBERAY) != _KUBERAY:
        return JobPlan()
    if is_terminating(facts.rayjob):
        return _deleted(facts)
    rejection = rayjob_rejection(facts.rayjob, version.name, version.gates)
    if rejection is not None:
        return _rejected(facts, rejection, version, now)
    state = str(facts.status.get("jobDeploymentStatus") or "")
    if state in ("Complete", "Failed"):
        ending = ending_plan(facts, version, now, deletes_rayjobs=limits.deletes_rayjobs)
        return JobPlan(ending.actions, requeue=ending.again_after)
    step = _STEPS.get(state, _untouched)
    done = step(facts, Reconcile(version, now, suffix, limits))
    status = None if done.changes is None else _written(facts, done.changes, version, now)
    return JobPlan(done.actions, status, done.ask, limits.requeue_seconds, done.error)


def _rejected(facts: JobFacts, rejection: Rejection, version: OperatorVersion, now: datetime) -> JobPlan:
    text = event_message(rejection, facts.rayjob, version.name)
    told = Tell(EventFacts(facts.rayjob, rejection.reason, text, JOB_CONTROLLER, "Validate", warning=True))
    if not version.writes_validation_failed:
        return JobPlan((told,), error=rejection.message)
    end = {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": rejection.message}
    return JobPlan((told,), _written(facts, end, version, now))


def _deleted(facts: JobFacts) -> JobPlan:
    finalizers = texts(at(facts.rayjob, "metadata", "finalizers"))
    if JOB_FINALIZER not in finalizers:
        return JobPlan()
    actions: list[Action] = []
    job_id = facts.status.get("jobId")
    if facts.status.get("jobStatus") not in _TERMINAL_JOB and job_id and facts.status.get("dashboardURL"):
        actions.append(StopJob(str(job_id)))
    freed = typed_rayjob(facts.rayjob)
    freed["metadata"]["finalizers"] = [name for name in finalizers if name != JOB_FINALIZER]
    return JobPlan((*actions, Replace("rayjobs", freed)))


def _written(
    facts: JobFacts, changes: Mapping[str, Any], version: OperatorVersion, now: datetime
) -> dict[str, Any] | None:
    """The status to write; None when nothing that counts has changed."""
    old = facts.status
    status: dict[str, Any] = {"rayClusterStatus": dict(ZERO_STATUS), **old, **changes}
    if version.has_terminal_grace_period:
        status.setdefault("rayJobInfo", {})
    _account(status, facts, now)
    status = {key: value for key, value in status.items() if value is not None and value != ""}
    watched = ["jobStatus", "jobDeploymentStatus"]
    if version.has_status_check_timeout:
        watched.append("jobStatusCheckFailureStartTime")
    differs = any(status.get(field) != old.get(field) for field in watched)
    if version.mirrors_cluster_status:
        differs = differs or inconsistent(old.get("rayClusterStatus") or {}, status["rayClusterStatus"])
    return status if differs else None


def _account(status: dict[str, Any], facts: JobFacts, now: datetime) -> None:
    entered = status.get("jobDeploymentStatus") != facts.status.get("jobDeploymentStatus")
    state = status.get("jobDeploymentStatus")
    status["failed"] = int(status.get("failed") or 0) + (1 if entered and state == "Failed" else 0)
    won = entered and state == "Complete" and status.get("jobStatus") == "SUCCEEDED"
    status["succeeded"] = int(status.get("succeeded") or 0) + (1 if won else 0)
    if not entered or state not in ("Failed", "Complete"):
        return
    retries = int(facts.spec.get("backoffLimit") or 0)
    if state == "Failed" and status["failed"] <= retries and status.get("reason") not in _NO_RETRY:
        status["jobDeploymentStatus"] = "Retrying"
    else:
        status["endTime"] = timestamp(now)


@dataclass(frozen=True, slots=True)
class Done:
    """What one state's step came to; `changes` of the status are None when no status is written."""

    changes: Mapping[str, Any] | None = None
    actions: tuple[Action, ...] = ()
    ask: str | None = None
    error: str | None = None


def _new(facts: JobFacts, run: Reconcile) -> Done:
    actions: list[Action] = []
    finalizers = texts(at(facts.rayjob, "metadata", "finalizers"))
    if JOB_FINALIZER not in finalizers:
        held = typed_rayjob(facts.rayjob)
        held["metadata"]["finalizers"] = [*finalizers, JOB_FINALIZER]
        actions.append(Replace("rayjobs", held))
    changes: dict[str, Any] = {"jobDeploymentStatus": "Initializing", "startTime": timestamp(run.now)}
    if not facts.status.get("rayClusterName"):
        selected = at(facts.spec, "clusterSelector", CLUSTER_LABEL)
        own = f"{name_of(facts.rayjob)}{run.version.cluster_name_infix}{run.suffix()}"
        changes["rayClusterName"] = selected or own
    if facts.mode != "InteractiveMode" and not facts.status.get("jobId"):
        changes["jobId"] = facts.spec.get("jobId") or f"{name_of(facts.rayjob)}-{run.suffix()}"
    return Done(changes, tuple(actions))


def _initializing(facts: JobFacts, run: Reconcile) -> Done:
    if facts.spec.get("suspend") is True:
        return Done({"jobDeploymentStatus": "Suspending"})
    over = deadline_failure(facts, run) or pre_running_failure(facts, run)
    if over is not None:
        return Done(over)
    if facts.cluster is None:
        return _without_cluster(facts, run)
    if at(facts.cluster, "status", "state") == "ready":
        return _become_ready(facts, facts.cluster)
    if not run.version.mirrors_cluster_status:
        return Done()
    return Done({"rayClusterStatus": {**ZERO_STATUS, **mapping(facts.cluster.get("status"))}})


def _become_ready(facts: JobFacts, cluster: Mapping[str, Any]) -> Done:
    if not facts.has_dashboard_port:
        return Done(error="no port named dashboard")
    host = f"{head_service_name(cluster)}.{namespace_of(cluster)}.svc.cluster.local"
    changes = {"dashboardURL": f"{host}:{_dashboard_port(facts)}"}
    if facts.mode == "InteractiveMode":
        return Done({**changes, "jobDeploymentStatus": "Waiting"})
    actions: tuple[Action, ...] = ()
    if facts.mode == "K8sJobMode" and facts.submitter is None:
        text = f"Created Kubernetes Job {full_name(facts.rayjob)}"
        event = EventFacts(facts.rayjob, "CreatedRayJobSubmitter", text, JOB_CONTROLLER)
        actions = (Create("jobs", submitter_job(facts.rayjob), event),)
    return Done({**changes, "jobDeploymentStatus": "Running"}, actions)


def _dashboard_port(facts: JobFacts) -> int:
    ports = {port["name"]: port["port"] for port in at(facts.cluster_service, "spec", "ports") or ()}
    return int(ports.get("dashboard", DASHBOARD_PORT))


def _without_cluster(facts: JobFacts, run: Reconcile) -> Done:
    name = str(facts.status.get("rayClusterName"))
    where = f"{namespace_of(facts.rayjob)}/{name}"
    if facts.spec.get("clusterSelector"):
        text = f"RayCluster {where} set in the clusterSelector is not found. It must be created manually"
        event = EventFacts(facts.rayjob, "RayClusterNotFound", text, JOB_CONTROLLER, "Get", warning=True)
        return Done(actions=(Tell(event),) if run.version.since(5) else (), error="cluster not found")
    return Done(actions=(new_cluster(facts, run),))


def new_cluster(facts: JobFacts, run: Reconcile) -> Create:
    """Create the RayCluster under the name in the status."""
    cluster = raycluster_of(facts.rayjob, str(facts.status.get("rayClusterName")), run.version)
    created = EventFacts(facts.rayjob, "CreatedRayCluster", f"Created RayCluster {full_name(cluster)}", JOB_CONTROLLER)
    text = f"Failed to create RayCluster {full_name(cluster)}: "
    refused = EventFacts(facts.rayjob, "FailedToCreateRayCluster", text, JOB_CONTROLLER, warning=True)
    return Create("rayclusters", cluster, created, refused)


def _waiting(facts: JobFacts, run: Reconcile) -> Done:
    over = pre_running_failure(facts, run)
    if over is not None:
        return Done(over)
    job_id = facts.spec.get("jobId")
    return Done({"jobDeploymentStatus": "Running", "jobId": job_id}) if job_id else Done()


def _running(facts: JobFacts, run: Reconcile) -> Done:
    if facts.spec.get("suspend") is True:
        return Done({"jobDeploymentStatus": "Suspending"})
    over = deadline_failure(facts, run)
    if over is not None:
        return Done(over)
    if facts.cluster is None and not facts.spec.get("clusterSelector") and not run.is_over(facts):
        return Done(actions=(new_cluster(facts, run),))
    if facts.cluster is None:
        failure = run.overdue(facts)
        return Done(failure) if failure else Done(error="cluster not found")
    step = running(facts, run)
    return Done(step.changes, step.actions, step.ask, step.error)


def _stopping(facts: JobFacts, run: Reconcile) -> Done:
    """Suspending and Retrying: wait until cluster and submitter are gone."""
    actions: list[Action] = list(cluster_deletion(facts)) if not facts.spec.get("clusterSelector") else []
    if facts.submitter is not None and not is_terminating(facts.submitter):
        text = f"Deleted submitter K8s Job {full_name(facts.submitter)}"
        event = EventFacts(facts.rayjob, "DeletedRayJobSubmitter", text, JOB_CONTROLLER, "Delete")
        actions.append(Delete("jobs", namespace_of(facts.submitter), name_of(facts.submitter), event))
    if facts.cluster is not None or facts.submitter is not None:
        return Done(actions=tuple(actions))
    suspending = facts.status.get("jobDeploymentStatus") == "Suspending"
    cleared = dict.fromkeys(("rayClusterName", "dashboardURL", "jobId", "message", "reason", "jobStatus"), "")
    return Done(
        {
            **cleared,
            "rayClusterStatus": dict(ZERO_STATUS),
            "rayJobInfo": {} if run.version.has_terminal_grace_period else None,
            "jobStatusCheckFailureStartTime": None,
            "jobDeploymentStatus": "Suspended" if suspending else "",
        }
    )


def _untouched(facts: JobFacts, run: Reconcile) -> Done:
    """ValidationFailed: a spec that became valid changes nothing."""
    del facts, run
    return Done()


def _suspended(facts: JobFacts, run: Reconcile) -> Done:
    del run
    return Done() if facts.spec.get("suspend") is True else Done({"jobDeploymentStatus": ""})


_STEPS: Mapping[str, Callable[[JobFacts, Reconcile], Done]] = {
    "": _new,
    "Initializing": _initializing,
    "Waiting": _waiting,
    "Running": _running,
    "Suspending": _stopping,
    "Retrying": _stopping,
    "Suspended": _suspended,
}

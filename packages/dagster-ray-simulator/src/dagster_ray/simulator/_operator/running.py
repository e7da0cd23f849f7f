"""What the operator does with a RayJob that is Running: deadlines, the dashboard's answer, how it ends. Pure.

Facts: KubeRay controllers/ray/rayjob_controller.go, texts as recorded with 1.7.0.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.simulator._operator.actions import Action, Create, Submit
from dagster_ray.simulator._operator.conditions import ZERO_STATUS
from dagster_ray.simulator._operator.facts import JobFacts
from dagster_ray.simulator._operator.names import (
    JOB_CONTROLLER,
    EventFacts,
    full_name,
    go_time,
    seconds_since,
    timestamp,
)
from dagster_ray.simulator._operator.objects import job_service
from dagster_ray.simulator._operator.versions import OperatorVersion

_TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
_GRACE = "JobDeploymentStatusTransitionGracePeriodExceeded"
_SUBMISSION = (
    ("entrypointNumCpus", "entrypoint_num_cpus"),
    ("entrypointNumGpus", "entrypoint_num_gpus"),
    ("metadata", "metadata"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Periods of the operator, in seconds.

    Attributes:
        requeue_seconds: How often a RayJob is looked at.
        status_check_seconds: RAYJOB_STATUS_CHECK_TIMEOUT_SECONDS (1.7).
        transition_seconds: RAYJOB_DEPLOYMENT_STATUS_TRANSITION_GRACE_PERIOD_SECONDS.
        submitter_seconds: How long a finished submitter may be ahead of its job.
        deletes_rayjobs: DELETE_RAYJOB_CR_AFTER_JOB_FINISHES.
    """

    requeue_seconds: float = 3.0
    status_check_seconds: float = 300.0
    transition_seconds: float = 300.0
    submitter_seconds: float = 30.0
    deletes_rayjobs: bool = False


def failed(reason: str, message: str, **more: Any) -> dict[str, Any]:
    """The changes of a status that becomes Failed."""
    return {"jobDeploymentStatus": "Failed", "reason": reason, "message": message, **more}


@dataclass(frozen=True, slots=True)
class Reconcile:
    """What is the same for all steps of one reconcile."""

    version: OperatorVersion
    now: datetime
    suffix: Callable[[], str]
    limits: Limits

    def is_over(self, facts: JobFacts) -> bool:
        """Whether one of the operator's own limits for a Running job has passed."""
        return self.overdue(facts) is not None

    def overdue(self, facts: JobFacts) -> dict[str, Any] | None:
        """The end of a Running job whose dashboard or whose end is overdue; None when nothing is."""
        job_status = facts.status.get("jobStatus")
        if self.version.has_terminal_grace_period and job_status in _TERMINAL:
            gone = seconds_since(mapping(facts.status.get("rayJobInfo")).get("endTime"), self.now)
            if gone is not None and gone > self.limits.transition_seconds:
                text = (
                    "JobDeploymentStatus does not transition to Complete or Failed within the grace period"
                    " after JobStatus reaches a terminal state."
                )
                end = "Failed" if job_status == "FAILED" else "Complete"
                return {"jobDeploymentStatus": end, "reason": _GRACE, "message": text}
        if not self.version.has_status_check_timeout:
            return None
        since = facts.status.get("jobStatusCheckFailureStartTime")
        failing = seconds_since(since, self.now)
        if failing is None or failing <= self.limits.status_check_seconds:
            return None
        text = (
            f"Job status checks have been failing since {go_time(str(since)).removesuffix(' +0000 UTC')};"
            f" exceeded timeout of {self.limits.status_check_seconds:.0f}s"
        )
        return failed("JobStatusCheckTimeoutExceeded", text)


def deadline_failure(facts: JobFacts, run: Reconcile) -> dict[str, Any] | None:
    """The end of a RayJob that passed activeDeadlineSeconds; None when it did not."""
    return _deadline(facts, run, "activeDeadlineSeconds", "DeadlineExceeded")


def pre_running_failure(facts: JobFacts, run: Reconcile) -> dict[str, Any] | None:
    """The end of a RayJob that passed preRunningDeadlineSeconds; None when it did not."""
    if not run.version.has_pre_running_deadline:
        return None
    return _deadline(facts, run, "preRunningDeadlineSeconds", "PreRunningDeadlineExceeded")


def _deadline(facts: JobFacts, run: Reconcile, field: str, reason: str) -> dict[str, Any] | None:
    limit, started = facts.spec.get(field), facts.status.get("startTime")
    passed = seconds_since(started, run.now)
    if limit is None or passed is None or passed < limit:
        return None
    shown = field[0].upper() + field[1:]
    text = f"The RayJob has passed the {field}. StartTime: {go_time(str(started))}. {shown}: {limit}"
    return failed(reason, text)


@dataclass(frozen=True, slots=True)
class Step:
    """What a look at a Running job came to; `changes` None writes nothing."""

    changes: Mapping[str, Any] | None = None
    actions: tuple[Action, ...] = ()
    ask: str | None = None
    error: str | None = None


def running(facts: JobFacts, run: Reconcile) -> Step:
    """One look at a Running job whose cluster exists."""
    over = run.overdue(facts)
    if over is not None:
        return Step(over)
    actions: tuple[Action, ...] = ()
    if _lacks_service(facts, run) and facts.cluster is not None:
        service = job_service(facts.rayjob, facts.cluster)
        text = f"Created the service {full_name(service)}"
        actions = (Create("services", service, EventFacts(facts.rayjob, "CreatedService", text, JOB_CONTROLLER)),)
    ended = _submitter_failure(facts, run)
    if ended is not None:
        return Step(ended, actions)
    if facts.answer is None:
        return Step(actions=actions, ask=str(facts.status.get("jobId") or ""))
    if facts.answer.outcome == "absent":
        return _absent(facts, run, actions)
    if facts.answer.outcome == "failed":
        return _unreachable(facts, run, actions)
    return Step(_told(facts, run), actions)


def _lacks_service(facts: JobFacts, run: Reconcile) -> bool:
    return run.version.makes_job_service and not facts.has_job_service and not facts.spec.get("clusterSelector")


def _submitter_failure(facts: JobFacts, run: Reconcile) -> dict[str, Any] | None:
    ended = facts.submitter_condition()
    if facts.mode != "K8sJobMode" or ended is None:
        return None
    if ended.get("type") == "Failed":
        reason = "AppFailed" if facts.status.get("jobStatus") == "FAILED" else "SubmissionFailed"
        text = f"Job submission has failed. Reason: {ended.get('reason')}. Message: {ended.get('message')}"
        return failed(reason, text)
    finished = ended.get("lastTransitionTime")
    late = seconds_since(finished, run.now)
    if not run.version.since(5) or late is None or late <= run.limits.submitter_seconds:
        return None
    text = (
        f"The RayJob submitter finished at {go_time(str(finished))} but the ray job did not reach terminal state"
        f" within {run.limits.submitter_seconds:.0f}s"
    )
    return failed(_GRACE, text, jobStatus="FAILED")


def _absent(facts: JobFacts, run: Reconcile, actions: tuple[Action, ...]) -> Step:
    if facts.mode == "HTTPMode":
        return Step(actions=(*actions, Submit(submission(facts))))
    if facts.mode == "K8sJobMode":
        if run.version.since(5) and facts.submitter_condition() is not None:
            text = "Submitter completed but Ray job not found in RayCluster."
            return Step(failed("AppFailed", text), actions)
        return Step(actions=actions)
    if run.version.has_status_check_timeout:
        return Step(actions=actions)
    return Step(actions=actions, error="job not found")


def _unreachable(facts: JobFacts, run: Reconcile, actions: tuple[Action, ...]) -> Step:
    if not run.version.has_status_check_timeout:
        return Step(actions=actions, error="dashboard failed")
    if facts.status.get("jobStatusCheckFailureStartTime"):
        return Step(actions=actions)
    return Step({"jobStatusCheckFailureStartTime": timestamp(run.now)}, actions)


def _told(facts: JobFacts, run: Reconcile) -> dict[str, Any]:
    details = mapping(facts.answer.details if facts.answer else None)
    job_status = str(details.get("status") or "")
    changes: dict[str, Any] = {
        "jobStatus": job_status,
        "message": str(details.get("message") or ""),
        "jobStatusCheckFailureStartTime": None,
        "rayClusterStatus": {**ZERO_STATUS, **mapping((facts.cluster or {}).get("status"))},
    }
    if run.version.has_terminal_grace_period:
        times = {"startTime": details.get("start_time"), "endTime": details.get("end_time")}
        changes["rayJobInfo"] = {name: _from_milliseconds(value) for name, value in times.items() if value}
    ended = job_status in _TERMINAL
    if facts.mode == "K8sJobMode":
        ended = ended and facts.submitter_condition() is not None
    if ended:
        lost = job_status == "FAILED"
        changes |= (
            {"jobDeploymentStatus": "Failed", "reason": "AppFailed"} if lost else {"jobDeploymentStatus": "Complete"}
        )
    return changes


def _from_milliseconds(value: int) -> str:
    return timestamp(datetime.fromtimestamp(value / 1000, UTC))


def submission(facts: JobFacts) -> dict[str, Any]:
    """The body that the operator POSTs to /api/jobs/ in HTTPMode (KubeRay utils/dashboard_httpclient.go)."""
    body: dict[str, Any] = {
        "entrypoint": facts.spec.get("entrypoint") or "",
        "submission_id": facts.status.get("jobId"),
    }
    for field, sent in _SUBMISSION:
        if facts.spec.get(field):
            body[sent] = facts.spec[field]
    if text := facts.spec.get("runtimeEnvYAML"):
        body["runtime_env"] = yaml.safe_load(text)
    if text := facts.spec.get("entrypointResources"):
        body["entrypoint_resources"] = json.loads(text)
    return body

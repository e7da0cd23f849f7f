"""What `KubeRayInteractiveJob` does with its RayJob. Thin: decisions are in the modules that it calls."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dagster_ray.core import DagsterContext, Deadline, StepOutcome, log_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.route import Route
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError, KubernetesError
from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._spec.portable import portable_spec
from dagster_ray.kuberay._status.cluster_state import GATE_TEXT, Created
from dagster_ray.kuberay._status.errors import ClusterGoneError, SpecRefusedError, WriteDeniedError
from dagster_ray.kuberay._steps.creation import Wish, create, refuse_strategy
from dagster_ray.kuberay._steps.ending import ending_of
from dagster_ray.kuberay._steps.heartbeat import alive_annotations
from dagster_ray.kuberay._steps.wait import ClusterWait, WaitPlan

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi


def wait(
    api: "KubernetesApi",
    wish: Wish,
    job: Created,
    plan: WaitPlan,
    keep: Callable[[Created | None], None],
    *,
    log: logging.Logger,
    deadline: Deadline,
) -> tuple[ClusterWait, Route]:
    """Return the RayJob's wait and the way to its head, once the head accepts drivers.

    An operator that refuses the deletion strategy although its CRD has it (KubeRay 1.5 with default gates) gets the
    portable form in a second RayJob.

    Args:
        api: The Kubernetes API.
        wish: What was asked for.
        job: The RayJob that was made.
        plan: What the wait is for.
        keep: Takes the RayJob that is the step's from now on; None while the second one is asked for.
        log: Where changes are told.
        deadline: Ends the wait.
    """
    waiting = ClusterWait(api, job, plan, log)
    try:
        return waiting, waiting.run(deadline)
    except SpecRefusedError as error:
        if GATE_TEXT not in error.message or portable_spec(mapping(job.manifest.get("spec"))) is None:
            raise
        log.info("%s: this operator refuses deletionStrategy; the portable form is used.", job.target)
    api.delete(RAYJOBS, job.namespace, job.name, deadline, uid=job.uid)
    refuse_strategy(api)
    keep(None)
    again = create(api, wish, deadline, log)
    keep(again)
    waiting = ClusterWait(api, again, plan, log)
    return waiting, waiting.run(deadline)


def register(
    api: "KubernetesApi", job: Created, job_id: str, deadline: Deadline, labels: Mapping[str, str] | None = None
) -> None:
    """Write the driver's job id into the RayJob, and when that was.

    The operator takes it when all pods are ready, and follows the driver from then on (run with 1.4.2 and 1.7.0).

    Args:
        api: The Kubernetes API.
        job: The RayJob.
        job_id: What Ray calls the driver, or the job.
        deadline: Ends the call.
        labels: Labels to write with it.

    Raises:
        ClusterGoneError: The RayJob does not exist any more.
        WriteDeniedError: A policy or webhook denies the update; the operator would never know the driver.
        KubernetesError: The API server refused for another reason, or does not answer.
    """
    metadata = {"uid": job.uid, "annotations": alive_annotations(api), "labels": dict(labels or {})}
    patch = {"metadata": metadata, "spec": {"jobId": job_id}}
    try:
        api.patch(RAYJOBS, job.namespace, job.name, patch, deadline)
    except KubernetesError as error:
        if proves_gone(error):
            raise ClusterGoneError(job.target, "it was deleted while the driver connected") from error
        if isinstance(error, InvalidObjectError):
            raise WriteDeniedError(job.target, "The driver's job id (spec.jobId)", error.message) from error
        raise


def record_outcome(
    api: "KubernetesApi",
    job: Created,
    outcome: StepOutcome,
    context: DagsterContext,
    deadline: Deadline,
    *,
    always: bool,
) -> bool:
    """Write how the step ended, and what follows from it, into the RayJob while its driver still runs.

    Returns:
        Whether the operator now deletes what the spec says for a failure, so that nothing is left for us.
    """
    ending = ending_of(mapping(job.manifest.get("spec")), outcome, always=always)
    if ending.patch is None:
        return False
    body = {**ending.patch, "metadata": {**mapping(ending.patch.get("metadata")), "uid": job.uid}}
    try:
        api.patch(RAYJOBS, job.namespace, job.name, body, deadline)
    except DagsterRayError as error:
        log_of(context).warning("%s: the outcome could not be written: %s", job.target, error)
        return False
    if ending.left_to_operator:
        log_of(context).info("%s: the operator does what the spec says for a failure.", job.target)
    return ending.left_to_operator

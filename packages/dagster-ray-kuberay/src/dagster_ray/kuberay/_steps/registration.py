"""What a step writes into its RayJob about the driver, or the Ray job, that the operator is to follow."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import InvalidObjectError, KubernetesError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._status.cluster_state import misses_pods, waits_for_pods
from dagster_ray.kuberay._status.errors import ClusterGoneError, WriteDeniedError
from dagster_ray.kuberay._steps.ending import ends_when_failed
from dagster_ray.kuberay._steps.heartbeat import alive_annotations

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_LIMIT = "preRunningDeadlineSeconds"

WITHOUT_LIMIT: Mapping[str, Any] = {_LIMIT: None}
"""The change of a RayJob's spec that ends the operator's limit for what comes before it follows a job.

KubeRay 1.6 and later count it while pods are missing too (rayjob_controller.go: Initializing), so it would end the
cluster under a driver that is connected already.
"""


def register(step: "StepCluster", job_id: str, deadline: Deadline, labels: Mapping[str, str] | None = None) -> bool:
    """Write the driver's job id into the RayJob, when that was, and that the operator sets the wait no limit any more.

    The operator takes the id when all pods are ready, and follows the driver from then on (run with 1.4.2 and 1.7.0).

    Args:
        step: The cluster of the step.
        job_id: What Ray calls the driver, or the job.
        deadline: Ends the call.
        labels: Labels to write with it.

    Returns:
        Whether pods are still missing. Until they are there, only the step knows whether its driver lives: it has to
        show a sign of life, and to call `limit_again` at its end.

    Raises:
        ClusterGoneError: The RayJob does not exist any more.
        WriteDeniedError: A policy or webhook denies the update; the operator would never know the driver.
        KubernetesError: The API server refused for another reason, or does not answer.
    """
    metadata = {"annotations": alive_annotations(step.api), "labels": dict(labels or {})}
    target = step.made.target
    try:
        answer = step.change({"metadata": metadata, "spec": {"jobId": job_id, **WITHOUT_LIMIT}}, deadline)
    except KubernetesError as error:
        if proves_gone(error):
            raise ClusterGoneError(target, "it was deleted while the driver connected") from error
        if isinstance(error, InvalidObjectError):
            raise WriteDeniedError(target, "The driver's job id (spec.jobId)", error.message) from error
        raise
    return misses_pods(answer)


def limit_of(rayjob: Manifest, otherwise: int | None = None) -> dict[str, Any]:
    """Return the change of a RayJob's spec that brings its limit back; empty if it had none. Pure.

    Args:
        rayjob: The RayJob as it was created.
        otherwise: The limit in seconds if that is not known, since an earlier attempt has lifted it.
    """
    limit = at(rayjob, "spec", _LIMIT) or otherwise
    return {} if limit is None else {_LIMIT: limit}


def limit_at_end(step: "StepCluster", limit: Mapping[str, Any], *, stays: bool) -> Mapping[str, Any]:
    """Return the limit that a RayJob gets back at the end of its step while a pod is missing; empty if it gets none.

    Where the operator would delete nothing at the limit, the RayJob would look ended, and its cluster would stay.

    Args:
        step: The cluster of the step.
        limit: What `limit_of` says of the RayJob as it was created.
        stays: Whether the step leaves the RayJob to the operator.
    """
    own = step.made
    if not limit or ends_when_failed(mapping(own.manifest.get("spec"))):
        return limit
    if stays:
        said = (
            "%s: a pod of its cluster is missing, and its `deletionStrategy` has no rule for jobDeploymentStatus "
            "Failed, so the operator does not end it. The cleanup sensor does after the run; to end it now: "
            "kubectl delete rayjob -n %s %s"
        )
        step.log.warning(said, own.target, own.namespace, own.name)
    return {}


def limit_again(step: "StepCluster", limit: Mapping[str, Any], deadline: Deadline, *, stays: bool) -> None:
    """Give the operator its limit back after the end of a driver that it has never seen, because pods were missing.

    It would wait for those pods without an end, and keep the others: it does not look at a job before all are there.
    Where it has seen the driver in the meantime, the limit does nothing.

    Args:
        step: The cluster of the step.
        limit: What `limit_of` says of the RayJob as it was created.
        deadline: Ends the call.
        stays: Whether the step leaves the RayJob to the operator.
    """
    if not limit:
        return
    try:
        if ends_when_failed(mapping(step.made.manifest.get("spec"))):
            step.change({"spec": limit}, deadline)
        elif stays and waits_for_pods(step.change({}, deadline)):  # the pods may have come since
            limit_at_end(step, limit, stays=True)
    except DagsterRayError as error:
        if not proves_gone(error):
            said = "%s could not be changed, so its cluster stays while a pod of it is missing: %s"
            step.log.warning(said, step.made.target, error)

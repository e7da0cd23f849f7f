"""Hold the RayJob of a step that failed for some time, so that somebody can look at its cluster."""

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping, time_text
from dagster_ray.kuberay._labels import HELD_ANNOTATION
from dagster_ray.kuberay._spec.rules import SELECTOR
from dagster_ray.kuberay._status.cluster_state import waits_for_pods
from dagster_ray.kuberay._steps.ending import OUTCOME_LABEL
from dagster_ray.kuberay._steps.lost_pods import losses_of_cluster
from dagster_ray.kuberay._steps.registration import limit_of

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_LOOK_SECONDS = 4.0


def why_not_held(spec: Manifest) -> str | None:
    """Return why the operator would not end the cluster after some time; None if it does. Pure.

    Only what ends by itself is held: nobody may look at it, and a cleanup sensor need not run.

    Args:
        spec: The RayJob's spec.
    """
    if spec.get("deletionStrategy"):
        return "its `deletionStrategy` says when the operator deletes the cluster"
    if spec.get(SELECTOR):
        return "it runs on a cluster that exists without it"
    if spec.get("shutdownAfterJobFinishes") is not True:
        return "without `shutdownAfterJobFinishes` the operator would never delete the cluster"
    return None


def holding_patch(seconds: float, now: datetime) -> dict[str, Any]:
    """Return the merge patch that holds a RayJob: the operator deletes its cluster after so many seconds. Pure.

    Args:
        seconds: How long it is held.
        now: The API server's time.
    """
    until = time_text(now + timedelta(seconds=seconds))
    metadata = {"annotations": {HELD_ANNOTATION: until}, "labels": {OUTCOME_LABEL: "failed"}}
    return {"metadata": metadata, "spec": {"ttlSecondsAfterFinished": math.ceil(seconds)}}


def hold(step: "StepCluster", seconds: float, deadline: Deadline) -> bool:
    """Hold a step's RayJob, whose driver is still connected or whose job has ended; return whether it is held.

    Args:
        step: The cluster of the step.
        seconds: How long it is held.
        deadline: Ends the call.
    """
    own = step.made
    because = why_not_held(mapping(own.manifest.get("spec")))
    if because is None:
        look = Deadline(min(_LOOK_SECONDS, deadline.remaining_seconds()))
        if any(loss.is_head for loss in losses_of_cluster(step, look)):
            step.log.warning("%s is not held: its head was lost, and the operator would never see an end.", own.target)
            return False
        try:
            patch = holding_patch(seconds, step.api.server_time())
            seen = step.change(patch, deadline)
        except DagsterRayError as error:
            because = str(error)
        else:
            if waits_for_pods(seen) and not limit_of(own.manifest):
                said = "%s is not held: a pod is missing, and without preRunningDeadlineSeconds nothing would end it."
                step.log.warning(said, own.target)
                return False
            said = "%s is held until %s because of hold_on_failure. To end it earlier: kubectl delete rayjob -n %s %s"
            until = patch["metadata"]["annotations"][HELD_ANNOTATION]
            step.log.warning(said, own.target, until, own.namespace, own.name)
            return True
    step.log.warning("%s is not held although hold_on_failure is set: %s", own.target, because)
    return False

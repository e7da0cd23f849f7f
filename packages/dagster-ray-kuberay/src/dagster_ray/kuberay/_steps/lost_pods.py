"""Reads what became lately of the pods of a step's cluster."""

from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.failures.causes import Loss
from dagster_ray.kuberay._diagnosis.losses import losses_of
from dagster_ray.kuberay._diagnosis.nodes import OF_EVENT
from dagster_ray.kuberay._kubernetes.kinds import EVENTS, PODS, RAYCLUSTERS

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster


def losses_of_cluster(step: "StepCluster", deadline: Deadline) -> list[Loss]:
    """Read what became of the pods of a step's cluster lately; what may not be read is left out.

    Args:
        step: The cluster.
        deadline: Ends the reads.
    """
    api, own, log = step.api, step.own, step.log
    if own is None or step.is_closed:
        return []
    namespace, cluster = own.namespace, step.cluster_name or (own.name if own.kind is RAYCLUSTERS else None)
    if cluster is None:
        return []
    try:
        pods = api.list(PODS, namespace, deadline, label_selector=f"ray.io/cluster={cluster}").items
    except DagsterRayError as error:
        log.debug("The pods of %s could not be read, so less is known of the failure: %s", cluster, error)
        return []
    now = api.server_time()
    found = losses_of(pods, (), cluster, step.head_pod, now)
    if any(loss.kind != "head-replaced" for loss in found):
        return found
    events: list[dict[str, Any]] = []
    try:
        for reason in OF_EVENT:  # all events of a busy namespace would be too many
            selector = f"involvedObject.kind=Pod,reason={reason}"
            events += api.list(EVENTS, namespace, deadline, field_selector=selector).items
    except DagsterRayError as error:
        log.debug("Events could not be read, so less is known of the failure: %s", error)
    return losses_of(pods, events, cluster, step.head_pod, now)

"""Whether the cluster of a Ray job ends although the job may still run. Pure."""

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, text
from dagster_ray.kuberay._status.cluster_state import HEAD_READY, Created, Ended, Queued, condition_of

VERDICT_ANNOTATION = "dagster/pipes-verdict"
"""Annotation of the RayJob of a job of Pipes: what the step has concluded about its job, good or bad."""


def keeps_jobs(raycluster: Manifest) -> bool:
    """Return whether a RayCluster keeps its jobs when its head is replaced: its control store lies outside of it."""
    annotated = text(raycluster, "metadata", "annotations", "ray.io/ft-enabled")
    return bool(at(raycluster, "spec", "gcsFaultToleranceOptions")) or annotated.lower() == "true"


def has_no_head(raycluster: Manifest) -> bool:
    """Return whether the operator finds no head pod (raycluster_controller.go of KubeRay 1.3 and later)."""
    return condition_of(mapping(raycluster.get("status")), HEAD_READY).get("reason") == "HeadPodNotFound"


def end_of(job: Created, seen: Manifest, *, deleted: bool = False) -> str | None:
    """Return in words why the cluster of a RayJob, or a RayCluster, ends; None if it does not.

    What became of the job itself is told by its job server, with exit code and log, so an end that follows from the
    job's own is none here.

    Args:
        job: The object, when the step got it.
        seen: The object as it was seen last.
        deleted: Whether that came with a watch event DELETED.
    """
    state = job.state_of(seen, deleted=deleted)
    if isinstance(state, Ended):
        own = state.status == "Complete" or at(seen, "status", "jobStatus") == "FAILED"
        if own and not state.is_deleted:
            return None
        if state.is_deleted:
            return "was deleted by somebody else"
        return f"is {state.status} ({state.reason or 'no reason given'}): {state.message or 'no message'}"
    if isinstance(state, Queued):
        return f"lost its cluster: {state.sentence}"
    return None

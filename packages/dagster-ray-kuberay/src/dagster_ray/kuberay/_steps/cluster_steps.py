"""What every resource does with its cluster. Thin: decisions are in the modules that it calls."""

import contextlib
import logging
from typing import TYPE_CHECKING, Literal

from dagster_ray.core import DagsterContext, Deadline, log_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.dashboard import read_token, secret_name
from dagster_ray.kuberay._head.route import Access, goes_direct
from dagster_ray.kuberay._kubernetes.errors import ConflictError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, propagation_of
from dagster_ray.kuberay._status.cluster_state import Created, Ended, created
from dagster_ray.kuberay._status.errors import (
    ClusterGoneError,
    RayJobEndedError,
)
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, Wish, create, forgotten_if_refused
from dagster_ray.kuberay._steps.wait import ClusterWait, WaitPlan

if TYPE_CHECKING:
    from dagster_ray.kuberay._kuberay_resource import Work
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_CHECK_SECONDS = 10.0
_LOST_POST_SECONDS = 1.0
_LOST_POST_LOOKS = 8  # within the 20 s that a cleanup has


def load_api(kubeconfig_file: str | None, context: str | None) -> "KubernetesApi":
    """Return a client of the Kubernetes API. Imports kubernetes."""
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

    return KubernetesApi.load(kubeconfig_file, context)


def create_wanted(work: "Work", api: "KubernetesApi", wish: Wish, deadline: Deadline, log: logging.Logger) -> None:
    """Create what is wanted, and note as far as it goes what there may be to delete."""

    def forget() -> None:
        work.wish = None

    work.wish = wish
    with forgotten_if_refused(api, forget):
        work.own = create(api, wish, deadline, log)
    log.info("%s was created.", work.own.target)


def wait_plan(
    api: "KubernetesApi",
    *,
    access: Access,
    head_host: str | None,
    wait_for: Literal["head", "workers"] = "head",
    queue_timeout: float,
    goal: Literal["drivers", "dashboard"] = "drivers",
    even_if_complete: bool = False,
) -> WaitPlan:
    """Return what the wait is for, and how the head is reached."""
    direct = goes_direct(access, in_cluster=api.in_cluster, head_host=head_host)
    return WaitPlan(direct, head_host, wait_for, queue_timeout, goal, even_if_complete)


def token(api: "KubernetesApi", own: Created, waiting: ClusterWait, deadline: Deadline) -> str | None:
    """Return the cluster's token; None if it has none."""
    name = secret_name(own.cluster_spec, waiting.cluster or own.name)
    return None if name is None else read_token(api, own.namespace, name, own.target, deadline)


def check(api: "KubernetesApi", own: Created, waiting: ClusterWait | None, context: DagsterContext) -> None:
    """Raise if the RayJob has ended, or it or the RayCluster is gone; take note of a new head pod.

    An API server that cannot be asked is no reason: the cluster may be well.
    """
    try:
        found = api.get(own.kind, own.namespace, own.name, Deadline(_CHECK_SECONDS))
    except NotFoundError as error:
        raise ClusterGoneError(own.target, "it was deleted by somebody else") from error
    except DagsterRayError as error:
        log_of(context).warning("%s could not be read: %s", own.target, error)
        return
    state = own.state_of(found)
    if at(found, "metadata", "uid") != own.uid or (isinstance(state, Ended) and state.is_deleted):
        raise ClusterGoneError(own.target, "it was deleted by somebody else")
    if isinstance(state, Ended):
        raise RayJobEndedError(own.target, state.status, state.reason, state.message)
    if waiting is not None:
        waiting.take(found)
        take_raycluster(api, own, waiting, log_of(context))


def take_raycluster(api: "KubernetesApi", own: Created, waiting: ClusterWait, log: logging.Logger) -> Manifest | None:
    """Take note of the head pod that a RayJob's RayCluster has now; return the RayCluster, None if it is not known.

    The RayJob's own copy of that status stands still once the operator has seen all pods ready.
    """
    if own.kind is not RAYJOBS or waiting.cluster is None:
        return None
    try:  # by a list, which the wait itself needs too; `get` is a right of its own
        selector = f"metadata.name={waiting.cluster}"
        found = api.list(RAYCLUSTERS, own.namespace, Deadline(_CHECK_SECONDS), field_selector=selector).items
    except DagsterRayError as error:
        log.debug("The RayCluster of %s could not be read: %s", own.target, error)
        return None
    if not found:
        return None
    waiting.take_cluster(found[0])
    return found[0]


def delete(api: "KubernetesApi", wish: Wish, own: Created | None, context: DagsterContext, deadline: Deadline) -> None:
    """Delete the object, if it is ours and still there."""
    found = own or _lost(api, wish, deadline)
    if found is None:
        return
    propagation = propagation_of(found.kind)
    try:
        was_there = api.delete(
            found.kind, found.namespace, found.name, deadline, uid=found.uid, propagation=propagation
        )
    except ConflictError:  # another uid: somebody made a new object of this name
        was_there = False
    log_of(context).info("%s was deleted." if was_there else "%s was already gone.", found.target)


def _lost(api: "KubernetesApi", wish: Wish, deadline: Deadline) -> Created | None:
    """Return the object that an interrupted POST has made, if it made one.

    The server may still be at work on the POST, so it is looked for during some seconds.
    """
    for _ in range(_LOST_POST_LOOKS):
        for name in wish.names:
            with contextlib.suppress(NotFoundError):
                existing = api.get(wish.kind, wish.namespace, name, deadline)
                if at(existing, "metadata", "annotations", CREATION_ANNOTATION) == wish.creation_id:
                    return created(wish.kind, wish.namespace, existing)
        deadline.sleep(_LOST_POST_SECONDS)
    return None

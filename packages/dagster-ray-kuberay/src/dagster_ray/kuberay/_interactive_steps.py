"""What `KubeRayInteractiveJob` does in each phase. Thin: decisions are in the modules that it calls."""

import contextlib
import importlib.metadata
import logging
import os
import platform
from typing import TYPE_CHECKING, Literal

from dagster_ray.core import DagsterContext, Deadline, StepOutcome
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._cluster_errors import (
    ClusterGoneError,
    RayJobEndedError,
    SpecRefusedError,
    TokenRequiredError,
    VersionMismatchError,
)
from dagster_ray.kuberay._dashboard import Metadata, Refused, ask, mismatch
from dagster_ray.kuberay._ending import ending_of
from dagster_ray.kuberay._head_route import Access, Route, goes_direct
from dagster_ray.kuberay._kinds import RAYJOBS
from dagster_ray.kuberay._kubernetes_errors import ConflictError, InvalidObjectError, NotFoundError
from dagster_ray.kuberay._manifest_fields import at, mapping
from dagster_ray.kuberay._portable import portable_spec
from dagster_ray.kuberay._rayjob_creation import (
    CREATION_ANNOTATION,
    CreatedRayJob,
    Wish,
    create_rayjob,
    refuse_strategy,
)
from dagster_ray.kuberay._rayjob_state import GATE_TEXT, Ended, read_rayjob
from dagster_ray.kuberay._rayjob_wait import RayJobWait, WaitPlan
from dagster_ray.kuberay._token import read_token, secret_name

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes import KubernetesApi

_GREET_SECONDS = 5.0
_CHECK_SECONDS = 10.0
_LOST_POST_SECONDS = 1.0
_LOST_POST_LOOKS = 8  # within the 20 s that a cleanup has


def log_of(context: DagsterContext) -> logging.Logger:
    """Return the logger whose lines appear in the run's event log."""
    return context.log or logging.getLogger("dagster_ray")


def load_api(kubeconfig_file: str | None, context: str | None) -> "KubernetesApi":
    """Return a client of the Kubernetes API. Imports kubernetes."""
    from dagster_ray.kuberay._kubernetes import KubernetesApi

    return KubernetesApi.load(kubeconfig_file, context)


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


def wait(
    api: "KubernetesApi", wish: Wish, job: CreatedRayJob, plan: WaitPlan, *, log: logging.Logger, deadline: Deadline
) -> tuple[CreatedRayJob, RayJobWait, Route]:
    """Return the RayJob, its wait and the way to its head, once the head accepts drivers.

    An operator that refuses the deletion strategy although its CRD has it (KubeRay 1.5 with default gates) gets the
    portable form in a second RayJob.
    """
    waiting = RayJobWait(api, job, plan, log)
    try:
        return job, waiting, waiting.run(deadline)
    except SpecRefusedError as error:
        if GATE_TEXT not in error.message or portable_spec(mapping(job.rayjob.get("spec"))) is None:
            raise
        log.info("%s: this operator refuses deletionStrategy; the portable form is used.", job.target)
    api.delete(RAYJOBS, job.namespace, job.name, deadline, uid=job.uid)
    refuse_strategy(api)
    again = create_rayjob(api, wish, deadline, log)
    waiting = RayJobWait(api, again, plan, log)
    return again, waiting, waiting.run(deadline)


def token(api: "KubernetesApi", job: CreatedRayJob, waiting: RayJobWait, deadline: Deadline) -> str | None:
    """Return the cluster's token; None if it has none."""
    name = secret_name(job.rayjob, waiting.cluster or job.name)
    return None if name is None else read_token(api, job.namespace, name, job.target, deadline)


def greet(job: CreatedRayJob, route: Route, token: str | None, context: DagsterContext, deadline: Deadline) -> None:
    """Make sure that Ray Client will be understood, which it would tell only after 30 s and in one sentence for all.

    Raises:
        TokenRequiredError: The cluster wants a token, and we have none or a wrong one.
        VersionMismatchError: Ray or Python differ too much.
    """
    if route.dashboard_url is None:
        return
    token = token or (os.environ.get("RAY_AUTH_TOKEN") if os.environ.get("RAY_AUTH_MODE") == "token" else None)
    answer = ask(route.dashboard_url, token, min(_GREET_SECONDS, max(0.1, deadline.remaining_seconds())))
    if isinstance(answer, Refused):
        raise TokenRequiredError(job.target, answer.answer)
    if not isinstance(answer, Metadata):
        log_of(context).debug("%s: the dashboard did not tell its versions: %s", job.target, answer.reason)
        return
    found = mismatch(Metadata(importlib.metadata.version("ray"), platform.python_version()), answer)
    if found is None:
        return
    if found[0] == "Python" and os.environ.get("RAY_IGNORE_VERSION_MISMATCH"):
        log_of(context).warning("%s runs %s %s, the step %s.", job.target, found[0], found[2], found[1])
        return
    raise VersionMismatchError(job.target, *found)


def check(api: "KubernetesApi", job: CreatedRayJob, waiting: RayJobWait | None, context: DagsterContext) -> None:
    """Raise if the RayJob has ended or is gone.

    An API server that cannot be asked is no reason: the cluster may be well.
    """
    try:
        rayjob = api.get(RAYJOBS, job.namespace, job.name, Deadline(_CHECK_SECONDS))
    except NotFoundError as error:
        raise ClusterGoneError(job.target, "it was deleted by somebody else") from error
    except DagsterRayError as error:
        log_of(context).warning("%s could not be read: %s", job.target, error)
        return
    state = read_rayjob(rayjob)
    if at(rayjob, "metadata", "uid") != job.uid or (isinstance(state, Ended) and state.is_deleted):
        raise ClusterGoneError(job.target, "it was deleted by somebody else")
    if isinstance(state, Ended):
        raise RayJobEndedError(job.target, state.status, state.reason, state.message)
    if waiting is not None:
        waiting.take(rayjob)


def register(api: "KubernetesApi", job: CreatedRayJob, job_id: str, deadline: Deadline) -> None:
    """Write the driver's job id into the RayJob.

    The operator takes it when all pods are ready, and follows the driver from then on (run with 1.4.2 and 1.7.0).
    """
    patch = {"metadata": {"uid": job.uid}, "spec": {"jobId": job_id}}
    try:
        api.patch(RAYJOBS, job.namespace, job.name, patch, deadline)
    except (NotFoundError, ConflictError, InvalidObjectError) as error:
        raise ClusterGoneError(job.target, "it was deleted while the driver connected") from error


def record_outcome(
    api: "KubernetesApi",
    job: CreatedRayJob,
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
    ending = ending_of(mapping(job.rayjob.get("spec")), outcome, always=always)
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


def delete(
    api: "KubernetesApi", wish: Wish, job: CreatedRayJob | None, context: DagsterContext, deadline: Deadline
) -> None:
    """Delete the RayJob, if it is ours and still there."""
    found = (job.name, job.uid) if job is not None else _lost(api, wish, deadline)
    if found is None:
        return
    with contextlib.suppress(NotFoundError):
        try:
            api.delete(RAYJOBS, wish.namespace, found[0], deadline, uid=found[1])
        except ConflictError:  # another uid: somebody made a new object of this name
            return
    log_of(context).info("RayJob %s/%s was deleted.", wish.namespace, found[0])


def _lost(api: "KubernetesApi", wish: Wish, deadline: Deadline) -> tuple[str, str] | None:
    """Return name and uid of the object that an interrupted POST has made, if it made one.

    The server may still be at work on the POST, so it is looked for during some seconds.
    """
    for _ in range(_LOST_POST_LOOKS):
        for name in wish.names:
            with contextlib.suppress(NotFoundError):
                existing = api.get(RAYJOBS, wish.namespace, name, deadline)
                if at(existing, "metadata", "annotations", CREATION_ANNOTATION) == wish.creation_id:
                    return name, str(at(existing, "metadata", "uid"))
        deadline.sleep(_LOST_POST_SECONDS)
    return None

"""What the collector looks at in a RayCluster or RayJob: the few facts that decide. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dagster_ray.core import Identity
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, text, time_of
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, Kind
from dagster_ray.kuberay._labels import (
    ALIVE_ANNOTATION,
    BACKFILL_LABEL,
    BACKFILL_SCOPE,
    CLEANUP_LABEL,
    DRIVER_IN_CLUSTER,
    DRIVER_LABEL,
    HELD_ANNOTATION,
    INSTANCE_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POOL_LABEL,
    RUN_LABEL,
    RUN_SCOPE,
    SCOPE_LABEL,
    SHARED,
    SHARING_LABEL,
    STEP_LABEL,
)
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._pipes.attempts import CALL_LABEL
from dagster_ray.kuberay._sharing.locks import AnyLock, locks_of

ORIGIN_LABEL = "ray.io/originated-from-crd"
"""KubeRay's label on a RayCluster: the kind of object that it was made for."""
SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{ORIGIN_LABEL}!={RAYJOBS.kind}"
"""What the collector lists: all that dagster-ray has made itself."""

_OVER = {"Complete", "Failed"}
_MISSES_PODS = "Initializing"
_WAITING = {_MISSES_PODS, "Waiting"}
_QUEUED = {"Suspended", "Suspending"}
_REFUSED = "ValidationFailed"
_BY_OPERATOR = "HTTPMode"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a RayJob's status and spec say.

    Attributes:
        is_over: Whether its job has ended, so that the operator does what its deletion settings say. A RayJob whose
            spec was refused is not: the operator never touches it again.
        waits: Whether its cluster is there or comes, and no job id was written.
        waits_since: When the wait began: `status.startTime`, else when it was created.
        operator_ends_at: When the operator gives the wait up by itself (KubeRay 1.6 and later); None if never. The step
            lifts that limit when its driver is connected, and brings it back at its end.
        has_driver: Whether it has a job id and, as far as the operator has seen, its driver still runs. The id of
            a run's worker, which the operator itself submits, says nothing before its cluster is up.
        is_unseen: Whether it has a job id that its operator does not look at before all pods are ready, so that its
            status says nothing of the driver: only the step's own sign tells whether that lives.
        is_queued: Whether it is suspended, so that it has no pods.
        is_refused: Whether the operator refuses its spec and never touches it again.
    """

    is_over: bool
    waits: bool
    waits_since: datetime | None
    operator_ends_at: datetime | None
    has_driver: bool = False
    is_unseen: bool = False
    is_queued: bool = False
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """One object.

    Attributes:
        kind: RayCluster or RayJob.
        namespace: Its namespace.
        name: Its name.
        uid: Tells it from another of the same name.
        resource_version: Tells it from what it was before or became after.
        is_ours: Whether dagster-ray has made it.
        is_terminating: Whether it is being deleted.
        is_of_rayjob: Whether it is the cluster of a RayJob, which is what is judged.
        is_shared: Whether it is a cluster for many steps.
        is_run_scoped: Whether it ends with its run although it is shared.
        is_pipes: Whether a call of `PipesKubeRayJobClient` has made it, so that a re-execution may follow it.
        is_driver: Whether the body of its step runs there as a Ray job, which can outlive the step.
        run_id: The run that it was made in.
        step_key: The step that it was made for.
        instance_id: The Dagster instance of the run.
        policy: The lifecycle's cleanup policy.
        locks: All locks on it.
        created_at: When it was created, by the API server's clock.
        job: What only a RayJob has.
        backfill_id: The backfill with which it ends although it is shared; None if it does not.
        alive_at: When its step last showed that it lives, by the API server's clock; None if it never did.
        pool: The pool that it belongs to, which is judged as a whole; None if it belongs to none.
        held_until: Until when it is held after its step failed, by the API server's clock; None if it is not.
    """

    kind: Kind
    namespace: str
    name: str
    uid: str
    resource_version: str
    is_ours: bool
    is_terminating: bool
    is_of_rayjob: bool
    is_shared: bool
    is_run_scoped: bool
    is_pipes: bool
    is_driver: bool
    run_id: str | None
    step_key: str | None
    instance_id: str | None
    policy: str | None
    locks: tuple[AnyLock, ...]
    created_at: datetime | None
    job: JobFacts | None
    backfill_id: str | None = None
    alive_at: datetime | None = None
    held_until: datetime | None = None
    pool: str | None = None

    @property
    def label(self) -> str:
        """What it is called in reports."""
        return f"{self.kind.kind} {self.namespace}/{self.name}"

    @property
    def is_followed(self) -> bool:
        """Whether a step follows a Ray job there and renews its sign of life, so that the job itself is none."""
        return self.is_pipes or self.is_driver

    @property
    def is_identified(self) -> bool:
        """Whether a delete can name exactly this object in this state."""
        return bool(self.namespace and self.name and self.uid and self.resource_version)


def candidate_of(kind: Kind, obj: Manifest) -> Candidate:
    """Return the facts of an object as a list of the API server has it."""
    metadata = mapping(obj.get("metadata"))
    labels, annotations = mapping(metadata.get("labels")), mapping(metadata.get("annotations"))
    created_at = time_of(metadata.get("creationTimestamp"))
    return Candidate(
        kind=kind,
        namespace=_text(metadata.get("namespace")),
        name=_text(metadata.get("name")),
        uid=_text(metadata.get("uid")),
        resource_version=_text(metadata.get("resourceVersion")),
        is_ours=labels.get(MANAGED_BY_LABEL) == MANAGED_BY,
        is_terminating=bool(metadata.get("deletionTimestamp")),
        is_of_rayjob=_is_of_rayjob(metadata, labels),
        is_shared=labels.get(SHARING_LABEL) == SHARED,
        is_run_scoped=labels.get(SCOPE_LABEL) == RUN_SCOPE,
        is_pipes=CALL_LABEL in labels,
        is_driver=labels.get(DRIVER_LABEL) == DRIVER_IN_CLUSTER,
        run_id=_full_value(labels, annotations, RUN_LABEL),
        step_key=_full_value(labels, annotations, STEP_LABEL),
        instance_id=_full_value(labels, annotations, INSTANCE_LABEL),
        policy=_full_value(labels, annotations, CLEANUP_LABEL),
        locks=locks_of(obj),
        created_at=created_at,
        job=_job_facts(obj, created_at) if kind == RAYJOBS else None,
        backfill_id=(
            _full_value(labels, annotations, BACKFILL_LABEL) if labels.get(SCOPE_LABEL) == BACKFILL_SCOPE else None
        ),
        alive_at=time_of(annotations.get(ALIVE_ANNOTATION)),
        held_until=time_of(annotations.get(HELD_ANNOTATION)),
        pool=_text(labels.get(POOL_LABEL)) or None if kind == RAYCLUSTERS else None,
    )


def selected_cluster(rayjob: Manifest) -> str | None:
    """Return the name of the RayCluster that a RayJob runs on without having made it, while the RayJob is not over."""
    if text(rayjob, "status", "jobDeploymentStatus") in {*_OVER, _REFUSED}:
        return None
    name = at(rayjob, "spec", "clusterSelector", CLUSTER_LABEL)
    return name if isinstance(name, str) and name else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _full_value(labels: Manifest, annotations: Manifest, key: str) -> str | None:
    """Return what a label says; where it had to be shortened, the annotation of the same key has all of it."""
    label, full = labels.get(key), annotations.get(key)
    if not isinstance(label, str) or not label:
        return None
    return full if isinstance(full, str) and Identity.label_value(full) == label else label


def _is_of_rayjob(metadata: Manifest, labels: Manifest) -> bool:
    owned = any(owner.get("kind") == RAYJOBS.kind for owner in mappings(metadata.get("ownerReferences")))
    return owned or labels.get(ORIGIN_LABEL) == RAYJOBS.kind


def _job_facts(obj: Manifest, created_at: datetime | None) -> JobFacts:
    spec, status = mapping(obj.get("spec")), mapping(obj.get("status"))
    word, started_at = text(status, "jobDeploymentStatus"), time_of(status.get("startTime"))
    seconds = spec.get("preRunningDeadlineSeconds")
    ends_at = None
    if started_at is not None and isinstance(seconds, int) and not isinstance(seconds, bool):
        ends_at = _later(started_at, seconds)
    is_awaited = spec.get("submissionMode") == _BY_OPERATOR and word == _MISSES_PODS
    has_id = bool(spec.get("jobId") or status.get("jobId")) and not is_awaited
    return JobFacts(
        is_over=word in _OVER,
        waits=word in _WAITING and not spec.get("jobId"),
        waits_since=started_at or created_at,
        operator_ends_at=ends_at,
        has_driver=word not in {*_OVER, _REFUSED} and has_id,
        is_unseen=word == _MISSES_PODS and has_id,
        is_queued=word in _QUEUED or spec.get("suspend") is True,
        is_refused=word == _REFUSED,
    )


def _later(time: datetime, seconds: int) -> datetime:
    try:
        return time + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=time.tzinfo)

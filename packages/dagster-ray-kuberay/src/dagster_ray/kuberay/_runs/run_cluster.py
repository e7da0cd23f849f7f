"""The RayCluster of a run: brought up by a thread for the first step that needs it, and given up with the run."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import dagster as dg
from dagster._core.definitions.scoped_resources_builder import ScopedResourcesBuilder
from dagster._core.execution.context.system import PlanOrchestrationContext
from pydantic import PrivateAttr
from typing_extensions import override

from dagster_ray.core import DagsterRayError, Deadline, StepOutcome, interrupts_deferred, is_of_this_machine, log_of
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.kuberay._cluster import KubeRayCluster
from dagster_ray.kuberay._sharing.config import ClusterSharing
from dagster_ray.pipes.errors import JobLostError, StepNotMovableError
from dagster_ray.pipes.executors import Place

if TYPE_CHECKING:
    from dagster_ray.kuberay._sharing.choice import Leave
    from dagster_ray.kuberay._sharing.shared_cluster import SharedCluster
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_CLEANUP_SECONDS = 20.0
_NAMES = (
    "image",
    "env_vars",
    "queue",
    "priority",
    "queue_timeout",
    "wait_for",
    "access",
    "head_host",
    "kubeconfig_file",
    "kube_context",
    "preflight",
    "timeout",
    "ray_cluster",
    "cluster_sharing",
)


def fields_of(resource: type[dg.ConfigurableResource[Any]], names: Iterable[str]) -> Mapping[str, dg.Field]:
    """Return some fields of a resource, as they are configured elsewhere."""
    found: Any = resource.to_config_schema().as_field().config_type
    return {name: found.fields[name] for name in names}


CLUSTER_FIELDS = fields_of(KubeRayCluster, _NAMES)
"""The fields of `KubeRayCluster` that a cluster for jobs can have."""


class RunRayCluster(KubeRayCluster):
    """A `KubeRayCluster` for the jobs of a run: taken by the run's worker, and deleted by it when the run is over."""

    _feature: ClassVar[str] = "executor"
    _is_final: bool = PrivateAttr(default=False)
    """Whether the run is over, so that a cluster of the run alone is of no use any more."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the cluster that `CLUSTER_FIELDS` describe.

        Raises:
            InvalidFieldError: A field has a wrong value.
        """
        sharing: Any = fields.get("cluster_sharing") or (fields.get("ray_cluster") or {}).get("cluster_sharing")
        sharing = {"enabled": True, "match_run": True} if sharing is None else sharing
        given: dict[str, Any] = {**fields, "cluster_sharing": sharing, "driver": "cluster"}
        found = cls(**given)
        if found._sharing is None:
            reason = "is off, and the processes of a run find its cluster by what they share"
            advice = "leave it out: then the cluster is shared within the run only"
            raise InvalidFieldError("kuberay.cluster_sharing.enabled", reason, advice)
        return found

    def place(self) -> Place:
        """Return where jobs run, once the cluster is up."""
        _ = self._created
        assert self._host is not None  # noqa: S101 - set with the cluster
        return self._host.place_for(is_only_step=False, about="of this run")

    def give_up(self, context: dg.InitResourceContext, *, is_final: bool) -> None:
        """Remove the lock of the run, and delete a cluster of the run alone if the run is over."""
        self._is_final = is_final
        try:
            self.leave_cluster(context, StepOutcome.UNKNOWN, Deadline(_CLEANUP_SECONDS))
        finally:
            self.release(context)

    @override
    def _take(self, cluster: "SharedCluster", sharing: ClusterSharing) -> None:
        check_storage(cluster, self.preflight)
        super()._take(cluster, sharing)

    @override
    def _leaving(self, cluster: "SharedCluster", outcome: StepOutcome, *, made: bool) -> "Leave":
        from dagster_ray.kuberay._sharing.choice import Leave

        if self._is_final and cluster.ends_with_run:
            return Leave.RELEASE_AND_DELETE_UNUSED
        return super()._leaving(cluster, outcome, made=made)


def context_of(
    instance: dg.DagsterInstance | None, run: dg.DagsterRun | None, log: dg.DagsterLogManager | None = None
) -> dg.InitResourceContext:
    """Return the context in which a cluster is asked for outside of a step."""
    return dg.InitResourceContext(
        resource_config={},
        resources=ScopedResourcesBuilder().build(None),
        resource_def=None,
        all_resource_defs={},
        instance=instance,
        dagster_run=run,
        log_manager=log,
    )


def check_storage(cluster: "StepCluster", preflight: str) -> None:
    """Raise if the cluster's pods cannot reach the storage of the instance.

    Where the API server is on this machine, its pods may have files of this machine: then it is a warning.

    Raises:
        StepNotMovableError: The storage is in files.
    """
    from dagster._core.storage.event_log.sqlite import ConsolidatedSqliteEventLogStorage, SqliteEventLogStorage
    from dagster._core.storage.runs.sqlite import SqliteRunStorage

    instance, run = cluster.context.instance, cluster.context.run
    if preflight == "off" or instance is None or run is None:
        return
    in_files = (SqliteRunStorage, SqliteEventLogStorage, ConsolidatedSqliteEventLogStorage)
    if not isinstance(instance.run_storage, in_files) and not isinstance(instance.event_log_storage, in_files):
        return
    reason = "the storage of Dagster's instance is SQLite, in files that the cluster's pods do not have"
    if not is_of_this_machine(cluster.api.server):
        advice = (
            "let the instance store in PostgreSQL or MySQL, or use `driver='cluster'`, which needs no storage there"
        )
        raise StepNotMovableError(f"The run {run.run_id[:8]}", reason, advice)
    cluster.log.warning("Steps may fail: %s, unless their node is this machine.", reason)


class _Start:
    """One attempt to bring the cluster up, by a thread of its own."""

    def __init__(self, cluster: RunRayCluster, context: dg.InitResourceContext) -> None:
        """Begin."""
        self._cluster, self._context, self._deadline = cluster, context, Deadline(cluster.timeout)
        self._place: Place | None = None
        self._error: BaseException | None = None
        self.is_lost = False
        """Whether the cluster, or its head, is gone."""
        self._thread = threading.Thread(target=self._run, name="cluster of the run", daemon=True)
        self._thread.start()

    @property
    def is_spent(self) -> bool:
        """Whether no other job can be submitted there."""
        return self._error is not None or self.is_lost

    def place(self) -> Place | None:
        """Return where jobs run; None while the cluster is coming up.

        Raises:
            DagsterRayError: It did not come up.
        """
        if self._thread.is_alive():
            return None
        if self._error is not None:
            raise self._error
        return self._place

    def end(self, *, is_final: bool) -> None:
        """End the attempt, or the use of the cluster."""
        self._deadline.budget_seconds = 0.0
        self._thread.join(_CLEANUP_SECONDS)
        try:
            self._cluster.give_up(self._context, is_final=is_final)
        except DagsterRayError as error:
            log = log_of(self._context)
            log.warning("%s could not be given up; the sensor deletes it. %s", self._cluster.display_name, error)

    def _run(self) -> None:
        cluster = self._cluster
        try:
            cluster.create_cluster(self._context, self._deadline)
            cluster.wait_for_cluster(self._context, self._deadline)
            found = cluster.place()
            self._place = dataclasses.replace(found, check=lambda: self._check(found))
        except BaseException as error:  # noqa: BLE001 - the steps that wait for it fail with it
            self._error = error

    def _check(self, found: Place) -> None:
        try:
            found.check()
        except JobLostError:
            self.is_lost = True
            raise


class RunCluster:
    """The one place of a run's steps: its RayCluster.

    Steps that wait for a cluster which does not come up fail with it; the next attempt of a step, or the next step,
    asks for another one. So it is where the cluster is lost.
    """

    def __init__(self, cluster: Callable[[], RunRayCluster]) -> None:
        """Take what makes the resource; nothing is asked for before a step needs it."""
        self._cluster = cluster
        self._context: dg.InitResourceContext | None = None
        self._start: _Start | None = None
        self._asked: dict[str, _Start] = {}

    def begin(self, plan_context: PlanOrchestrationContext) -> None:
        """Take the run."""
        self._context = context_of(plan_context.instance, plan_context.dagster_run, plan_context.log)

    def place_of(self, submission_id: str) -> Place | None:
        """Return the cluster's job server; None while it is coming up.

        Raises:
            DagsterRayError: The cluster that this job has waited for did not come up.
        """
        start = self._asked.get(submission_id)
        if start is None or start.is_lost:
            start = self._asked[submission_id] = self._current()
        return start.place()

    def _current(self) -> _Start:
        if self._start is not None and self._start.is_spent:
            self._start.end(is_final=False)
            self._start = None
        if self._start is None:
            assert self._context is not None  # noqa: S101 - set by begin
            self._start = _Start(self._cluster(), self._context)
        return self._start

    def end(self, *, will_resume: bool) -> None:
        """Give the cluster up; delete it if it is of this run alone, and no other process goes on with the run."""
        start, self._start = self._start, None
        if start is not None:
            with interrupts_deferred(redeliver=True):
                start.end(is_final=not will_resume)

"""`KubeRayCluster`: a RayCluster around a step, of its own, shared, or adopted."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self, cast

from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, StepOutcome
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.variables import variable_of
from dagster_ray.kuberay._kuberay_resource import KubeRayResource
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.selection import selected_cluster
from dagster_ray.kuberay.configs import ClusterSharing, RayClusterConfig

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.kuberay._sharing.choice import Leave
    from dagster_ray.kuberay._sharing.requests import SharedRequest
    from dagster_ray.kuberay._sharing.steps import Held
    from dagster_ray.kuberay._status.errors import NameTakenError
    from dagster_ray.kuberay._steps.creation import ClusterRequest
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class _Share:
    """What one execution has to do with a cluster that is not its own."""

    request: "SharedRequest | None" = None
    held: "Held | None" = None
    adopted: bool = False

    def forget(self) -> None:
        """Look for no lock at the end: there is certainly none."""
        self.request = None


class KubeRayCluster(KubeRayResource):
    """A Ray cluster on Kubernetes as a RayCluster: of one step, shared by many, or one that exists.

    Without sharing the cluster is created before the step and deleted after it. With `cluster_sharing` a step takes a
    cluster that others have left, or makes one and leaves it; the cleanup sensor deletes it when nobody has used it for
    some time. A cluster that `ray_cluster.metadata.name` names and dagster-ray has not made is used and never deleted.

    Prefer `KubeRayInteractiveJob` where the operator itself shall end the cluster.
    Needs the KubeRay operator 1.3.0 or later.
    """

    ray_cluster: RayClusterConfig = Field(
        default_factory=RayClusterConfig,
        description="The RayCluster: metadata and spec. Unset: a small autoscaling cluster.",
    )
    cluster_sharing: ClusterSharing | None = Field(
        default=None,
        description="Whether and with whom the cluster is shared. Unset: what ray_cluster says.",
    )

    _kind: ClassVar[str] = "RayCluster"
    _share: _Share = PrivateAttr(default_factory=_Share)

    @model_validator(mode="after")
    def _sharing_is_configured_once(self) -> Self:
        inner, outer = self._config.sharing, self._outer_sharing
        if inner is not None and outer is not None and inner != outer:
            reason = "differs from ray_cluster.cluster_sharing"
            raise InvalidSpecError("cluster_sharing", reason, "keep one of the two")
        if self._sharing is not None and variable_of(self._config.spec_file) is None:
            spec: Json = self._config.plain()["spec"]
            if selected_cluster(spec) is not None:
                reason = "is given, and a clusterSelector names the cluster that is used"
                raise InvalidSpecError("cluster_sharing", reason, "keep one of the two")
        return self

    # What users read

    @property
    def cluster_name(self) -> str | None:
        """The RayCluster's name; None before there is one."""
        own = self._cluster.own if self._cluster is not None else None
        return own.name if own is not None else None

    # The phases

    @override
    def can_use_driver_at(self, address: str) -> bool:
        """Return whether it may be this cluster's: a client's driver may be, on a cluster that others have made."""
        may_exist = self._sharing is not None or "name" in self._config.metadata
        return may_exist and address.startswith("ray://")

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Create the RayCluster, take a shared one, or adopt the one that is named."""
        cluster = self._opened(context, deadline)
        if self._sharing is None:
            self._create_or_adopt(cluster)
        else:
            self._take(cluster)

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the head accepts drivers, then make sure that ours will be understood."""
        from dagster_ray.kuberay._status.errors import ClusterGoneError

        cluster = self._created
        while cluster.route is None:
            try:
                cluster.wait()
            except ClusterGoneError as error:
                if self._share.request is None or deadline.is_over():
                    raise
                cluster.log.warning("%s Another cluster is taken.", error.problem)
                self._take(cluster)
        cluster.greet()

    @override
    def leave_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Stop the heartbeat, and remove this step's lock unless it is to keep the cluster for others."""
        from dagster_ray.kuberay._sharing.leaving import leave
        from dagster_ray.kuberay._sharing.steps import find_lost

        share, cluster = self._share, self._cluster
        if cluster is None:
            return
        self._stop_heartbeat(cluster)
        try:
            held = share.held
            if held is None and share.request is not None:
                held = find_lost(cluster.api, share.request, deadline)
            if held is not None:
                leave(cluster.api, held, self._leaving(held, outcome), deadline, cluster.log)
        except DagsterRayError as error:
            cluster.log.warning(
                "%s: the lock of this step could not be removed; it ends by itself. %s", self.display_name, error
            )

    # A cluster of its own, or one that exists

    def _create_or_adopt(self, cluster: "StepCluster") -> None:
        from dagster_ray.kuberay._sharing.adoption import adopt_selected
        from dagster_ray.kuberay._status.errors import NameTakenError
        from dagster_ray.kuberay._steps.requests import namespace_of, raycluster_request

        sharing = self._config.sharing or self._outer_sharing or ClusterSharing()
        plain = self._config.plain()
        selected = selected_cluster(plain["spec"])
        if selected is not None:
            self._share.adopted = True
            self._hold(cluster, adopt_selected(cluster, namespace_of(plain, cluster), selected, sharing.ttl_seconds))
            return
        request = raycluster_request(plain, self._settings, cluster)
        cluster.check_before(request, self.preflight, "cluster")
        while cluster.own is None:
            try:
                cluster.create(request)
                cluster.keep_alive()
            except NameTakenError as taken:
                self._adopt_named(cluster, request, taken)

    def _adopt_named(self, cluster: "StepCluster", request: "ClusterRequest", taken: "NameTakenError") -> None:
        """Use the cluster that has the name; do nothing if it has been deleted meanwhile, so that the name is free."""
        from dagster_ray.kuberay._kubernetes.errors import NotFoundError
        from dagster_ray.kuberay._sharing.adoption import adopt

        sharing = self._config.sharing or self._outer_sharing or ClusterSharing()
        try:
            found = adopt(cluster, request.namespace, request.names[0], sharing.ttl_seconds)
        except NotFoundError:
            if cluster.deadline.sleep(_AGAIN_SECONDS):
                return
            raise taken from None
        if found is None:
            raise taken
        self._share.adopted = True
        self._hold(cluster, found)

    # A shared cluster

    def _take(self, cluster: "StepCluster") -> None:
        from dagster_ray.kuberay._sharing.requests import shared_request
        from dagster_ray.kuberay._sharing.steps import acquire

        share = self._share
        self._stop_heartbeat(cluster)
        share.held = share.request = None
        request = shared_request(self._config.plain(), self._settings, self._sharing or ClusterSharing(), cluster)
        cluster.check_before(request.sample(), self.preflight, "sharing")
        share.request = request
        with cluster.if_refused(share.forget):
            held = acquire(cluster.api, request, cluster.deadline, cluster.log)
        self._hold(cluster, held)

    def _hold(self, cluster: "StepCluster", held: "Held") -> None:
        """Use a cluster that others may use; it is never deleted as a step's own."""
        sharing = self._config.sharing or self._outer_sharing or ClusterSharing()
        cluster.use(held.own)
        self._share.held = held
        if sharing.heartbeat and held.is_locked:
            cluster.keep_alive(held.lock, sharing.renewal_interval_seconds())

    def _stop_heartbeat(self, cluster: "StepCluster") -> None:
        from dagster_ray.kuberay._sharing.locks import Lock

        share, sign = self._share, cluster.stop_heartbeat()
        if share.held is not None and isinstance(sign, Lock):
            share.held = replace(share.held, lock=sign)

    def _leaving(self, held: "Held", outcome: StepOutcome) -> "Leave":
        from dagster_ray.kuberay._sharing.choice import Leave, leaving

        sharing = self._sharing
        if self._share.adopted or sharing is None:
            return Leave.RELEASE
        return leaving(
            outcome,
            used=self._cluster is not None and self._cluster.route is not None,
            made=held.made,
            run_scope=sharing.match_run,
            release_on_success=sharing.release_on_success,
        )

    # Type checkers see no type in a nested config of Dagster's, so it is stated here once.

    @property
    def _config(self) -> RayClusterConfig:
        return cast("RayClusterConfig", self.ray_cluster)  # pyright: ignore[reportUnknownMemberType]

    @property
    def _outer_sharing(self) -> ClusterSharing | None:
        return cast("ClusterSharing | None", self.cluster_sharing)  # pyright: ignore[reportUnknownMemberType]

    @property
    def _sharing(self) -> ClusterSharing | None:
        """How the cluster is shared; None if it is not."""
        chosen = self._outer_sharing or self._config.sharing
        return chosen if chosen is not None and chosen.enabled else None

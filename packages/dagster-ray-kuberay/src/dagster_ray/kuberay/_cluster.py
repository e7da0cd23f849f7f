"""`KubeRayCluster`: a RayCluster around a step, of its own, of a pool, shared, or adopted."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self, cast

from pydantic import Field, model_validator
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, StepOutcome, secrets_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.variables import variable_of
from dagster_ray.kuberay._kuberay_resource import KubeRayResource
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.rules import SELECTOR, selected_cluster
from dagster_ray.kuberay._spec.secrets import EnvValue
from dagster_ray.kuberay.configs import ClusterPool, ClusterSharing, RayClusterConfig

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.fields import Manifest
    from dagster_ray.kuberay._pool.pooled_cluster import PooledCluster
    from dagster_ray.kuberay._sharing.choice import Leave
    from dagster_ray.kuberay._sharing.shared_cluster import SharedCluster

_AGAIN_SECONDS = 0.5


class KubeRayCluster(KubeRayResource):
    """A Ray cluster on Kubernetes as a RayCluster: of one step, of a pool, shared by many, or one that exists.

    Without sharing the cluster is created before the step and deleted after it. With `cluster_sharing` a step takes a
    cluster that others have left, or makes one and leaves it; the cleanup sensor deletes it when nobody has used it for
    some time. With `pool` a step claims a warm cluster, has it for itself, and gives it back. A cluster that
    `ray_cluster.metadata.name` names and dagster-ray has not made is used and never deleted.

    Prefer `KubeRayInteractiveJob` if the operator itself should delete the cluster.
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
    pool: ClusterPool | None = Field(
        default=None,
        description="The pool of warm clusters, each of which one step has at a time. Unset: none.",
    )

    _kind: ClassVar[str] = "RayCluster"
    _feature: ClassVar[str] = "sharing"
    """What needs the rights that are checked before a shared cluster is taken."""

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

    @model_validator(mode="after")
    def _a_pool_makes_and_ends_its_clusters(self) -> Self:
        if self._pool is None:
            return self
        if self._sharing is not None:
            raise InvalidSpecError("pool", "is given, and cluster_sharing is on", "keep one of the two")
        if self._plan.cleanup == "never":
            reason = "is never, and a cluster of a pool that a step has not given back is deleted"
            raise InvalidSpecError("lifecycle.cleanup", reason, "use on_exception or always, or no pool")
        if variable_of(self._config.spec_file) is None and selected_cluster(self._config.plain()["spec"]) is not None:
            reason = "is given, and a clusterSelector names the cluster that is used"
            raise InvalidSpecError("pool", reason, "keep one of the two")
        return self

    @model_validator(mode="after")
    def _secrets_need_pods_of_ours(self) -> Self:
        sharing, of_tasks = self._sharing, secrets_of(self.runtime_env)
        if sharing is not None and sharing.match_spec is False and of_tasks:
            reason = "is off, and the containers of another step's cluster may lack the Secrets of runtime_env.env_vars"
            raise InvalidSpecError("cluster_sharing.match_spec", reason, "leave it on")
        if self._secrets and variable_of(self._config.spec_file) is None:
            spec: Json = self._config.plain()["spec"]
            if selected_cluster(spec) is not None:
                raise self._not_ours(next(iter(self._secrets)), "the RayCluster that clusterSelector names")
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
        may_exist = self._sharing is not None or self._pool is not None or "name" in self._config.metadata
        return may_exist and address.startswith("ray://")

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Create the RayCluster, take a shared one, claim one of a pool, or adopt the one that is named."""
        kubeconfig = self.kubeconfig_file, self.kube_context
        if self._pool is not None:
            from dagster_ray.kuberay._pool.pooled_cluster import PooledCluster

            self._claim(self._hosted(PooledCluster.open(kubeconfig, self._reach, context, deadline)), self._pool)
            return
        from dagster_ray.kuberay._sharing.shared_cluster import SharedCluster

        cluster = self._hosted(SharedCluster.open(kubeconfig, self._reach, context, deadline))
        sharing = self._sharing or self._outer_sharing or self._config.sharing or ClusterSharing()
        cluster.renewal_seconds = sharing.renewal_interval_seconds() if sharing.heartbeat else None
        if self._sharing is not None:
            self._take(cluster, sharing)
        else:
            self._create_or_adopt(cluster, sharing.ttl_seconds)

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the head accepts drivers, or jobs, then make sure that ours will be understood."""
        from dagster_ray.kuberay._status.errors import ClusterGoneError

        while True:
            try:
                super().wait_for_cluster(context, deadline)
            except ClusterGoneError as error:
                again = self._another
                if self._cluster is None or again is None or deadline.is_over():
                    raise
                self._cluster.log.warning("%s Another cluster is taken.", error.problem)
                again()
            else:
                return

    @override
    def leave_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Stop the heartbeat, and remove this step's lock unless it is to keep the cluster for others."""
        if self._pooled is not None:
            self._leave_pool(self._pooled, outcome, deadline)
            return
        cluster = self._shared
        if cluster is None:
            return
        cluster.stop_heartbeat()
        if self._host is not None:
            self._host.leave(outcome, deadline)
        try:
            cluster.look_for_lost(deadline)
            if cluster.held is not None:
                cluster.leave(self._leaving(cluster, outcome, made=cluster.held.made), deadline)
        except DagsterRayError as error:
            cluster.log.warning(
                "%s: the lock of this step could not be removed; it ends by itself. %s", self.display_name, error
            )

    # Inside

    @property
    def _shared(self) -> "SharedCluster | None":
        return cast("SharedCluster | None", self._cluster) if self._pool is None else None

    @property
    def _pooled(self) -> "PooledCluster | None":
        return cast("PooledCluster | None", self._cluster) if self._pool is not None else None

    @property
    def _another(self) -> "Callable[[], None] | None":
        """What takes another cluster in place of one that is gone; None where the step has one for itself."""
        pooled, pool, shared, sharing = self._pooled, self._pool, self._shared, self._sharing
        if pooled is not None and pool is not None:
            return lambda: self._claim(pooled, pool)
        if shared is not None and sharing is not None and shared.is_taken:
            return lambda: self._take(shared, sharing)
        return None

    def _claim(self, cluster: "PooledCluster", pool: ClusterPool) -> None:
        """Use a cluster of a pool."""
        from dagster_ray.kuberay._pool.requests import pool_request

        number = None if self._host is None else self._host.first_number()
        request = pool_request(self._config.plain(), self._settings, pool, cluster, number)
        cluster.check_before(request.sample(), self.preflight, "pool", is_driver=self._host is None)
        cluster.claim(request)

    def _leave_pool(self, cluster: "PooledCluster", outcome: StepOutcome, deadline: Deadline) -> None:
        cluster.stop_heartbeat()
        if self._host is not None:
            self._host.leave(outcome, deadline)
        try:
            cluster.look_for_lost(deadline)
            cluster.leave(outcome, deadline)
        except DagsterRayError as error:
            said = "%s could be neither given back to its pool nor deleted; its claim ends by itself. %s"
            cluster.log.warning(said, self.display_name, error)

    def _create_or_adopt(self, cluster: "SharedCluster", ttl_seconds: float) -> None:
        """Make a cluster for this step alone, or use the one that exists under the name."""
        from dagster_ray.kuberay._kubernetes.errors import NotFoundError
        from dagster_ray.kuberay._status.errors import NameTakenError
        from dagster_ray.kuberay._steps.requests import namespace_of, raycluster_request

        plain = self._config.plain()
        selected = selected_cluster(plain["spec"])
        if selected is not None:
            self._adopt_selected(cluster, namespace_of(plain, cluster), selected, ttl_seconds, self._check_secrets)
            return
        request = raycluster_request(plain, self._settings, cluster)
        if self._host is not None and self._host.follow(request):
            cluster.keep_alive()
            return
        cluster.check_before(request, self.preflight, "cluster", is_driver=self._host is None)
        while cluster.own is None:
            try:
                cluster.create(request)
                cluster.keep_alive()
            except NameTakenError as taken:
                try:
                    if not cluster.adopt(request.namespace, request.names[0], ttl_seconds, self._check_secrets):
                        raise
                except NotFoundError:  # it has been deleted meanwhile, so that the name is free
                    if not cluster.deadline.sleep(_AGAIN_SECONDS):
                        raise taken from None

    @staticmethod
    def _adopt_selected(
        cluster: "SharedCluster", namespace: str, name: str, ttl_seconds: float, check: "Callable[[Manifest], None]"
    ) -> None:
        """Use the cluster that a `clusterSelector` names. It must exist: nothing is created in its place."""
        from dagster_ray.kuberay._kubernetes.errors import NotFoundError

        with contextlib.suppress(NotFoundError):
            if cluster.adopt(namespace, name, ttl_seconds, check):
                return
        reason = (
            f"names the RayCluster {namespace}/{name}, which does not exist, or which dagster-ray made for other steps"
        )
        raise InvalidSpecError(f"spec.{SELECTOR}", reason, "create the RayCluster first, or use cluster_sharing")

    @property
    def _secrets(self) -> Mapping[str, EnvValue]:
        return secrets_of({"env_vars": self.env_vars}) | secrets_of(self.runtime_env)

    def _check_secrets(self, found: "Manifest") -> None:
        """Raise if a cluster that exists does not have the variables that Secrets are to hold."""
        from dagster_ray.kuberay._kubernetes.fields import at, mapping
        from dagster_ray.kuberay._spec.secrets import unmet_secrets

        if unmet := unmet_secrets(mapping(found.get("spec")), self._secrets):
            raise self._not_ours(unmet[0], f"the RayCluster {at(found, 'metadata', 'name')}, which exists")

    def _not_ours(self, name: str, cluster: str) -> InvalidSpecError:
        field = f"runtime_env.env_vars.{name}" if name in secrets_of(self.runtime_env) else f"env_vars.{name}"
        reason = f"refers to a Secret, and dagster-ray does not create the pods of {cluster}"
        advice = "set the variable from the Secret in the containers of that RayCluster, and remove it here"
        return InvalidSpecError(field, reason, advice)

    def _take(self, cluster: "SharedCluster", sharing: ClusterSharing) -> None:
        from dagster_ray.kuberay._sharing.requests import shared_request

        request = shared_request(self._config.plain(), self._settings, sharing, cluster)
        cluster.check_before(request.sample(), self.preflight, self._feature, is_driver=self._host is None)
        cluster.take(request)

    def _leaving(self, cluster: "SharedCluster", outcome: StepOutcome, *, made: bool) -> "Leave":
        from dagster_ray.kuberay._sharing.choice import Leave, leaving

        sharing = self._sharing
        if cluster.is_adopted or sharing is None:
            return Leave.RELEASE
        return leaving(
            outcome,
            used=cluster.route is not None,
            made=made,
            has_scope=cluster.has_scope,
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
    def _pool(self) -> ClusterPool | None:
        return cast("ClusterPool | None", self.pool)  # pyright: ignore[reportUnknownMemberType]

    @property
    def _sharing(self) -> ClusterSharing | None:
        """How the cluster is shared; None if it is not."""
        chosen = self._outer_sharing or self._config.sharing
        return chosen if chosen is not None and chosen.enabled else None

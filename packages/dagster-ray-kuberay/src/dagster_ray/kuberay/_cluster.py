"""`KubeRayCluster`: a RayCluster around a step, of its own, shared, or adopted."""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, cast

from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, StepOutcome, log_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.variables import variable_of
from dagster_ray.kuberay._kuberay_resource import KubeRayResource
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._spec.selection import selected_cluster
from dagster_ray.kuberay.configs import ClusterSharing, RayClusterConfig

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._sharing.choice import Leave
    from dagster_ray.kuberay._sharing.steps import Held, SharedWish
    from dagster_ray.kuberay._status.errors import NameTakenError
    from dagster_ray.kuberay._steps.creation import Wish
    from dagster_ray.kuberay._steps.heartbeat import Heartbeat

_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class _Share:
    """What one execution has to do with a cluster that is not its own, and its heartbeat on either kind."""

    wish: "SharedWish | None" = None
    held: "Held | None" = None
    heartbeat: "Heartbeat | None" = None
    adopted: bool = False


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
    @override
    def display_name(self) -> str:
        """`RayCluster namespace/name`, or `RayCluster` while it has no name."""
        return self._work.own.target if self._work.own is not None else "RayCluster"

    @property
    def cluster_name(self) -> str | None:
        """The RayCluster's name; None before there is one."""
        return self._work.own.name if self._work.own is not None else None

    # The phases

    @override
    def can_use_driver_at(self, address: str) -> bool:
        """Return whether it may be this cluster's: a client's driver may be, on a cluster that others have made."""
        may_exist = self._sharing is not None or "name" in self._config.metadata
        return may_exist and address.startswith("ray://")

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Create the RayCluster, take a shared one, or adopt the one that is named."""
        from dagster_ray.kuberay._steps import cluster_steps as steps

        log = log_of(context)
        self._work.api = api = steps.load_api(self.kubeconfig_file, self.kube_context)
        if self._sharing is None:
            self._create_or_adopt(context, api, deadline, log)
        else:
            self._take(context, api, deadline, log)

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the head accepts drivers, then make sure that ours will be understood."""
        from dagster_ray.kuberay._head.dashboard import greet
        from dagster_ray.kuberay._status.errors import ClusterGoneError
        from dagster_ray.kuberay._steps import cluster_steps as steps
        from dagster_ray.kuberay._steps.wait import ClusterWait

        work, log = self._work, log_of(context)
        while work.route is None:
            api, own = self._created
            work.wait = ClusterWait(api, own, self._wait_plan(api), log)
            try:
                work.route = work.wait.run(deadline)
            except ClusterGoneError as error:
                if self._share.wish is None or deadline.is_over():
                    raise
                log.warning("%s Another cluster is taken.", error.problem)
                self._take(context, api, deadline, log)
        api, own = self._created
        work.token = steps.token(api, own, work.wait, deadline) if work.wait is not None else None
        if (url := work.route.dashboard_url) is not None:
            greet(own.target, url, work.token, deadline.remaining_seconds(), log)

    @override
    def leave_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Stop the heartbeat, and remove this step's lock unless it is to keep the cluster for others."""
        from dagster_ray.kuberay._sharing.leaving import leave
        from dagster_ray.kuberay._sharing.steps import find_lost

        share, api, log = self._share, self._work.api, log_of(context)
        self._stop_heartbeat()
        if api is None:
            return
        try:
            held = share.held
            if held is None and share.wish is not None:
                held = find_lost(api, share.wish, deadline)
            if held is not None:
                leave(api, held, self._leaving(held, outcome), deadline, log)
        except DagsterRayError as error:
            log.warning(
                "%s: the lock of this step could not be removed; it ends by itself. %s", self.display_name, error
            )

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Delete the RayCluster if this step has made it for itself, also if its creation was interrupted."""
        from dagster_ray.kuberay._steps import cluster_steps as steps

        work = self._work
        if work.api is not None and work.wish is not None:
            steps.delete(work.api, work.wish, work.own, context, deadline)

    @override
    def release(self, context: DagsterContext) -> None:
        """Close the connections to the head and to Kubernetes."""
        self._stop_heartbeat()
        super().release(context)

    # A cluster of its own, or one that exists

    def _create_or_adopt(
        self, context: DagsterContext, api: "KubernetesApi", deadline: Deadline, log: logging.Logger
    ) -> None:
        from dagster_ray.kuberay._sharing.adoption import adopt_selected
        from dagster_ray.kuberay._status.errors import NameTakenError
        from dagster_ray.kuberay._steps import cluster_steps as steps
        from dagster_ray.kuberay._steps.wishes import namespace_of, raycluster_wish

        sharing = self._config.sharing or self._outer_sharing or ClusterSharing()
        plain = self._config.plain()
        selected = selected_cluster(plain["spec"])
        if selected is not None:
            namespace = namespace_of(plain, api)
            self._share.adopted = True
            held = adopt_selected(api, (namespace, selected), context, sharing.ttl_seconds, deadline)
            self._hold(held, api, sharing, log)
            return
        wish = raycluster_wish(plain, self._settings, context, api, deadline=deadline, log=log)
        self._check_before(api, wish, wish.render(wish.names[0]), "cluster", deadline=deadline, log=log)
        while self._work.own is None:
            try:
                steps.create_wanted(self._work, api, wish, deadline, log)
                self._show_life(api, log)
            except NameTakenError as taken:
                self._adopt_named(wish, taken, context, api, sharing, deadline=deadline, log=log)

    def _adopt_named(
        self,
        wish: "Wish",
        taken: "NameTakenError",
        context: DagsterContext,
        api: "KubernetesApi",
        sharing: ClusterSharing,
        *,
        deadline: Deadline,
        log: logging.Logger,
    ) -> None:
        """Use the cluster that has the name; do nothing if it has been deleted meanwhile, so that the name is free."""
        from dagster_ray.kuberay._kubernetes.errors import NotFoundError
        from dagster_ray.kuberay._sharing.adoption import adopt

        try:
            found = adopt(api, wish, context, sharing.ttl_seconds, deadline)
        except NotFoundError:
            if deadline.sleep(_AGAIN_SECONDS):
                return
            raise taken from None
        if found is None:
            raise taken
        self._share.adopted, self._work.wish = True, None  # what is adopted is never deleted
        self._hold(found, api, sharing, log)

    def _show_life(self, api: "KubernetesApi", log: logging.Logger) -> None:
        """Let the cleanup sensors of all Dagster instances know that this step lives, whatever they know of its run."""
        from dagster_ray.kuberay._labels import ALIVE_SECONDS
        from dagster_ray.kuberay._steps.heartbeat import Alive, Heartbeat

        _, own = self._created
        self._share.heartbeat = Heartbeat(api, own, Alive(), ALIVE_SECONDS, log)

    # A shared cluster

    def _take(self, context: DagsterContext, api: "KubernetesApi", deadline: Deadline, log: logging.Logger) -> None:
        from dagster_ray.kuberay._sharing.steps import acquire
        from dagster_ray.kuberay._sharing.wish import shared_wish
        from dagster_ray.kuberay._steps.creation import forgotten_if_refused

        sharing = self._sharing or ClusterSharing()
        share = self._share
        self._stop_heartbeat()

        def forget() -> None:
            share.wish = None

        share.held = share.wish = None
        wish = shared_wish(self._config.plain(), self._settings, sharing, context, api, log=log)
        self._check_before(api, *wish.sample(), "sharing", deadline=deadline, log=log)
        share.wish = wish
        with forgotten_if_refused(api, forget):
            held = acquire(api, wish, deadline, log)
        self._hold(held, api, sharing, log)

    def _hold(self, held: "Held", api: "KubernetesApi", sharing: ClusterSharing, log: logging.Logger) -> None:
        from dagster_ray.kuberay._steps.heartbeat import Heartbeat

        self._work.own, self._share.held = held.own, held
        if sharing.heartbeat and held.is_locked:
            interval_seconds = sharing.renewal_interval_seconds()
            self._share.heartbeat = Heartbeat(api, held.own, held.lock, interval_seconds, log)

    def _stop_heartbeat(self) -> None:
        from dagster_ray.kuberay._sharing.locks import Lock

        share = self._share
        heartbeat, share.heartbeat = share.heartbeat, None
        if heartbeat is not None:
            heartbeat.stop()
            if share.held is not None and isinstance(heartbeat.sign, Lock):
                share.held = replace(share.held, lock=heartbeat.sign)

    def _leaving(self, held: "Held", outcome: StepOutcome) -> "Leave":
        from dagster_ray.kuberay._sharing.choice import Leave, leaving

        sharing = self._sharing
        if self._share.adopted or sharing is None:
            return Leave.RELEASE
        return leaving(
            outcome,
            used=self._work.route is not None,
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

"""`KubeRayInteractiveJob`: a RayJob in InteractiveMode around a step."""

from typing import ClassVar, cast

from pydantic import Field, PrivateAttr
from typing_extensions import override

from dagster_ray.core import CleanupPolicy, DagsterContext, Deadline, Lifecycle, StepOutcome
from dagster_ray.kuberay._kuberay_resource import KubeRayResource
from dagster_ray.kuberay.configs import InteractiveRayJobConfig

LONGEST_HOLD_SECONDS = 86400


class InteractiveJobLifecycle(Lifecycle):
    """Which phases Dagster runs around the step, and when it deletes the RayJob."""

    cleanup: CleanupPolicy = Field(
        default="on_exception",
        description=(
            "When the RayJob is deleted by the step. on_exception: when the step failed, asked for a retry or was "
            "interrupted; after success the operator deletes the cluster as the spec says. always: at every end of "
            "the step. never: only the operator deletes."
        ),
    )


class KubeRayInteractiveJob(KubeRayResource):
    """A Ray cluster on Kubernetes for one step, as a RayJob in InteractiveMode.

    The RayJob is created before the step, the step's driver connects by Ray Client as soon as the head accepts it, and
    its job id is written into the RayJob, so that the operator deletes the cluster when the driver has ended. With
    `driver="cluster"` the body of the step is a Ray job of the cluster, and that job's id is written.
    Needs the KubeRay operator 1.3.0 or later.
    """

    lifecycle: InteractiveJobLifecycle = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=InteractiveJobLifecycle,
        description="Which phases run around the step, and when the RayJob is deleted.",
    )
    ray_job: InteractiveRayJobConfig = Field(
        default_factory=InteractiveRayJobConfig,
        description="The RayJob: metadata and spec. Unset: a small autoscaling cluster.",
    )
    hold_on_failure: float = Field(
        default=0.0,
        ge=0,
        le=LONGEST_HOLD_SECONDS,
        description=(
            "Seconds for which the cluster of a step that failed is held, so that you can look at it: up to a day. It "
            "costs money until then. A step that is tried again, was interrupted or never connected holds nothing."
        ),
    )

    _kind: ClassVar[str] = "RayJob"
    _held: bool = PrivateAttr(default=False)
    """Whether the operator deletes the cluster some time after the failure of the step."""
    _misses_pods: bool = PrivateAttr(default=False)
    """Whether the operator had not seen all pods when the driver connected, so that it may never see the driver."""

    # What users read

    @property
    def job_name(self) -> str | None:
        """The RayJob's name; None before it is created."""
        own = self._cluster.own if self._cluster is not None else None
        return own.name if own is not None else None

    # The phases

    @override
    def can_use_driver_at(self, address: str) -> bool:
        """Return False: each step gets a new cluster, so no driver that exists can be on it."""
        return False

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Create the RayJob."""
        from dagster_ray.kuberay._steps.requests import rayjob_request

        cluster = self._opened(context, deadline)
        request = rayjob_request(self._config.plain(), self._settings, cluster)
        if self._host is not None and self._host.follow(request):
            return
        cluster.check_before(request, self.preflight, "interactive", is_driver=self._host is None)
        cluster.create(request)

    @override
    def on_driver(self, context: DagsterContext, deadline: Deadline) -> None:
        """Write the driver's job id into the RayJob, so that the operator sees its end."""
        from dagster_ray.kuberay._steps.registration import register

        self._misses_pods = register(self._created, self.job_id, deadline)
        if self._misses_pods:
            self._created.keep_alive()

    @override
    def before_disconnect(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Make what the spec says for a failure hold, since Ray reports each driver as succeeded."""
        self._hold(outcome, deadline)
        if not self._held:
            self._created.record_outcome(outcome, deadline, always=self._plan.cleanup == "always")

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Delete the RayJob, unless it is held."""
        if not self._held:
            super().delete_cluster(context, outcome, deadline)

    @override
    def begin_again(self) -> None:
        """Forget the cluster, so that `create` asks for another one."""
        super().begin_again()
        self._held = self._misses_pods = False

    @override
    def leave_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Make the same hold for a body in the cluster, and leave nothing that the operator would wait for."""
        if self._host is not None:
            if self._host.has_ended_jobs:  # else the operator might never see an end
                self._hold(outcome, deadline)
            self._host.leave(outcome, deadline, self._config.plain())
        elif self._misses_pods:
            from dagster_ray.kuberay._steps.registration import limit_again, limit_of

            self._created.stop_heartbeat()
            stays = outcome is StepOutcome.SUCCEEDED or self._plan.cleanup == "never"
            limit_again(self._created, limit_of(self._created.made.manifest), deadline, stays=stays)

    def _hold(self, outcome: StepOutcome, deadline: Deadline) -> None:
        """Hold the RayJob of a step that failed, if that is wanted: the operator deletes its cluster later."""
        if self.hold_on_failure and outcome is StepOutcome.FAILED and self._plan.cleanup != "never":
            from dagster_ray.kuberay._steps.holding import hold

            self._held = hold(self._created, self.hold_on_failure, deadline)

    @property
    def _config(self) -> InteractiveRayJobConfig:
        # Type checkers see no type in a nested config of Dagster's.
        return cast("InteractiveRayJobConfig", self.ray_job)  # pyright: ignore[reportUnknownMemberType]

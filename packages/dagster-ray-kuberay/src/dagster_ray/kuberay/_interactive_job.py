"""`KubeRayInteractiveJob`: a RayJob in InteractiveMode around a step."""

from typing import TYPE_CHECKING, cast

from pydantic import Field, PrivateAttr
from typing_extensions import override

from dagster_ray.core import CleanupPolicy, DagsterContext, Deadline, Lifecycle, StepOutcome, log_of
from dagster_ray.core.errors import NotConnectedError
from dagster_ray.kuberay._kuberay_resource import KubeRayResource
from dagster_ray.kuberay.configs import InteractiveRayJobConfig

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.kuberay._status.cluster_state import Created
    from dagster_ray.kuberay._steps.creation import Wish


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
    its job id is written into the RayJob, so that the operator deletes the cluster when the driver has ended.
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

    _left_to_operator: bool = PrivateAttr(default=False)

    # What users read

    @property
    @override
    def display_name(self) -> str:
        """`RayJob namespace/name`, or `RayJob` while it has no name."""
        return self._work.own.target if self._work.own is not None else "RayJob"

    @property
    def job_name(self) -> str | None:
        """The RayJob's name; None before it is created."""
        return self._work.own.name if self._work.own is not None else None

    # The phases

    @override
    def can_use_driver_at(self, address: str) -> bool:
        """Return False: each step gets a new cluster, so no driver that exists can be on it."""
        return False

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Create the RayJob."""
        from dagster_ray.kuberay._steps import cluster_steps as steps
        from dagster_ray.kuberay._steps.wishes import rayjob_wish

        work, log = self._work, log_of(context)
        work.api = steps.load_api(self.kubeconfig_file, self.kube_context)
        wish = rayjob_wish(self._config.plain(), self._settings, context, work.api, deadline=deadline, log=log)
        self._check_before(work.api, wish, wish.render(wish.names[0]), "interactive", deadline=deadline, log=log)
        steps.create_wanted(work, work.api, wish, deadline, log)

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the head accepts drivers, then make sure that ours will be understood."""
        from dagster_ray.kuberay._head.dashboard import greet
        from dagster_ray.kuberay._steps import cluster_steps as steps
        from dagster_ray.kuberay._steps.interactive_steps import wait

        work, log = self._work, log_of(context)
        api, own = self._created

        def keep(job: "Created | None") -> None:
            work.own = job

        plan = self._wait_plan(api)
        work.wait, work.route = wait(api, self._wish, own, plan, keep, log=log, deadline=deadline)
        api, own = self._created
        work.token = steps.token(api, own, work.wait, deadline)
        if (url := work.route.dashboard_url) is not None:
            greet(own.target, url, work.token, deadline.remaining_seconds(), log)

    @override
    def on_driver(self, context: DagsterContext, deadline: Deadline) -> None:
        """Write the driver's job id into the RayJob, so that the operator sees its end."""
        from dagster_ray.kuberay._steps.interactive_steps import register

        api, own = self._created
        register(api, own, self.job_id, deadline)

    @override
    def before_disconnect(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Make what the spec says for a failure hold, since Ray reports each driver as succeeded."""
        from dagster_ray.kuberay._steps.interactive_steps import record_outcome

        api, own = self._created
        always = self._plan.cleanup == "always"
        self._left_to_operator = record_outcome(api, own, outcome, context, deadline, always=always)

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Delete the RayJob, also one whose creation was interrupted; its operator deletes the cluster."""
        from dagster_ray.kuberay._steps import cluster_steps as steps

        work = self._work
        if work.api is not None and work.wish is not None and not self._left_to_operator:
            steps.delete(work.api, work.wish, work.own, context, deadline)

    @property
    def _wish(self) -> "Wish":
        if self._work.wish is None:
            raise NotConnectedError(self.display_name, "cluster", "it was not created, or was cleaned up already")
        return self._work.wish

    @property
    def _config(self) -> InteractiveRayJobConfig:
        # Type checkers see no type in a nested config of Dagster's.
        return cast("InteractiveRayJobConfig", self.ray_job)  # pyright: ignore[reportUnknownMemberType]

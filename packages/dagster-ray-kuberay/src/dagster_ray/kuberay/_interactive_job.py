"""`KubeRayInteractiveJob`: a RayJob in InteractiveMode around a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field, PrivateAttr, field_validator
from typing_extensions import override

from dagster_ray.core import BaseRayResource, CleanupPolicy, DagsterContext, Deadline, Lifecycle, StepOutcome
from dagster_ray.core.errors import DagsterRayError, NotConnectedError
from dagster_ray.kuberay.configs import InteractiveRayJobConfig

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.kuberay._head_route import Route
    from dagster_ray.kuberay._kubernetes import KubernetesApi
    from dagster_ray.kuberay._rayjob_creation import CreatedRayJob, Wish
    from dagster_ray.kuberay._rayjob_wait import RayJobWait
    from dagster_ray.kuberay._rayjob_wish import Settings


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


@dataclass(slots=True)
class _Work:
    """What one execution of the resource holds."""

    api: "KubernetesApi | None" = None
    wish: "Wish | None" = None
    job: "CreatedRayJob | None" = None
    wait: "RayJobWait | None" = None
    route: "Route | None" = None
    token: str | None = None
    left_to_operator: bool = False


class KubeRayInteractiveJob(BaseRayResource):
    """A Ray cluster on Kubernetes for one step, as a RayJob in InteractiveMode.

    The RayJob is created before the step, the step's driver connects by Ray Client as soon as the head accepts it, and
    its job id is written into the RayJob, so that the operator deletes the cluster when the driver has ended.
    Needs the KubeRay operator 1.3.0 or later.
    """

    install: ClassVar[str] = "dagster-ray[kuberay]"

    lifecycle: InteractiveJobLifecycle = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=InteractiveJobLifecycle,
        description="Which phases run around the step, and when the RayJob is deleted.",
    )
    ray_job: InteractiveRayJobConfig = Field(
        default_factory=InteractiveRayJobConfig,
        description="The RayJob: metadata and spec. Unset: a small autoscaling cluster.",
    )
    image: str | None = Field(
        default=None,
        description=(
            "Image of every container that has none. Unset: the run's tag dagster/image, else the image of the code "
            "location, else the public Ray image that matches the step's Ray and Python."
        ),
    )
    env_vars: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of every Ray container, unless the spec sets them."
    )
    queue: str | None = Field(default=None, description="Kueue's LocalQueue that admits the RayJob.")
    priority: str | None = Field(default=None, description="Kueue's WorkloadPriorityClass of the RayJob.")
    queue_timeout: float = Field(
        default=86400.0,
        gt=0,
        description="Seconds that a queue may hold the RayJob back; `timeout` stands still meanwhile.",
    )
    wait_for: Literal["head", "workers"] = Field(
        default="head",
        description=(
            "head: connect as soon as the head accepts drivers. workers: when the operator has seen all pods ready."
        ),
    )
    access: Literal["auto", "direct", "port_forward"] = Field(
        default="auto",
        description=(
            "How the step reaches the head. direct: its Service. port_forward: through the Kubernetes API. auto: "
            "direct inside the cluster or where head_host is set, else port_forward."
        ),
    )
    head_host: str | None = Field(
        default=None,
        description=(
            "Host name of the head for direct access, with {cluster}, {namespace}, {service} and {pod_ip}. Unset: "
            "{service}.{namespace}.svc"
        ),
    )
    kubeconfig_file: str | None = Field(
        default=None, description="Path of a kubeconfig. Unset: the pod's own account, or kubectl's default."
    )
    kube_context: str | None = Field(default=None, description="Context of the kubeconfig. Unset: the current one.")

    _work: _Work = PrivateAttr(default_factory=_Work)

    @field_validator("head_host")
    @classmethod
    def _head_host_has_known_places(cls, value: str | None) -> str | None:
        from dagster_ray.kuberay._head_route import checked_head_host

        return None if value is None else checked_head_host(value)

    # What users read

    @property
    @override
    def address(self) -> str:
        """Where the driver connects: `ray://host:port`."""
        if self._work.route is None:
            raise NotConnectedError(self.display_name, "address", "the cluster's head is not known yet")
        return self._work.route.address

    @property
    @override
    def display_name(self) -> str:
        """`RayJob namespace/name`, or `RayJob` while it has no name."""
        return self._work.job.target if self._work.job is not None else "RayJob"

    @property
    def job_name(self) -> str | None:
        """The RayJob's name; None before it is created."""
        return self._work.job.name if self._work.job is not None else None

    @property
    @override
    def dashboard_url(self) -> str | None:
        """The dashboard's URL for this process. Through a port-forward it works as long as the step runs."""
        return self._work.route.dashboard_url if self._work.route is not None else None

    @property
    @override
    def startup_seconds(self) -> Mapping[str, float]:
        """Seconds that each finished phase took, and that a queue held the RayJob back."""
        queued = self._work.wait.queued_seconds if self._work.wait is not None else 0.0
        return {**super().startup_seconds, **({"queue": queued} if queued else {})}

    # The phases

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Create the RayJob."""
        from dagster_ray.kuberay import _interactive_steps as steps
        from dagster_ray.kuberay._kubernetes_errors import UnavailableError
        from dagster_ray.kuberay._rayjob_creation import create_rayjob
        from dagster_ray.kuberay._rayjob_wish import wish_for

        work = self._work
        work.api = steps.load_api(self.kubeconfig_file, self.kube_context)
        work.wish = wish_for(self._settings, context, work.api, deadline, steps.log_of(context))
        try:
            work.job = create_rayjob(work.api, work.wish, deadline, steps.log_of(context))
        except DagsterRayError as error:
            if not isinstance(error, UnavailableError):
                work.wish = None  # the server has refused: there is nothing to delete
            raise

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the head accepts drivers, then make sure that ours will be understood."""
        from dagster_ray.kuberay import _interactive_steps as steps

        work = self._work
        api, job = self._created
        wish = self._wish
        plan = steps.wait_plan(
            api,
            access=self.access,
            head_host=self.head_host,
            wait_for=self.wait_for,
            queue_timeout=self.queue_timeout,
        )
        work.job, work.wait, work.route = steps.wait(api, wish, job, plan, log=steps.log_of(context), deadline=deadline)
        work.token = steps.token(api, work.job, work.wait, deadline)
        steps.greet(work.job, work.route, work.token, context, deadline)

    @override
    def driver_environment(self) -> Mapping[str, str]:
        """What Ray Client needs for a cluster with a token."""
        return {} if self._work.token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._work.token}

    @override
    def check_cluster(self, context: DagsterContext) -> None:
        """Raise if the RayJob has ended or is gone, and take note of a new head pod."""
        from dagster_ray.kuberay import _interactive_steps as steps

        api, job = self._created
        steps.check(api, job, self._work.wait, context)

    @override
    def on_driver(self, context: DagsterContext, deadline: Deadline) -> None:
        """Write the driver's job id into the RayJob, so that the operator sees its end."""
        from dagster_ray.kuberay import _interactive_steps as steps

        api, job = self._created
        steps.register(api, job, self.job_id, deadline)

    @override
    def before_disconnect(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Make what the spec says for a failure hold, since Ray reports each driver as succeeded."""
        from dagster_ray.kuberay import _interactive_steps as steps

        api, job = self._created
        always = self._plan.cleanup == "always"
        self._work.left_to_operator = steps.record_outcome(api, job, outcome, context, deadline, always=always)

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Delete the RayJob, also one whose creation was interrupted; its operator deletes the cluster."""
        from dagster_ray.kuberay import _interactive_steps as steps

        work = self._work
        if work.api is not None and work.wish is not None and not work.left_to_operator:
            steps.delete(work.api, work.wish, work.job, context, deadline)

    @override
    def release(self, context: DagsterContext) -> None:
        """Close the connections to the head and to Kubernetes."""
        work = self._work
        route, api = work.route, work.api
        work.route = work.api = work.wait = work.token = None
        if route is not None:
            route.close()
        if api is not None:
            api.close()

    @property
    def _created(self) -> "tuple[KubernetesApi, CreatedRayJob]":
        api, job = self._work.api, self._work.job
        if api is None or job is None:
            raise NotConnectedError(self.display_name, "cluster", "it was not created, or was cleaned up already")
        return api, job

    @property
    def _wish(self) -> "Wish":
        if self._work.wish is None:
            raise NotConnectedError(self.display_name, "cluster", "it was not created, or was cleaned up already")
        return self._work.wish

    @property
    def _settings(self) -> "Settings":
        from dagster_ray.kuberay._rayjob_wish import Settings

        # Type checkers see no type in a nested config of Dagster's.
        config = cast("InteractiveRayJobConfig", self.ray_job)  # pyright: ignore[reportUnknownMemberType]
        cleanup = self._plan.cleanup
        return Settings(config, self.image, dict(self.env_vars), self.queue, self.priority, self.timeout, cleanup)

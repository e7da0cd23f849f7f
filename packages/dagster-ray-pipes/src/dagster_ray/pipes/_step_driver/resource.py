"""`ClusterDriverResource`: the fields of a resource whose steps may run in its cluster, and how they are launched."""

import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import dagster as dg
from pydantic import Field, model_validator
from typing_extensions import override

from dagster_ray.core import BaseRayResource, without_secrets
from dagster_ray.core.cluster_step.inside import inside
from dagster_ray.core.errors import InvalidFieldError
from dagster_ray.core.variables import resolved

# The launcher needs much of Dagster's execution, which a code location does not load to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.pipes._job_run import RunSettings
    from dagster_ray.pipes._submitted_job import Place


class ClusterDriverResource(BaseRayResource):
    """A `BaseRayResource` whose steps may run their bodies as Ray jobs in the cluster, chosen by `driver`.

    A backend that inherits says where the cluster's job server is (`job_place`), and lets `wait_for_cluster` wait for
    the job server instead of a port for drivers where `driver_in_cluster` is true. All else is done here.
    """

    driver: Literal["step", "cluster"] = Field(
        default="step",
        description=(
            "Where the body of a step runs. step: in the step's own process, connected to the cluster. cluster: as a "
            "Ray job inside the cluster, as a native driver; the step's process only watches."
        ),
    )
    driver_cpus: float | None = Field(
        default=None, ge=0, description="CPUs of the driver in the cluster. Unset: none, and it runs on the head."
    )
    driver_gpus: float | None = Field(default=None, ge=0, description="GPUs of the driver in the cluster.")
    driver_memory: int | None = Field(default=None, ge=0, description="Memory of the driver in the cluster, in bytes.")
    driver_resources: dict[str, float] = Field(
        default_factory=dict, description="Custom resources of the driver in the cluster."
    )
    driver_code: Literal["image", "upload"] = Field(
        default="image",
        description=(
            "Where the driver in the cluster finds the step's code. image: where the code location has it, in the "
            "cluster's image. upload: the working folder of the code location is sent with each step, for development."
        ),
    )
    driver_pip: list[str] | None = Field(
        default=None,
        description=(
            "Requirements that Ray installs for the driver in the cluster. Unset: the step's own dagster if the code "
            "is uploaded, else none."
        ),
    )

    @model_validator(mode="after")
    def _a_driver_in_the_cluster_needs_one(self) -> Self:
        plan = cast("Any", self.lifecycle)  # pyright: ignore[reportUnknownMemberType]
        off = [name for name in ("create", "wait") if getattr(plan, name) is False]
        if self.driver == "cluster" and off:
            reason = "is switched off, and with driver='cluster' the body runs in the cluster that it would bring"
            raise InvalidFieldError(f"lifecycle.{off[0]}", reason, "leave it on, or set driver='step'")
        return self

    @abstractmethod
    def job_place(self, context: dg.OpExecutionContext) -> "Place":
        """Return where jobs of the cluster are submitted. Called for each step, after the wait.

        Args:
            context: The context of the step.
        """
        raise NotImplementedError

    @property
    def job_settings(self) -> "RunSettings":
        """How the step's job is followed."""
        from dagster_ray.pipes._job_run import RunSettings

        # A pod has 30 s between SIGTERM and SIGKILL. The job is stopped and then read within this time each, and the
        # cluster's deletion must still fit.
        return RunSettings(termination_seconds=6.0)

    @property
    @override
    def driver_in_cluster(self) -> bool:
        """Whether the body of a step runs in the cluster."""
        return self.driver == "cluster"

    @override
    def launcher(self, context: dg.InitResourceContext) -> object:
        """Return what Dagster launches the step with."""
        from dagster_ray.pipes._step_driver.code import DriverOptions
        from dagster_ray.pipes._step_driver.launcher import StepInCluster
        from dagster_ray.pipes._step_driver.run import Wanted

        options = DriverOptions(
            code=self.driver_code,
            pip=self.driver_pip,
            cpus=self.driver_cpus,
            gpus=self.driver_gpus,
            memory=self.driver_memory,
            resources=self.driver_resources,
        )
        env = cast("dict[str, Any]", resolved(without_secrets(self.runtime_env), os.environ, "runtime_env"))
        given: Mapping[str, str] = env.get("env_vars") or {}
        # For the whole job: Ray Data reads it when it is imported, perhaps by the code location, and in actors as well.
        if more := self.progress_environment(given):
            env["env_vars"] = {**given, **more}
        wanted = Wanted(self.display_name, env, options, self.job_settings, self.startup_seconds)
        return StepInCluster(self, self.job_place, wanted)

    @override
    def check_run(self, context: dg.InitResourceContext) -> None:
        """Raise if steps are to run in the cluster, and no other process can load their job.

        Raises:
            StepNotMovableError: That is so; nothing was created.
        """
        from dagster_ray.pipes._step_driver.movable import has_origin, not_reconstructable

        run = context.run
        if self.driver_in_cluster and inside() is None and run is not None and not has_origin(run):
            raise not_reconstructable(f"The run {run.run_id[:8]}")

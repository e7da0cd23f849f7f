"""`BaseRayResource`: the phases in order, under one deadline, for backends that inherit."""

import os
from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast, final

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator
from typing_extensions import override

from dagster_ray.core import _config, _connection, _driver, _driver_output, _ray_options
from dagster_ray.core._config import Lifecycle, RayDataExecutionOptions
from dagster_ray.core._dagster_context import DagsterContext, code_folders_of, log_of, step_key_of
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import Phase, StepOutcome, deletes
from dagster_ray.core._run_phases import phases_around
from dagster_ray.core._secrets import without_secrets
from dagster_ray.core._startup import Progress, report_startup
from dagster_ray.core._step_hooks import StepHooks
from dagster_ray.core.cluster_step.inside import connected_inside, inside
from dagster_ray.core.errors import DriverInUseError, InvalidFieldError
from dagster_ray.core.step_report.config import ProgressConfig
from dagster_ray.core.variables import env_vars_fault, is_env_var, referring, resolved

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

# Kubernetes gives a pod 30 s between SIGTERM and SIGKILL; logs and the delete call must fit.
_DRAIN_SECONDS, _DRAIN_INTERRUPTED_SECONDS = 5.0, 2.0
_CLEANUP_SECONDS, _DELETE_SECONDS = 20.0, 5.0


class BaseRayResource(StepHooks, ProgressConfig, dg.ConfigurableResource[Any]):
    """Most of a Ray backend.

    A backend says how a cluster is asked for, awaited and deleted (`create_cluster`, `wait_for_cluster`,
    `delete_cluster`) and where it is (`address`, `display_name`). This class runs the phases around the
    step under one deadline, connects the driver, reports what happened to Dagster's event log and
    decides at the end whether the cluster is deleted.

    Users who subclass a backend can override the hooks `on_create`, `on_ready`, `on_connect` and
    `on_cleanup`.
    """

    model_config = ConfigDict(extra="forbid")

    lifecycle: Lifecycle = Field(
        default_factory=Lifecycle, description="Which phases run around the step, and when the cluster is deleted."
    )
    timeout: float = Field(
        default=600.0,
        gt=0,
        description="Seconds that creating, waiting and connecting may take together.",
    )
    runtime_env: dict[str, Any] = Field(
        default_factory=dict, description="Ray's runtime_env for this driver: env_vars, pip, working_dir and so on."
    )
    ray_init_options: dict[str, Any] = Field(
        default_factory=dict, description="More keyword arguments of ray.init, for example namespace or log_to_driver."
    )
    data_execution_options: RayDataExecutionOptions | None = Field(
        default=None, description="Limits for Ray Data. Unset: Ray Data is not touched, and need not be installed."
    )

    takes_secrets: ClassVar[bool] = False  # whether the backend sets the Secrets of runtime_env in its containers
    install: ClassVar[str] = "ray[client]"  # the requirement that brings ray for this backend, named if it is missing

    _progress: Progress = PrivateAttr(default_factory=Progress)

    def __init__(self, **fields: Any) -> None:
        given = {name: value if is_env_var(value) else referring(value) for name, value in fields.items()}
        super().__init__(**cast("dict[str, Any]", given))

    @model_validator(mode="before")
    @classmethod
    def _has_only_known_fields(cls, data: object) -> object:
        return _config.refuse_unknown_fields(cls, data)

    @field_validator("lifecycle", mode="before")
    @classmethod
    def _lifecycle_keeps_this_backends_defaults(cls, value: object) -> object:
        return _config.declared_lifecycle(value, cast("type[Lifecycle]", cls.model_fields["lifecycle"].annotation))

    @field_validator("runtime_env")
    @classmethod
    def _environment_variables_are_text(cls, value: dict[str, Any]) -> dict[str, Any]:
        if fault := env_vars_fault(value.get("env_vars", {}), "runtime_env.env_vars", takes_secrets=cls.takes_secrets):
            raise InvalidFieldError(*fault)
        return value

    @field_validator("ray_init_options")
    @classmethod
    def _options_are_of_rays_types(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _ray_options.written_options(value)

    # What a backend provides

    @property
    @abstractmethod
    def address(self) -> str:
        """Where drivers connect: `ray://host:port`, or the `host:port` of the cluster's GCS."""
        raise NotImplementedError

    @property
    @abstractmethod
    def display_name(self) -> str:
        """The cluster's name for logs, with its kind first: `RayJob namespace/name`. Always available."""
        raise NotImplementedError

    @abstractmethod
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Ask for the cluster. May be interrupted or fail at any point; `delete_cluster` is called then."""
        raise NotImplementedError

    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Return when drivers can connect; raise `NotReadyError` at the deadline. The default returns at once."""

    @abstractmethod
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Delete what `create_cluster` made, and nothing else.

        Called at most once, also after a `create_cluster` that did not finish. SIGINT and SIGTERM wait
        until it returns, so it must not take longer than the deadline (20 s).
        """
        raise NotImplementedError

    @property
    def ends_with_driver(self) -> bool:
        """Whether `ray.init` itself starts the cluster, so that disconnecting the driver ends it.

        The driver then stays connected when the lifecycle keeps the cluster.
        """
        return False

    @property
    def driver_in_cluster(self) -> bool:
        """Whether a step's body runs as a Ray job in the cluster. Then only create and wait run here."""
        return False

    def launcher(self, context: dg.InitResourceContext) -> object:
        """Return what Dagster launches a step with, where `driver_in_cluster` is true."""
        raise NotImplementedError

    def can_use_driver_at(self, address: str) -> bool:  # noqa: ARG002 - for those who override it
        """Return whether a driver that this process has on the cluster at `address` can be this step's.

        Asked before the cluster is: a process has one driver, so where the answer is no, `create` refuses before
        anything costs money. The default says yes, for backends that learn their address later; then `connect`
        decides.

        Args:
            address: `ray://host:port` of a Ray Client, else the `host:port` of the cluster's GCS.
        """
        return True

    def init_options(self) -> Mapping[str, Any]:
        """Keyword arguments of `ray.init` beside the address, with the values of environment variables.

        Raises:
            MissingVariableError, InvalidVariableError: A variable is not set, or is not of its option's type.
        """
        given = {"runtime_env": found} if (found := without_secrets(self.runtime_env)) else {}
        return resolved(given, os.environ) | _ray_options.options_of(self.ray_init_options, os.environ)

    def driver_environment(self) -> Mapping[str, str]:
        """Environment variables that `ray.init` needs, for example RAY_AUTH_MODE; set while connected."""
        return {}

    def check_cluster(self, context: DagsterContext) -> None:
        """Raise if the cluster is gone. Called after each `ray.init` that failed; the default does nothing."""

    def on_driver(self, context: DagsterContext, deadline: Deadline) -> None:
        """Tell the cluster's owner about the connected driver, whose id is `job_id`. Part of the connect phase."""

    def before_disconnect(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Do what must happen while the driver is still registered, for example record how the step ended.

        Called if a driver was connected. SIGINT and SIGTERM wait until it returns.
        """

    def leave_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Give up this step's share of a cluster that others may use; the default does nothing.

        Called at most once, after the driver was disconnected and before the cluster may be deleted, for every
        outcome and whatever the lifecycle says of the cleanup; also after a `create_cluster` that did not finish.
        SIGINT and SIGTERM wait until it returns.
        """

    def begin_again(self) -> None:
        """Forget the cluster, which was cleaned up, so that `create` asks for another one.

        Called before a step is tried again in the same process because infrastructure failed. A backend that holds
        something of its cluster overrides it, and calls this method too.
        """
        self._progress = Progress()

    def release(self, context: DagsterContext) -> None:
        """Close what this process holds: connections, threads. Called last, whether the cluster was deleted or not."""

    def drain_output(self, budget_seconds: float) -> bool:
        """Wait until what remote tasks printed has reached this process; return whether it did."""
        if self.init_options().get("log_to_driver") is False:
            return True
        return _driver_output.drain_task_output(budget_seconds)

    # What users read

    @property
    def context(self) -> "BaseContext":
        """What `ray.init` returned."""
        return self._progress.connected(self.display_name, "context").context

    @property
    def job_id(self) -> str:
        """Ray's id of this step's driver, in hexadecimal digits."""
        return self._progress.connected(self.display_name, "job_id").job_id

    @property
    def is_connected(self) -> bool:
        """Whether this resource's driver is connected now, so that `context` and `job_id` can be read.

        False after the step's own code has called `ray.shutdown`.
        """
        return self._progress.live is not None

    @property
    def dashboard_url(self) -> str | None:
        """The dashboard's URL, or None while it is not known or if the cluster has none."""
        return self._progress.dashboard_url

    @property
    def startup_seconds(self) -> Mapping[str, float]:
        """Seconds that each finished phase took, by the phase's name."""
        return {phase.value: seconds for phase, seconds in self._progress.seconds.items()}

    # The phases

    @final
    def create(self, context: DagsterContext) -> None:
        """Ask for the cluster. Does nothing if it was asked for already.

        Raises:
            RayNotInstalledError: The driver will be connected from here, and this Python has no ray.
            DriverInUseError: The driver will be connected from here, and this process has one on another cluster.
        """
        if self._progress.created:
            return
        if self._plan.connect and not self.driver_in_cluster:
            _connection.require_ray(self.display_name, self.install)
            present = _driver.present_driver()
            if present is not None and not self.can_use_driver_at(present.address):
                raise DriverInUseError(self.display_name, present.address)
        self._progress.create_begun = True
        with self._progress.phase(Phase.CREATE, self.timeout) as deadline:
            self.create_cluster(context, deadline)
        self._progress.created = True
        self.on_create(context)

    @final
    def wait(self, context: DagsterContext) -> None:
        """Wait until drivers can connect. Does nothing if that was so already.

        Raises:
            NotCreatedError: `create` was not called.
            NotReadyError: The deadline passed.
        """
        if self._progress.ready:
            return
        self._progress.require_created(self.display_name, Phase.WAIT)
        with self._progress.phase(Phase.WAIT, self.timeout) as deadline:
            self.wait_for_cluster(context, deadline)
        self._progress.ready = True
        self.on_ready(context)

    @final
    def connect(self, context: DagsterContext) -> None:
        """Connect this process with `ray.init`. Does nothing if it is connected already.

        Raises:
            NotCreatedError: `create` was not called.
            ConnectFailedError: Ray refused, or the deadline ended the attempts.
        """
        if self._progress.live is not None:
            return
        if self._progress.connection is not None:  # the step's own code has ended that driver
            _driver.process_driver.leave(self._progress.connection)
        self._progress.require_created(self.display_name, Phase.CONNECT)
        _connection.require_ray(self.display_name, self.install)
        with self._progress.phase(Phase.CONNECT, self.timeout) as deadline:
            self._progress.connection = _connection.connect(
                self.display_name,
                self.address,
                self.init_options(),
                deadline,
                environment=self.progress_environment() | dict(self.driver_environment()),
                check_cluster=lambda: self.check_cluster(context),
                on_slow_start=lambda reason: log_of(context).warning(
                    "%s did not come up within Ray's own 30 s, so it is started again: %s", self.display_name, reason
                ),
                job_name=step_key_of(context),
                code_folders=lambda: code_folders_of(context),
            )
            self.on_driver(context, deadline)
        if (limits := self._ray_data_limits) is not None:
            _connection.limit_ray_data(limits)
        report_startup(self, self.startup_seconds, context)
        self.on_connect(context)

    @final
    def cleanup(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """Disconnect, then delete the cluster if the lifecycle says so for this outcome.

        A failure to disconnect does not keep the cluster from being deleted.
        """
        delete = deletes(self._plan.cleanup, outcome)
        try:
            if delete or not self.ends_with_driver:
                self._disconnect(context, outcome)
        finally:
            try:
                if self._progress.create_begun:
                    self._end_use(context, outcome, delete=delete)
            finally:
                self.release(context)
        self.on_cleanup(context, outcome)

    @override
    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Any]:
        """Run the phases around a step. Dagster calls it.

        A subclass' `setup_for_execution` runs before the first phase, its `teardown_after_execution` after cleanup.
        """
        self.check_run(context)
        with super().yield_for_execution(context):
            if self.driver_in_cluster and (here := inside()) is not None:
                with connected_inside(self, here, self._progress, context) as cluster:
                    yield cluster
                return
            with phases_around(
                self, context, lambda: self.launcher(context) if self.driver_in_cluster else self
            ) as found:
                yield found

    # Inside. Type checkers see no type in a nested config of Dagster's, so it is stated here once.
    @property
    def _plan(self) -> Lifecycle:
        return self.lifecycle  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    @property
    def _ray_data_limits(self) -> RayDataExecutionOptions | None:
        return self.data_execution_options  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def _end_use(self, context: DagsterContext, outcome: StepOutcome, *, delete: bool) -> None:
        """Leave the cluster and delete it, within one budget; a failure of the former does not keep it alive."""
        progress = self._progress
        deadline = Deadline(max(_DELETE_SECONDS, _CLEANUP_SECONDS - progress.evidence_seconds))
        try:
            if not progress.left:
                progress.left = True
                self.leave_cluster(context, outcome, deadline)
        finally:
            if delete and not progress.deleted:
                progress.deleted = True
                self.delete_cluster(context, outcome, deadline)

    def _disconnect(self, context: DagsterContext, outcome: StepOutcome) -> None:
        connection = self._progress.connection
        if connection is None:
            return
        try:  # these may read whatever a connected resource has
            self._before_disconnect(context, outcome)
            interrupted = outcome is StepOutcome.INTERRUPTED
            budget_seconds = _DRAIN_INTERRUPTED_SECONDS if interrupted else _DRAIN_SECONDS
            # A driver that goes on loses nothing: what its tasks printed still arrives.
            if not _driver.is_connected(connection):
                log_of(context).warning(
                    "Output of remote tasks may be missing: the driver was disconnected before the step ended."
                )
            elif connection.driver is not None and not self.drain_output(budget_seconds):
                log_of(context).warning(
                    "Output of remote tasks may be missing: not all of it arrived within %g s.", budget_seconds
                )
        finally:
            self._progress.connection = None
            _driver.process_driver.leave(connection)

    def _before_disconnect(self, context: DagsterContext, outcome: StepOutcome) -> None:
        """A backend's last word must not keep the driver connected or the cluster alive."""
        try:
            self.before_disconnect(context, outcome, Deadline(_CLEANUP_SECONDS))
        except Exception:  # noqa: BLE001 - whatever a backend raises, the driver ends and the cluster is cleaned up
            log_of(context).warning("%s: what precedes the disconnect failed.", self.display_name, exc_info=True)

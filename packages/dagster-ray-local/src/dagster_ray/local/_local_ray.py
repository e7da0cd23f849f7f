"""`LocalRay`: Ray on the machine of the step."""

import hashlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from pydantic import Field, PrivateAttr
from typing_extensions import override

from dagster_ray.core import (
    BaseRayResource,
    DagsterContext,
    Deadline,
    RayComponent,
    StepOutcome,
    WaitLines,
    log_of,
    step_key_of,
    token_of_environment,
)
from dagster_ray.core.step_report.sampling import UsageMeasurement
from dagster_ray.local._holder import remove_session
from dagster_ray.local._machine import (
    cluster_temp_dir,
    name_current_cluster,
    path_of_ray,
    undo_use_this_python,
    usable_cpus,
    use_this_python,
)
from dagster_ray.local._shared_cluster import Claim, Place, claim_cluster
from dagster_ray.local._step_environment import (
    of_the_cluster,
    remove,
    with_step_environment,
    write_step_environment,
)
from dagster_ray.local._task_output import TaskOutput


def write_lines(
    log: logging.Logger, what: str, is_over: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
) -> None:
    """Write a line from time to time, until the start is over.

    Args:
        log: Where the lines go.
        what: What is starting.
        is_over: Waits for so many seconds; returns whether the start is over.
        clock: Source of monotonic seconds.
    """
    lines, begun = WaitLines(), clock()
    lines.due(what, 0.0)  # the first line is that of the phase
    while not is_over(lines.seconds_to_next(clock() - begun)):
        waited = clock() - begun
        if lines.due(what, waited) is not None:
            log.info("%s has been starting for %d s.", what, waited)


class StartLines:
    """A thread that writes these lines, from `begin` until `end`: `ray.init` says nothing while it blocks."""

    def __init__(self) -> None:
        """Begin with nothing to write."""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, log: logging.Logger, what: str) -> None:
        """Start to write.

        Args:
            log: Where the lines go; a logger that never raises, which would end the thread.
            what: What is starting.
        """
        self._thread = threading.Thread(
            target=write_lines, args=(log, what, self._over.wait), name="dagster-ray start", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Stop. Does nothing if nothing was begun, or it was stopped already."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()


# ray/_private/worker.py, init(): what describes the driver's job. All else shapes the cluster.
_OF_THE_DRIVER = frozenset(
    {
        "configure_logging",
        "job_config",
        "log_to_driver",
        "logging_config",
        "logging_format",
        "logging_level",
        "namespace",
        "runtime_env",
    }
)


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of `ray.init` that shape a cluster, and those of a driver that joins it."""
    cluster = {name: value for name, value in options.items() if name not in _OF_THE_DRIVER}
    driver = {name: value for name, value in options.items() if name in _OF_THE_DRIVER}
    return cluster, driver


def sharing_key(cluster_options: Mapping[str, Any], surroundings: Mapping[str, Any]) -> str:
    """Return the name of the cluster that everybody with these options meets on.

    Args:
        cluster_options: What shapes the cluster: another shape is another cluster.
        surroundings: What else must be the same for drivers to fit: Python, Ray's version, auth mode.
    """
    described = json.dumps([dict(cluster_options), dict(surroundings)], sort_keys=True, default=repr)
    return hashlib.sha256(described.encode()).hexdigest()[:12]


# Sessions of this process that a step which did not succeed has used.
_kept: set[Path] = set()


class LocalRay(BaseRayResource):
    """Ray on the machine of the step.

    Starts Ray in the step's process and ends it with the step. With `share`, the steps of this machine that
    run at the same time meet on one cluster, and the last one to leave stops it. A Ray that the process is
    connected to already is used as it is, and never stopped.
    """

    num_cpus: int | None = Field(
        default=None,
        ge=0,
        description="CPUs that Ray schedules on. Unset: what affinity and cgroup limits grant, at least 1.",
    )
    num_gpus: int | None = Field(default=None, ge=0, description="GPUs that Ray schedules on. Unset: those it finds.")
    memory: int | None = Field(
        default=None, gt=0, description="Bytes of memory that Ray schedules on. Unset: what Ray detects."
    )
    object_store_memory: int | None = Field(
        default=None, gt=0, description="Bytes of the object store. Unset: Ray's own share of the memory."
    )
    share: bool = Field(
        default=False,
        description=(
            "Use one cluster, in a process of its own, together with the other steps of this machine and user that "
            "have the same options. The last step to leave stops it."
        ),
    )
    keep_seconds: float = Field(
        default=0.0,
        ge=0,
        description=(
            "With share: seconds that the cluster outlives its last step, so that steps that run one after another "
            "share it too. 0: it stops with its last step."
        ),
    )

    hours: bool = Field(
        default=False,
        description=(
            "Measure how much of the machine's CPUs and GPUs is used, and the peak memory: figures in the metadata of "
            "what the step makes, and in one event of the run."
        ),
    )

    install: ClassVar[str] = "ray[default]"

    _claim: Claim | None = PrivateAttr(default=None)
    _environment: Path | None = PrivateAttr(default=None)
    """The file from which this driver's workers on a shared cluster take the step's environment."""
    _session: Path | None = PrivateAttr(default=None)
    """The folder of the Ray that this process has started."""
    _switched_uv_run_off: bool = PrivateAttr(default=False)
    _step: str | None = PrivateAttr(default=None)
    """What the dashboard calls the driver."""
    _start_lines: StartLines = PrivateAttr(default_factory=StartLines)
    _output: TaskOutput = PrivateAttr(default_factory=TaskOutput)

    @property
    @override
    def address(self) -> str:
        """The `host:port` of the cluster's GCS; `local` before Ray has started."""
        if self._claim is not None:
            return self._claim.address
        return str(self._address_info.get("gcs_address", "local"))

    @property
    @override
    def display_name(self) -> str:
        """`LocalRay`, with the process that Ray lives in."""
        holder = f"shared, process {self._claim.holder_pid}" if self._claim is not None else f"process {os.getpid()}"
        return f"LocalRay ({holder})"

    @property
    @override
    def ends_with_driver(self) -> bool:
        """Whether Ray lives in the step's process."""
        return not self.share

    @override
    def can_use_driver_at(self, address: str) -> bool:
        """Return whether it is a driver on this machine's Ray, which is used as it is; a Ray Client's is not."""
        return not address.startswith("ray://")

    @override
    def init_options(self) -> Mapping[str, Any]:
        """Keyword arguments of `ray.init`: everything without `share`, with it only what is the driver's."""
        options = {**self._named_job(), **self._all_options()}
        if self.share:
            driver = split_options(options)[1]
            if self._environment is None:
                return driver
            return {**driver, "runtime_env": with_step_environment(driver.get("runtime_env", {}), self._environment)}
        return {"_temp_dir": _own_temp_dir(str(os.getpid())), **options}

    @override
    def driver_environment(self) -> Mapping[str, str]:
        """The PATH of the Ray that is started, or the shared cluster's RAY_AUTH_MODE.

        A new local cluster turns token authentication on unless the variable says otherwise, and Ray never
        does so by itself for a driver that is given an address (ray/_private/worker.py). This user's own
        process started the cluster, and the token is in this user's home, where Ray put it.
        """
        if not self.share:
            return {"PATH": path_of_ray(os.environ)}
        mode = None if self._claim is None else self._claim.auth_mode
        return {} if mode is None else {"RAY_AUTH_MODE": mode}

    @property
    @override
    def is_measured(self) -> bool:
        """Whether figures of the machine are wanted."""
        return self.hours

    @override
    def measure(self, context: DagsterContext) -> UsageMeasurement:
        """Measure what Ray's dashboard reports of this machine."""
        return UsageMeasurement(lambda: (self.dashboard_url, token_of_environment(os.environ)), self.startup_seconds)

    @override
    def create_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Claim the shared cluster. Without `share` there is nothing to ask for: `ray.init` starts Ray."""
        self._step = step_key_of(context)
        self._start_lines.begin(log_of(context), self.display_name)
        self._output.start()
        self._switched_uv_run_off = use_this_python()
        if self.share:
            cluster = split_options(self._all_options())[0]
            surroundings = {
                "python": sys.executable,
                "ray": version("ray"),
                "auth": os.environ.get("RAY_AUTH_MODE"),
                "keep_seconds": self.keep_seconds,
                "environment": of_the_cluster(os.environ),
            }
            key = sharing_key(cluster, surroundings)
            self._claim = claim_cluster(
                Place.of(key),
                cluster,
                temp_dir=None if "_temp_dir" in cluster else _own_temp_dir(key),
                keep_seconds=self.keep_seconds,
                target=self.display_name,
                deadline=deadline,
            )
            self._environment = write_step_environment(self._claim.folder, os.environ)

    @override
    def on_driver(self, context: DagsterContext, deadline: Deadline) -> None:
        """Let Ray's job server find the cluster that was just started in this process."""
        self._start_lines.end()
        own = None if self.share else _own_temp_dir(str(os.getpid()))
        session = self._address_info.get("session_dir")
        if own is not None and session is not None and Path(session).parent == Path(own):
            name_current_cluster(own, self.address)
            self._session = Path(session)

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Give up the claim on the shared cluster. Without `share` the end of the driver was the end of Ray."""
        self._output.stop()
        claim, self._claim = self._claim, None
        if self._switched_uv_run_off:
            undo_use_this_python()
        failed = outcome is not StepOutcome.SUCCEEDED
        remove(self._environment)
        if claim is not None:
            claim.release(deadline, keep_logs=failed)
            log_of(context).info("This step has left the shared Ray cluster of process %d.", claim.holder_pid)
        elif self._session is not None:
            self._end_session(self._session, failed=failed, context=context)

    def _end_session(self, session: Path, *, failed: bool, context: DagsterContext) -> None:
        """Remove what Ray leaves on the disk, unless a step that used it did not succeed, or it is in use."""
        import ray

        if failed:
            _kept.add(session)
            log_of(context).info("Ray's logs are kept in %s.", session / "logs")
        if ray.is_initialized():
            return
        log_of(context).info("%s was stopped.", self.display_name)
        if session not in _kept:
            remove_session(session)

    @override
    def release(self, context: DagsterContext) -> None:
        """End what this process still has of a start that failed."""
        self._start_lines.end()

    @override
    def drain_output(self, budget_seconds: float) -> bool:
        """Wait until every line that tasks have printed is here. Costs nothing when none is under way."""
        session = self._address_info.get("session_dir")
        if session is None or super().init_options().get("log_to_driver") is False:
            return True
        return self._output.wait_for_all(Path(session) / "logs", self.job_id, Deadline(budget_seconds))

    def _named_job(self) -> dict[str, Any]:
        """Return the option by which Ray's dashboard names the driver after its step."""
        if self._step is None or "job_config" in self.ray_init_options:
            return {}
        from ray.job_config import JobConfig

        return {"job_config": JobConfig(metadata={"job_name": self._step})}

    def _all_options(self) -> dict[str, Any]:
        shape = {
            "num_cpus": usable_cpus() if self.num_cpus is None else self.num_cpus,
            "num_gpus": self.num_gpus,
            "_memory": self.memory,
            "object_store_memory": self.object_store_memory,
        }
        return {**{name: value for name, value in shape.items() if value is not None}, **super().init_options()}

    @property
    def _address_info(self) -> Mapping[str, Any]:
        """What Ray says of the node that the driver is connected to; empty before that."""
        return {} if not self.is_connected else getattr(self.context, "address_info", {})


def _own_temp_dir(cluster: str) -> str:
    return cluster_temp_dir(cluster, os.getuid(), os.environ, sys.platform)


class LocalRayComponent(RayComponent):
    """Ray on the machine of the step: `dagster_ray.local.LocalRay` as a resource."""

    resource_types: ClassVar[tuple[type[dg.ConfigurableResource[Any]], ...]] = (LocalRay,)

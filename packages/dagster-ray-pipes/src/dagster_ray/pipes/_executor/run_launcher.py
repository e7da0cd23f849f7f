"""`RayRunLauncher`: the worker of each run is a Ray job."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import shlex
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, ResumeRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from typing_extensions import Protocol, override

from dagster_ray.core import DagsterRayError
from dagster_ray.pipes._driver_config import config_of_tags
from dagster_ray.pipes._driver_errors import DriverEventsMissingError, StepNotMovableError
from dagster_ray.pipes._executor.configuration import DriverJobsConfig, RayJobsConfig, variables_of
from dagster_ray.pipes._executor.health import Look, fault_of
from dagster_ray.pipes._executor.job_watch import JobWatch, WatchedJobs
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._reattach import CallIdentity, is_of_step
from dagster_ray.pipes._submitted_job import Place, named_job
from dagster_ray.pipes.errors import JobNotFoundError

STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Variable of a job: seconds from SIGTERM to SIGKILL (ray/dashboard/modules/job/job_supervisor.py)."""
_STOP_SECONDS = "60"
_WORKER = "worker of the run"


class WorkerJobs(WatchedJobs, Protocol):
    """The jobs of the workers of runs: those of a job server, or what stands for it."""

    @property
    def address(self) -> str:
        """Where they are, for errors."""
        ...

    def stop(self, submission_id: str) -> bool:
        """Ask a worker to end; return whether there was something to stop.

        Raises:
            JobNotFoundError: There is no such job.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class JobRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """A run launcher whose workers are Ray jobs, wherever those are: its subclasses say so."""

    def __init__(
        self, config: DriverJobsConfig, jobs: WorkerJobs, inst_data: ConfigurableClassData | None = None
    ) -> None:
        """Take what each worker takes, and where jobs are looked at and stopped; nothing is sent yet.

        Raises:
            InvalidFieldError: A field has a wrong value.
        """
        super().__init__()
        self._inst_data = inst_data
        self._config, self._driver, self._at = config, config.driver(), jobs
        self._watch = JobWatch(jobs, time.monotonic)

    @property
    @override
    def inst_data(self) -> ConfigurableClassData | None:
        """Where Dagster has the configuration from."""
        return self._inst_data

    @classmethod
    @override
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Return the launcher that `dagster.yaml` describes."""
        return cls(inst_data=inst_data, **config_value)

    @abstractmethod
    def _send(self, run: dg.DagsterRun, body: Mapping[str, Any]) -> None:
        """Submit the worker of a run.

        Args:
            run: The run.
            body: The job, with the names of Ray's job API.

        Raises:
            DagsterRayError: It was not submitted.
        """
        raise NotImplementedError

    @abstractmethod
    def _place(self, submission_id: str) -> Place:
        """Return where a worker is, for events of its run."""
        raise NotImplementedError

    def submission_id(self, run_id: str) -> str:
        """Return the job of the worker that a run has now."""
        return _submission_id(run_id, self._instance.count_resume_run_attempts(run_id))

    # Launch

    @override
    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit the worker of a run.

        Raises:
            DagsterRayError: It was not submitted; Dagster lets the run fail.
        """
        run = context.dagster_run
        arguments = ExecuteRunArgs(self._origin_of(run), run.run_id, self._instance.get_ref(), True)
        self._submit(run, 0, arguments.get_command_args())

    @property
    @override
    def supports_resume_run(self) -> bool:
        """True: a run whose worker has died gets another one, if the instance says so."""
        return True

    @override
    def resume_run(self, context: ResumeRunContext) -> None:
        """Submit another worker for a run whose worker has died."""
        run = context.dagster_run
        arguments = ResumeRunArgs(self._origin_of(run), run.run_id, self._instance.get_ref(), True)
        self._submit(run, context.resume_attempt_number or 1, arguments.get_command_args())

    def _origin_of(self, run: dg.DagsterRun) -> Any:
        if run.job_code_origin is None:
            advice = "launch it from a code location"
            raise StepNotMovableError(f"The run {run.run_id}", "Dagster does not know where its code is", advice)
        return run.job_code_origin

    def _submit(self, run: dg.DagsterRun, attempt: int, command: Sequence[str]) -> None:
        config = self._driver.overridden_by(config_of_tags(run.tags, f"the run {run.run_id}"))
        submission_id, identity = _submission_id(run.run_id, attempt), _identity(run.run_id)
        given = {STOP_WAIT: _STOP_SECONDS, **variables_of(self._config.env_vars)}
        variables = {**given, **config.runtime_env.get("env_vars", {}), "DAGSTER_RUN_JOB_NAME": run.job_name}
        known = {key: text for key, text in run.dagster_execution_info.items() if text}
        metadata = {"job_name": run.job_name, **known, **(self._config.metadata or {}), **identity.metadata}
        body: dict[str, Any] = {
            **config.of_job,
            "entrypoint": shlex.join(command),
            "submission_id": submission_id,
            "runtime_env": {**config.runtime_env, "env_vars": variables},
            "metadata": metadata,
        }
        self._send(run, body)
        self._tell(run, f"The run's worker is the Ray job {submission_id}.", attempt)

    def _tell(self, run: dg.DagsterRun, message: str, attempt: int) -> None:
        submission_id = _submission_id(run.run_id, attempt)
        metadata = named_job(self._place(submission_id), submission_id)
        self._instance.report_engine_event(message, run, EngineEventData(metadata=metadata), cls=type(self))

    # Termination

    @override
    def terminate(self, run_id: str) -> bool:
        """Ask Ray to stop the worker of a run: it has 60 s to stop the steps and to write that the run is canceled.

        Returns:
            Whether there was a worker to stop.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        attempt = self._instance.count_resume_run_attempts(run_id)
        submission_id = _submission_id(run_id, attempt)
        try:
            details = self._at.details(submission_id)
            if not is_of_step(_identity(run_id), details):
                self._tell(run, f"The Ray job {submission_id} is not of this run, so it is not stopped.", attempt)
                return False
            is_stopped = not details.is_over and self._at.stop(submission_id)
        except JobNotFoundError:
            is_stopped = False
        except DagsterRayError as error:
            self._tell(run, f"The run's worker could not be stopped. {error}", attempt)
            return False
        words = "is asked to stop" if is_stopped else "had ended before it was asked to stop"
        self._tell(run, f"The Ray job {submission_id} {words}.", attempt)
        return is_stopped

    # Health

    @property
    @override
    def supports_check_run_worker_health(self) -> bool:
        """True: Dagster's run monitoring notices a worker that has died."""
        return True

    @override
    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return how the worker of a run is. What is unknown runs, for `server_timeout`: Dagster ends what is not."""
        submission_id = self.submission_id(run.run_id)
        look = self._watch.look(submission_id)

        def has_ended() -> bool:
            found = self._instance.get_run_by_id(run.run_id)
            return found is None or found.is_finished

        fault = fault_of(submission_id, self._at.address, look, self._config.server_timeout, has_ended)
        return worker_health(submission_id, look, fault)

    @override
    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """Return what Ray says of a run's worker, with the last lines of its log if it has failed."""
        submission_id = self.submission_id(run.run_id)
        try:
            details = self._at.details(submission_id)
        except DagsterRayError as error:
            return str(error)
        return f"Ray job {submission_id}: {details.status}. {details.message}"

    @override
    def dispose(self) -> None:
        """Close the connections to the job server."""
        self._at.close()


class RayRunLauncher(JobRunLauncher):
    """Runs the worker of each run as a Ray job. It is configured in `dagster.yaml`.

    Args:
        ray: The job server, and what each worker takes: the fields of `ray_executor` below `ray`.
        inst_data: Where Dagster has the configuration from.

    Raises:
        InvalidFieldError: A field has a wrong value.
    """

    def __init__(self, ray: Mapping[str, Any], inst_data: ConfigurableClassData | None = None) -> None:
        """Take the configuration; nothing is sent yet."""
        config = RayJobsConfig(**ray)
        self.client: RayJobClient = config.client()
        super().__init__(config, self.client, inst_data)

    @classmethod
    @override
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of the configuration."""
        return {"ray": RayJobsConfig.to_config_schema().as_field()}

    @override
    def _send(self, run: dg.DagsterRun, body: Mapping[str, Any]) -> None:
        self.client.submit(**cast("Any", body))

    @override
    def _place(self, submission_id: str) -> Place:
        return Place(self.client)


def worker_health(submission_id: str, look: Look, fault: DagsterRayError | None) -> CheckRunHealthResult:
    """Return how a worker is, by a look at its job and by why it will never end by itself."""
    if fault is None:
        is_over = look.is_missing or (look.details is not None and look.details.is_over)
        status = WorkerStatus.SUCCESS if is_over else WorkerStatus.RUNNING
        return CheckRunHealthResult(status, look.away_reason or None, run_worker_id=submission_id)
    said = str(fault)
    if isinstance(fault, DriverEventsMissingError):
        said = f"The Ray job {submission_id} has ended as {fault.status}, but the run is not over."
    status = WorkerStatus.NOT_FOUND if look.is_missing else WorkerStatus.FAILED
    return CheckRunHealthResult(status, said, transient=False, run_worker_id=submission_id)


def _submission_id(run_id: str, attempt: int) -> str:
    return f"dagster-run-{run_id}" + (f"-{attempt}" if attempt else "")


def _identity(run_id: str) -> CallIdentity:
    return CallIdentity((run_id,), _WORKER, _WORKER, 0)

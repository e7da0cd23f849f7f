"""`KubeRayRunLauncher`: the worker of each run is the job of a RayJob."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from contextlib import closing
from typing import Any, cast

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from typing_extensions import override

from dagster_ray.kuberay._runs.run_cluster import check_storage, context_of
from dagster_ray.kuberay._runs.worker_rayjob import rayjob_name, refuse_unsubmittable
from dagster_ray.kuberay._runs.worker_rayjobs import WORKER_FIELDS, WorkerRayJob, WorkerRayJobs
from dagster_ray.pipes.executors import DriverJobsConfig, JobRunLauncher, Place


class RayJobsOfRuns(WorkerRayJobs):
    """The RayJobs of the workers of runs, as the launcher of Pipes sees the jobs of a job server."""

    def __init__(self, template: WorkerRayJob) -> None:
        """Take what RayJobs have in common; nothing is sent yet."""
        super().__init__(template)
        self.never_started: set[str] = set()
        """Workers whose RayJobs were deleted before the operator had submitted them."""

    def submit(self, body: Mapping[str, Any], context: dg.InitResourceContext) -> str:
        """Create the RayJob of a run's worker; return its namespace and name.

        Raises:
            DagsterRayError: It was not created.
        """
        template = self._template
        with closing(template.open(context)) as cluster:
            check_storage(cluster, template.preflight)
            request = template.request(cluster, body)
            cluster.check_before(request, template.preflight, "launcher", is_driver=False)
            cluster.create(request)
            return f"{cluster.made.namespace}/{cluster.made.name}"

    @override
    def has_never_started(self, submission_id: str) -> None:
        """Remember it for the end of the run."""
        self.never_started.add(submission_id)


class KubeRayRunLauncher(JobRunLauncher):
    """Runs the worker of each run as the job of a RayJob. It is configured in `dagster.yaml`.

    KubeRay's operator creates the cluster, submits the worker when the cluster is up, and deletes the cluster when the
    worker has ended.

    Args:
        ray: What each worker takes: the fields of `kuberay_executor` below `ray`.
        kuberay: The RayJob: fields of `KubeRayInteractiveJob`.
        inst_data: Where Dagster has the configuration from.

    Raises:
        InvalidFieldError: A field has a wrong value.
    """

    def __init__(
        self,
        ray: Mapping[str, Any],
        kuberay: Mapping[str, Any],
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        """Take the configuration; nothing is sent yet."""
        self._jobs = RayJobsOfRuns(WorkerRayJob.of(kuberay))
        super().__init__(DriverJobsConfig(**ray), self._jobs, inst_data)
        refuse_unsubmittable(self._driver.of_job)

    @classmethod
    @override
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of the configuration."""
        kuberay = dg.Field(
            dg.Shape(WORKER_FIELDS), is_required=False, description="The RayJob: fields of `KubeRayInteractiveJob`."
        )
        return {"ray": DriverJobsConfig.to_config_schema().as_field(), "kuberay": kuberay}

    @override
    def _send(self, run: dg.DagsterRun, body: Mapping[str, Any]) -> None:
        self._jobs.submit(body, context_of(self._instance, run))

    @override
    def _place(self, submission_id: str) -> Place:
        metadata = {"dagster_ray/rayjob": dg.MetadataValue.text(rayjob_name(submission_id))}
        return Place(cast("Any", self._jobs), metadata=metadata, has_link=False)

    @override
    def terminate(self, run_id: str) -> bool:
        """Ask Ray to stop the worker of a run: it has 60 s to stop the steps and to write that the run is canceled.

        A worker that was not started yet never will be: its RayJob is deleted, and the run is canceled.

        Returns:
            Whether there was a worker to stop.
        """
        is_stopped = super().terminate(run_id)
        run, submission_id = self._instance.get_run_by_id(run_id), self.submission_id(run_id)
        if submission_id in self._jobs.never_started:
            self._jobs.never_started.discard(submission_id)
            if run is not None and not run.is_finished:
                self._instance.report_run_canceled(run)
        return is_stopped

"""`KubeRayRunLauncher`: the worker of each run is the job of a RayJob."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Self, cast

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._serdes import ConfigurableClassData
from typing_extensions import override

from dagster_ray.core import DagsterRayError, Deadline, identity_of
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob
from dagster_ray.kuberay._runs.run_cluster import check_storage, context_of, fields_of
from dagster_ray.kuberay._runs.worker_rayjob import (
    details_of,
    is_submitted,
    refuse_unsubmittable,
    with_worker,
    worker_name,
)
from dagster_ray.pipes import JobDetails, Node
from dagster_ray.pipes.errors import JobNotFoundError, JobServerUnavailableError
from dagster_ray.pipes.executors import DriverJobsConfig, JobRunLauncher, Place

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.creation import ClusterRequest
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_CALL_SECONDS = 20.0
_AGAIN_SECONDS = 0.2
"""The operator changes a RayJob that starts several times a second."""
_NAMES = (
    "image",
    "env_vars",
    "queue",
    "priority",
    "access",
    "head_host",
    "kubeconfig_file",
    "kube_context",
    "preflight",
    "timeout",
    "ray_job",
)
WORKER_FIELDS = fields_of(KubeRayInteractiveJob, _NAMES)
"""The fields of `KubeRayInteractiveJob` that the RayJob of a run's worker can have."""


class WorkerRayJob(KubeRayInteractiveJob):
    """A `KubeRayInteractiveJob` for the worker of a run, whose job is submitted by KubeRay's operator."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the RayJob that `WORKER_FIELDS` describe.

        Raises:
            InvalidFieldError: A field has a wrong value.
        """
        given: dict[str, Any] = {**fields, "driver": "cluster"}
        return cls(**given)

    def open(self, context: dg.InitResourceContext, seconds: float = _CALL_SECONDS) -> "StepCluster":
        """Return what asks the Kubernetes API about the RayJob of a run, within some seconds; to be closed.

        A RayJob that a queue holds is waited for no longer: its worker has no head now.
        """
        from dagster_ray.kuberay._steps.step_cluster import StepCluster

        kubeconfig, reach = (self.kubeconfig_file, self.kube_context), dataclasses.replace(self._reach, queue_timeout=0)
        return StepCluster.open(kubeconfig, reach, context, Deadline(seconds))

    def namespace_of(self, cluster: "StepCluster") -> str:
        """Return the namespace of RayJobs."""
        from dagster_ray.kuberay._steps.requests import namespace_of

        return namespace_of(self._config.plain(), cluster)

    def request(self, cluster: "StepCluster", body: Mapping[str, Any]) -> "ClusterRequest":
        """Return the RayJob of a run's worker.

        Raises:
            InvalidSpecError, InvalidFieldError, MissingVariableError: It cannot be rendered.
        """
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
        from dagster_ray.kuberay._labels import cleanup_labels
        from dagster_ray.kuberay._spec.manifests import render_rayjob
        from dagster_ray.kuberay._steps import requests
        from dagster_ray.kuberay._steps.creation import ClusterRequest

        plain, identity = self._config.plain(), identity_of(cluster.context)
        common = requests.render_input(plain, self._settings, cluster, identity)
        # Not `DRIVER_LABEL`: it says that a step renews a sign of life, and the worker's is the RayJob's status alone.
        labels = {**common.labels, **cleanup_labels("always")}
        named = dataclasses.replace(
            common,
            name=worker_name(body["submission_id"]),
            labels=labels,
            pre_running_deadline_seconds=requests.operator_deadline(self.timeout),
        )
        rayjob = with_worker(requests.with_known_images(render_rayjob(plain, named)), body)
        return ClusterRequest(RAYJOBS, (named.name,), rayjob, requests.fields_of_ours(plain))


class RayJobsOfRuns:
    """The RayJobs of the workers of runs, as the launcher of Pipes sees the jobs of a job server."""

    def __init__(self, template: WorkerRayJob) -> None:
        """Take what RayJobs have in common; nothing is sent yet."""
        self._template = template
        self._context = context_of(None, None)
        self.never_started: set[str] = set()
        """Workers whose RayJobs were deleted before the operator had submitted them."""

    @property
    def address(self) -> str:
        """What errors call the place of the jobs."""
        return "the Kubernetes API"

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

    def details(self, submission_id: str, *, timeout: float | None = None) -> JobDetails:
        """Return how a worker is.

        Raises:
            JobNotFoundError: There is no such RayJob.
            JobServerUnavailableError: The Kubernetes API does not answer so.
        """
        with closing(self._template.open(self._context, timeout or _CALL_SECONDS)) as cluster:
            return details_of(self._read(cluster, submission_id))

    def nodes(self, *, timeout: float | None = None) -> tuple[Node, ...] | None:
        """Return None: the operator notices a head that has died."""
        del timeout

    def stop(self, submission_id: str) -> bool:
        """Ask Ray to stop a worker; delete the RayJob of one that was not started yet.

        Raises:
            JobNotFoundError: There is no such RayJob.
            DagsterRayError: Within 20 s its head was not reached, or its RayJob changed again and again.
        """
        from dagster_ray.kuberay._kubernetes.errors import ConflictError
        from dagster_ray.kuberay._status.errors import QueueTimeoutError

        with closing(self._template.open(self._context)) as cluster:
            while True:
                try:
                    return self._stop(cluster, submission_id)
                except (ConflictError, QueueTimeoutError):  # the worker was submitted, or suspended, in between
                    if not cluster.deadline.sleep(_AGAIN_SECONDS):
                        raise

    def _stop(self, cluster: "StepCluster", submission_id: str) -> bool:
        from dagster_ray.kuberay._jobs.place import open_client
        from dagster_ray.kuberay._kubernetes.fields import at
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
        from dagster_ray.kuberay._status.cluster_state import created

        rayjob = self._read(cluster, submission_id)
        own = created(RAYJOBS, self._template.namespace_of(cluster), rayjob)
        if not is_submitted(rayjob):
            version = str(at(rayjob, "metadata", "resourceVersion"))
            cluster.api.delete(
                own.kind, own.namespace, own.name, cluster.deadline, uid=own.uid, resource_version=version
            )
            self.never_started.add(submission_id)
            return True
        cluster.use(own)
        cluster.wait(even_if_complete=True)
        cluster.read_token()
        with ExitStack() as opened:
            return open_client(cluster, opened).stop(submission_id)

    def close(self) -> None:
        """Nothing stays open."""

    def _read(self, cluster: "StepCluster", submission_id: str) -> Mapping[str, Any]:
        from dagster_ray.kuberay._kubernetes.errors import NotFoundError
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS

        name, deadline = worker_name(submission_id), cluster.deadline
        try:
            return cluster.api.get(RAYJOBS, self._template.namespace_of(cluster), name, deadline)
        except NotFoundError as error:
            raise JobNotFoundError(self.address, submission_id) from error
        except DagsterRayError as error:
            call, spent = f"GET RayJob {name}", deadline.spent_seconds()
            raise JobServerUnavailableError(self.address, call, spent, error.problem, "server_timeout") from error


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
        metadata = {"dagster_ray/rayjob": dg.MetadataValue.text(worker_name(submission_id))}
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

"""RayJobs whose job the operator submits: the worker of a run, or of a step. What both ask the Kubernetes API."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from dagster_ray.core import DagsterRayError, Deadline, identity_of
from dagster_ray.kuberay._interactive_job import KubeRayInteractiveJob
from dagster_ray.kuberay._runs.run_cluster import context_of, fields_of
from dagster_ray.kuberay._runs.worker_rayjob import details_of, is_submitted, rayjob_name, with_worker
from dagster_ray.pipes import JobDetails, Node
from dagster_ray.pipes.errors import JobNotFoundError, JobServerUnavailableError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._steps.creation import ClusterRequest
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

CALL_SECONDS = 20.0
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
"""The fields of `KubeRayInteractiveJob` that the RayJob of a worker can have."""


class WorkerRayJob(KubeRayInteractiveJob):
    """A `KubeRayInteractiveJob` for the worker of a run or step, whose job is submitted by KubeRay's operator."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the RayJob that `WORKER_FIELDS` describe.

        Raises:
            InvalidFieldError: A field has a wrong value.
        """
        given: dict[str, Any] = {**fields, "driver": "cluster"}
        return cls(**given)

    def open(
        self, context: dg.InitResourceContext, seconds: float = CALL_SECONDS, api: "KubernetesApi | None" = None
    ) -> "StepCluster":
        """Return what asks the Kubernetes API about the RayJob of a worker, within some seconds; to be closed.

        A RayJob that a queue holds is waited for no longer: its worker has no head now.

        Args:
            context: For whom it asks.
            seconds: How long all calls may take together.
            api: The Kubernetes API, which closing it closes. None: a new connection.
        """
        from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
        from dagster_ray.kuberay._steps.step_cluster import StepCluster

        reach = dataclasses.replace(self._reach, queue_timeout=0)
        found = KubernetesApi.load(self.kubeconfig_file, self.kube_context) if api is None else api
        return StepCluster(found, reach, context, Deadline(seconds))

    def namespace_of(self, cluster: "StepCluster") -> str:
        """Return the namespace of RayJobs."""
        from dagster_ray.kuberay._steps.requests import namespace_of

        return namespace_of(self._config.plain(), cluster)

    def request(
        self,
        cluster: "StepCluster",
        body: Mapping[str, Any],
        *,
        step_key: str | None = None,
        creation_id: str | None = None,
    ) -> "ClusterRequest":
        """Return the RayJob of a worker.

        Args:
            cluster: What asks the Kubernetes API, with the context of the run.
            body: The job, with the names of Ray's job API.
            step_key: The step; None: it is the worker of the run.
            creation_id: By what the RayJob is found after a lost answer. None: a new one.

        Raises:
            InvalidSpecError, InvalidFieldError, MissingVariableError: It cannot be rendered.
        """
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
        from dagster_ray.kuberay._labels import cleanup_labels
        from dagster_ray.kuberay._spec.manifests import render_rayjob
        from dagster_ray.kuberay._steps import requests
        from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, ClusterRequest

        plain, identity = self._config.plain(), identity_of(cluster.context, 0, step_key=step_key)
        common = requests.render_input(plain, self._settings, cluster, identity)
        annotations = {} if creation_id is None else {CREATION_ANNOTATION: creation_id}
        # Not `DRIVER_LABEL`: it says that a step renews a sign of life, and the worker's is the RayJob's status alone.
        labels = {**common.labels, **cleanup_labels("always")}
        named = dataclasses.replace(
            common,
            name=rayjob_name(body["submission_id"]),
            labels=labels,
            annotations={**common.annotations, **annotations},
            pre_running_deadline_seconds=requests.operator_deadline(self.timeout),
        )
        rayjob = with_worker(requests.with_known_images(render_rayjob(plain, named)), body)
        return ClusterRequest(RAYJOBS, (named.name,), rayjob, requests.fields_of_ours(plain))


class WorkerRayJobs:
    """RayJobs of workers, seen as the jobs of a job server."""

    def __init__(self, template: WorkerRayJob, context: dg.InitResourceContext | None = None) -> None:
        """Take what RayJobs have in common, and for whom the Kubernetes API is asked; nothing is sent yet."""
        self._template = template
        self._context = context_of(None, None) if context is None else context

    @property
    def address(self) -> str:
        """What errors call the place of the jobs."""
        return "the Kubernetes API"

    def details(self, submission_id: str, *, timeout: float | None = None) -> JobDetails:
        """Return how a worker is.

        Raises:
            JobNotFoundError: There is no such RayJob.
            JobServerUnavailableError: The Kubernetes API does not answer so.
        """
        with closing(self._template.open(self._context, timeout or CALL_SECONDS)) as cluster:
            return details_of(self._read(cluster, submission_id))

    def nodes(self, *, timeout: float | None = None) -> tuple[Node, ...] | None:
        """Return None: the operator notices a head that has died."""
        del timeout

    def stop(self, submission_id: str, *, timeout: float | None = None) -> bool:
        """Ask Ray to stop a worker; delete the RayJob of one that was not started yet.

        Raises:
            JobNotFoundError: There is no such RayJob.
            DagsterRayError: Within 20 s, or `timeout`, its head was not reached, or its RayJob changed again and again.
        """
        from dagster_ray.kuberay._kubernetes.errors import ConflictError
        from dagster_ray.kuberay._status.errors import QueueTimeoutError

        with closing(self._template.open(self._context, timeout or CALL_SECONDS)) as cluster:
            while True:
                try:
                    return self._stop(cluster, submission_id)
                except (ConflictError, QueueTimeoutError):  # the worker was submitted, or suspended, in between
                    if not cluster.deadline.sleep(_AGAIN_SECONDS):
                        raise

    def has_never_started(self, submission_id: str) -> None:
        """Take note that the RayJob of a worker was deleted before the operator had submitted it."""

    def _stop(self, cluster: "StepCluster", submission_id: str) -> bool:
        from dagster_ray.kuberay._jobs.place import open_client
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
        from dagster_ray.kuberay._status.cluster_state import created

        rayjob = self._read(cluster, submission_id)
        own = created(RAYJOBS, self._template.namespace_of(cluster), rayjob)
        if not is_submitted(rayjob):
            delete_unsubmitted(cluster, rayjob)
            self.has_never_started(submission_id)
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

        name, deadline = rayjob_name(submission_id), cluster.deadline
        try:
            return cluster.api.get(RAYJOBS, self._template.namespace_of(cluster), name, deadline)
        except NotFoundError as error:
            raise JobNotFoundError(self.address, submission_id) from error
        except DagsterRayError as error:
            call, spent = f"GET RayJob {name}", deadline.spent_seconds()
            raise JobServerUnavailableError(self.address, call, spent, error.problem, "server_timeout") from error


def delete_unsubmitted(cluster: "StepCluster", rayjob: Mapping[str, Any]) -> None:
    """Delete a RayJob whose job was not submitted when it was read.

    Raises:
        ConflictError: It has changed since.
        KubernetesError: The API server refused, or did not answer.
    """
    from dagster_ray.kuberay._kubernetes.fields import at
    from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
    from dagster_ray.kuberay._status.cluster_state import created

    own = created(RAYJOBS, str(at(rayjob, "metadata", "namespace")), rayjob)
    version = str(at(rayjob, "metadata", "resourceVersion"))
    cluster.api.delete(own.kind, own.namespace, own.name, cluster.deadline, uid=own.uid, resource_version=version)

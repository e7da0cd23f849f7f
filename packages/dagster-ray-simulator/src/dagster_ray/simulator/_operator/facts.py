"""What a reconcile looks at, as data. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._operator.names import GROUP_LABEL, NODE_TYPE_LABEL, labels_of


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """A RayCluster and what exists of it.

    Attributes:
        cluster: The RayCluster.
        pods: Its pods, by label.
        service: Its head service, if it is there.
        has_secret: Whether the Secret with its token is there.
    """

    cluster: Mapping[str, Any]
    pods: Sequence[Mapping[str, Any]]
    service: Mapping[str, Any] | None
    has_secret: bool

    @property
    def heads(self) -> list[Mapping[str, Any]]:
        """The head pods."""
        return [pod for pod in self.pods if labels_of(pod).get(NODE_TYPE_LABEL) == "head"]

    @property
    def workers(self) -> list[Mapping[str, Any]]:
        """The worker pods."""
        return [pod for pod in self.pods if labels_of(pod).get(NODE_TYPE_LABEL) == "worker"]

    def of_group(self, group: str) -> list[Mapping[str, Any]]:
        """The worker pods of a group."""
        return [pod for pod in self.workers if labels_of(pod).get(GROUP_LABEL) == group]


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """What the dashboard said about a job.

    Attributes:
        outcome: "job" when it told one, "absent" for 404, "failed" when it could not be asked or made no sense.
        details: The job, for "job".
    """

    outcome: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A RayJob and what exists of it.

    Attributes:
        rayjob: The RayJob.
        cluster: Its RayCluster, if it is there.
        cluster_service: The head service of the cluster, if it is there.
        has_job_service: Whether the RayJob's own head service is there.
        submitter: The batch Job that submits, if it is there.
        answer: What the dashboard said in this reconcile; None before it was asked.
    """

    rayjob: Mapping[str, Any]
    cluster: Mapping[str, Any] | None = None
    cluster_service: Mapping[str, Any] | None = None
    has_job_service: bool = False
    submitter: Mapping[str, Any] | None = None
    answer: JobAnswer | None = None

    @property
    def spec(self) -> Mapping[str, Any]:
        """The RayJob's spec."""
        return mapping(self.rayjob.get("spec"))

    @property
    def status(self) -> Mapping[str, Any]:
        """The RayJob's status."""
        return mapping(self.rayjob.get("status"))

    @property
    def mode(self) -> str:
        """The submission mode."""
        return str(self.spec.get("submissionMode") or "K8sJobMode")

    @property
    def has_dashboard_port(self) -> bool:
        """Whether the cluster's service names a port `dashboard`."""
        return any(port.get("name") == "dashboard" for port in mappings(at(self.cluster_service, "spec", "ports")))

    def submitter_condition(self) -> Mapping[str, Any] | None:
        """The condition with which the submitter finished: Complete or Failed."""
        conditions = mappings(at(self.submitter, "status", "conditions"))
        ended = [item for item in conditions if item.get("type") in ("Complete", "Failed")]
        return next((item for item in ended if item.get("status") == "True"), None)

"""`KubeRayResource`: what the resources of the KubeRay backend have in common."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr, field_validator
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, StepOutcome, WaitLines, without_secrets
from dagster_ray.core.errors import InvalidFieldError, NotConnectedError
from dagster_ray.core.step_report.around import Figures
from dagster_ray.core.variables import env_vars_fault, is_env_var, resolved
from dagster_ray.kuberay._hours.prices import Price
from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.pipes.drivers import ClusterDriverResource

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
if TYPE_CHECKING:
    from dagster_ray.core.failures.causes import Failure, Kept, Loss
    from dagster_ray.kuberay._bundle.collected import Driver
    from dagster_ray.kuberay._hours.measurement import ClusterMeasurement
    from dagster_ray.kuberay._jobs.driver import DriverHost
    from dagster_ray.kuberay._steps.requests import Settings
    from dagster_ray.kuberay._steps.step_cluster import StepCluster
    from dagster_ray.kuberay._steps.wait import Reach
    from dagster_ray.pipes.drivers import Place

AnyCluster = TypeVar("AnyCluster", bound="StepCluster")


class KubeRayResource(ClusterDriverResource):
    """A cluster on Kubernetes, for a driver that reaches it by Ray Client, or one inside. What both resources have."""

    takes_secrets: ClassVar[bool] = True

    _kind: ClassVar[str]
    """RayJob or RayCluster."""

    image: str | None = Field(
        default=None,
        description=(
            "Image of every container that has none. Unset: the run's tag dagster/image, else the image of the code "
            "location, else the public Ray image that matches the step's Ray and Python."
        ),
    )
    env_vars: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "Environment variables of every Ray container, unless the spec sets them: text, or "
            "{secretKeyRef: {name, key}} for what a Secret holds."
        ),
    )
    queue: str | None = Field(default=None, description="Kueue's LocalQueue that admits the cluster.")
    priority: str | None = Field(default=None, description="Kueue's WorkloadPriorityClass of the cluster.")
    queue_timeout: float = Field(
        default=86400.0,
        gt=0,
        description="Seconds that a queue may hold the cluster back; the timeout is paused meanwhile.",
    )
    wait_for: Literal["head", "workers"] = Field(
        default="head",
        description=(
            "head: go on as soon as the head accepts drivers, or jobs. workers: when the operator has seen all pods "
            "ready."
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

    preflight: Literal["quick", "full", "off"] = Field(
        default="quick",
        description=(
            "What is checked before anything is created. quick: names and versions of images, the rules of the "
            "installed KubeRay, and the account's rights by one request per process. full: also whether the API "
            "server and its admission accept the object; a warning if no operator is found. off: nothing."
        ),
    )

    hours: bool = Field(
        default=False,
        description=(
            "Measure what the pods of the cluster reserve, and how much of it is used: figures in the metadata of what "
            "the step makes, and in one event of the run. Costs one list and one watch of the cluster's pods."
        ),
    )
    prices: list[Price] = Field(
        default_factory=list[Price],
        description="With hours: prices by which the figures contain a cost. The first one that fits a node is used.",
    )
    evidence: str | None = Field(
        default=None,
        description=(
            "Folder, or URL of a file system that fsspec knows, where the evidence of a step's failure is written "
            "before its cluster is deleted: objects, events, logs and failed tasks. Unset: none is kept."
        ),
    )

    # Pydantic would print a place with credentials as the input that it refuses.
    model_config = ConfigDict(hide_input_in_errors=True)

    _cluster: "StepCluster | None" = PrivateAttr(default=None)
    _host: "DriverHost | None" = PrivateAttr(default=None)
    """What runs the body in the cluster; None where the driver is in the step."""
    _measurement: "ClusterMeasurement | None" = PrivateAttr(default=None)
    _connecting: tuple[Deadline, WaitLines] | None = PrivateAttr(default=None)
    """How long the driver has been connecting since its first attempt failed, and when that is logged."""

    @field_validator("env_vars")
    @classmethod
    def _variables_of_containers_are_text_or_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        fault = env_vars_fault(value, "env_vars", takes_secrets=True)
        if fault is not None:
            raise InvalidFieldError(*fault)
        return value

    @field_validator("head_host")
    @classmethod
    def _head_host_has_known_places(cls, value: str | None) -> str | None:
        from dagster_ray.kuberay._head.route import checked_head_host

        return value if value is None or is_env_var(value) else checked_head_host(value)

    @field_validator("evidence")
    @classmethod
    def _evidence_has_a_place(cls, value: str | None) -> str | None:
        if value is None or is_env_var(value):
            return value
        from dagster_ray.kuberay._bundle.storage import checked_place

        return checked_place(value)

    # What users read

    @property
    @override
    def display_name(self) -> str:
        """`RayJob namespace/name`, or `RayJob` while it has no name; the same for a RayCluster."""
        own = self._cluster.own if self._cluster is not None else None
        return own.target if own is not None else self._kind

    @property
    @override
    def address(self) -> str:
        """Where the driver connects: `ray://host:port`."""
        route = self._cluster.route if self._cluster is not None else None
        if route is None:
            raise NotConnectedError(self.display_name, "address", "the cluster's head is not known yet")
        return route.address

    @property
    @override
    def dashboard_url(self) -> str | None:
        """The dashboard's URL for this process. Through a port-forward it works as long as the step runs."""
        route = self._cluster.route if self._cluster is not None else None
        return route.dashboard_url if route is not None else None

    @property
    @override
    def startup_seconds(self) -> Mapping[str, float]:
        """Seconds that each finished phase took, and that a queue held the cluster back."""
        queued = self._cluster.queued_seconds if self._cluster is not None else 0.0
        return {**super().startup_seconds, **({"queue": queued} if queued else {})}

    # The phases

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        """Wait until the head accepts drivers, or jobs, then make sure that ours will be understood."""
        cluster = self._created
        if self._host is None:
            cluster.wait()
            cluster.greet()
            return
        self._host.wait()

    @override
    def job_place(self, context: dg.OpExecutionContext) -> "Place":
        """Return the job server of the cluster."""
        cluster = self._created
        assert self._host is not None  # noqa: S101 - set with the cluster
        place, measurement = self._host.place(context), self._measurement
        if measurement is None:
            return place
        measurement.serves(context.get_step_execution_context().step.key)
        figures = Figures(measurement, self.display_name, cluster.log)
        return replace(place, figures=figures.metadata)

    @property
    @override
    def is_measured(self) -> bool:
        """Whether figures of the cluster are wanted."""
        return self.hours

    @override
    def measure(self, context: DagsterContext) -> "ClusterMeasurement | None":
        """Measure what the cluster reserves, and what of it is used."""
        from dagster_ray.kuberay._hours.measurement import ClusterMeasurement, Measured

        cluster = self._cluster
        if cluster is None or cluster.own is None:
            return None
        rates = [price.rate() for price in self.prices]
        self._measurement = ClusterMeasurement(Measured(cluster, rates, self.startup_seconds))
        return self._measurement

    @override
    def driver_environment(self) -> Mapping[str, str]:
        """What Ray Client needs for a cluster with a token."""
        token = self._cluster.token if self._cluster is not None else None
        return {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}

    @override
    def check_cluster(self, context: DagsterContext) -> None:
        """Raise if the cluster has ended or is gone, and take note of a new head pod."""
        cluster = self._created
        cluster.check()
        since, lines = self._connecting = self._connecting or (Deadline(float("inf")), WaitLines())
        if lines.due("connecting", since.spent_seconds()) == "still" and cluster.route is not None:
            said = "%s: still connecting the driver to %s after %.0f s."
            cluster.log.info(said, self.display_name, cluster.route.place, since.spent_seconds())

    @override
    def delete_cluster(self, context: DagsterContext, outcome: StepOutcome, deadline: Deadline) -> None:
        """Delete what this step has made for itself, also if its creation was interrupted."""
        if self._cluster is not None:
            self._cluster.delete(deadline)

    @override
    def begin_again(self) -> None:
        """Forget the cluster, so that `create` asks for another one."""
        super().begin_again()
        self._cluster = self._host = self._connecting = self._measurement = None

    @override
    def losses(self, context: DagsterContext, deadline: Deadline) -> "Sequence[Loss]":
        """Return which pods a node took along lately, and which ran out of memory."""
        from dagster_ray.kuberay._steps.lost_pods import losses_of_cluster

        return () if self._cluster is None else losses_of_cluster(self._cluster, deadline)

    @override
    def keep_evidence(
        self, context: DagsterContext, failures: "Sequence[Failure]", deadline: Deadline
    ) -> "Mapping[str | None, Kept]":
        """Write what is known of each failure to the place that `evidence` names."""
        cluster = self._cluster
        if self.evidence is None or cluster is None or cluster.is_closed:
            return {}
        from dagster_ray.kuberay._bundle.keeping import keep

        try:
            return keep(
                cluster,
                self.evidence,
                self.display_name,
                failures=[(failure, self._driver_of(failure)) for failure in failures],
                secrets=self._hidden(),
                deadline=deadline,
            )
        finally:
            self._progress.evidence_seconds = deadline.spent_seconds()

    def _driver_of(self, failure: "Failure") -> "Driver":
        """Return where the driver of a step was: steps of one process share one, unless their bodies are Ray jobs."""
        from dagster_ray.kuberay._bundle.collected import Driver

        host = self._host
        if host is None:
            return Driver(self.job_id if self.is_connected else None)
        return Driver(
            submission_id=host.job_id_of(failure.step_key), in_cluster=True, has_others=host.has_had_several_jobs
        )

    def _hidden(self) -> list[str]:
        """Return the values of variables, which a log of the step may contain."""
        given = resolved(without_secrets(self.runtime_env), os.environ, "runtime_env")
        return [str(value) for value in mapping(mapping(given).get("env_vars")).values()]

    @override
    def release(self, context: DagsterContext) -> None:
        """Close the connections to the head and to Kubernetes."""
        if self._host is not None:
            self._host.close()
        if self._cluster is not None:
            self._cluster.close()

    @property
    def _created(self) -> "StepCluster":
        cluster = self._cluster
        if cluster is None or cluster.own is None or cluster.is_closed:
            raise NotConnectedError(self.display_name, "cluster", "it was not created, or was cleaned up already")
        return cluster

    def _opened(self, context: DagsterContext, deadline: Deadline) -> "StepCluster":
        """Return what will hold this step's cluster; nothing is asked for yet."""
        from dagster_ray.kuberay._steps.step_cluster import StepCluster

        kubeconfig = self.kubeconfig_file, self.kube_context
        return self._hosted(StepCluster.open(kubeconfig, self._reach, context, deadline))

    def _hosted(self, cluster: AnyCluster) -> AnyCluster:
        """Take the object that will hold this step's cluster."""
        self._cluster = cluster
        if self.evidence is not None:
            from dagster_ray.kuberay._bundle.storage import require_file_system

            require_file_system(self.evidence)
        if self.driver_in_cluster:
            from dagster_ray.kuberay._jobs.driver import DriverHost

            self._host = DriverHost(cluster, self._plan.cleanup)
        return cluster

    @property
    def _reach(self) -> "Reach":
        from dagster_ray.kuberay._steps.wait import Reach

        goal = "dashboard" if self.driver_in_cluster else "drivers"
        return Reach(self.access, self.head_host, self.queue_timeout, self.wait_for, goal)

    @property
    def _settings(self) -> "Settings":
        from dagster_ray.kuberay._spec.secrets import env_values
        from dagster_ray.kuberay._steps.requests import Settings

        return Settings(
            image=self.image,
            env_vars=env_values(self.env_vars, self.runtime_env, os.environ),
            queue=self.queue,
            priority=self.priority,
            timeout_seconds=self.timeout,
            cleanup=self._plan.cleanup,
            driver_in_cluster=self.driver_in_cluster,
        )

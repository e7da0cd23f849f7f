"""What was read about a failure, as plain data. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster_ray.core.failures.causes import Failure
from dagster_ray.kuberay._diagnosis.diagnosis import Diagnosis
from dagster_ray.kuberay._kubernetes.fields import Manifest


@dataclass(frozen=True, slots=True)
class About:
    """What a bundle is about.

    Attributes:
        run_id: The run; empty outside of one.
        job: The run's job.
        target: The RayJob or RayCluster, for people.
        driver: Where the driver was, for people.
        time: When the facts were read, by the API server's clock if that was known.
        versions: Versions by name.
    """

    run_id: str
    job: str
    target: str
    driver: str
    time: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Driver:
    """Where the driver of a step was.

    Attributes:
        job_id: Ray's id of a driver in the step; None: it is in the cluster, or there was none.
        submission_id: The id of the Ray job; None: the driver was in the step.
        in_cluster: Whether it was to be in the cluster.
        has_others: Whether the cluster, although it is the step's own, has had other jobs: of an attempt before, or of
            another step of the process.
    """

    job_id: str | None = None
    submission_id: str | None = None
    in_cluster: bool = False
    has_others: bool = False

    @property
    def sentence(self) -> str:
        """Where it was, for people."""
        if not self.in_cluster:
            return "in the step's own process, so its output is in the step's compute log"
        return f"the Ray job {self.submission_id}" if self.submission_id else "to be a Ray job, which was not submitted"


@dataclass(frozen=True, slots=True)
class ContainerLog:
    """The end of what one container has printed."""

    pod: str
    container: str
    text: str
    previous: bool = False
    """Whether it is of the run before a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The facts about one step that failed and about its cluster, as far as they could be read.

    Attributes:
        about: What they are about.
        failure: The step that failed.
        rayjob, raycluster: The objects with their statuses.
        pods: The cluster's pods.
        events: Kubernetes events about all of these, as the API gave them.
        workloads: Kueue's Workloads of the namespace, where a queue has the cluster.
        diagnosis: Why the cluster is not there, or what is wrong with its pods; None: nothing is known.
        logs: Ends of logs of containers.
        driver_log: The end of the log of a driver in the cluster; None: the driver was in the step.
        tasks, actors: Failed ones, as Ray's state API lists them.
        unread: Why a part could not be read, by the part.
        secrets: Values that no file may contain, beside those that are found in the facts.
    """

    about: About
    failure: Failure
    rayjob: Manifest | None = None
    raycluster: Manifest | None = None
    pods: Sequence[Manifest] = ()
    events: Sequence[Manifest] = ()
    workloads: Sequence[Manifest] = ()
    diagnosis: Diagnosis | None = None
    logs: Sequence[ContainerLog] = ()
    driver_log: str | None = None
    tasks: Sequence[Manifest] = ()
    actors: Sequence[Manifest] = ()
    unread: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: frozenset[str] = frozenset()

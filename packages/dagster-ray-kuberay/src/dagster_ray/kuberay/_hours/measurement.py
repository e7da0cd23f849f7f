"""Measures the cluster of a step: what its pods reserve, what that costs, and how much of it tasks use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.step_report.sampling import UsageSampler
from dagster_ray.kuberay._hours.figures import Node, Rate, hours_of
from dagster_ray.kuberay._hours.pod_watch import PodWatch
from dagster_ray.kuberay._hours.pods import PodHistory
from dagster_ray.kuberay._kubernetes.kinds import PODS, RAYCLUSTERS
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay._steps.step_cluster import StepCluster

if TYPE_CHECKING:
    from dagster_ray.core.step_report.around import Figure

_FIRST_POD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured.

    Attributes:
        cluster: The cluster of the step.
        rates: Prices.
        startup_seconds: Seconds that each phase took, and that a queue held the cluster back.
    """

    cluster: StepCluster
    rates: Sequence[Rate]
    startup_seconds: Mapping[str, float]


class ClusterMeasurement:
    """The figures of a step on a cluster, from its construction until `close`."""

    def __init__(self, measured: Measured) -> None:
        """Watch the pods, if their cluster is known, and sample what they use, if the dashboard is."""
        self._measured, self._clock = measured, Deadline(float("inf"))
        step = measured.cluster
        self._name = cluster_name_of(step)
        self._steps = set[str]()
        self._since: datetime | None = None
        if step.is_shared:
            self._since = step.api.server_time() - timedelta(seconds=sum(measured.startup_seconds.values()))
        self._watch: PodWatch | None = None
        self._sampler: UsageSampler | None = None
        if step.route is None or self._name is None or step.own is None:
            return  # it has not come up, so that there is nothing to watch
        needs_nodes = any(rate.node_labels or rate.node_hour for rate in measured.rates)
        self._watch = PodWatch(step.api, step.own.namespace, self._name, step.log, reads_nodes=needs_nodes)
        self._sampler = UsageSampler(self._dashboard)

    def serves(self, step_key: str) -> None:
        """Note that the body of a step runs on the cluster: figures of the second one contain those of the first."""
        self._steps.add(step_key)

    def read(self, deadline: Deadline) -> "Mapping[str, Figure]":
        """Return the figures until now.

        Args:
            deadline: Ends the list of pods, where there is no watch, and the wait for a first sample.
        """
        step = self._measured.cluster
        if self._name is None or step.own is None:
            return {}
        figures: dict[str, Figure] = {}
        try:
            history, nodes, is_exact = self._history(deadline)
            now = step.api.server_time()
            hours = hours_of(history.pods.values(), now, since=self._since, rates=self._measured.rates, nodes=nodes)
            figures |= hours.plain()
            figures |= {"estimated": True} if not is_exact else {}
        except DagsterRayError as error:
            figures["hours_unknown"] = f"the pods could not be listed: {error}"
        if self._since is not None or len(self._steps) > 1:
            figures["shared"] = True
        if self._sampler is not None:
            figures |= self._sampler.figures(deadline)
        return {**figures, **self._seconds()}

    def close(self, deadline: Deadline) -> None:
        """End the watch and the samples."""
        try:
            if self._watch is not None:
                self._watch.close(deadline)
        finally:
            if self._sampler is not None:
                self._sampler.close(deadline)

    def _history(self, deadline: Deadline) -> tuple[PodHistory, dict[str, Node], bool]:
        """Return the pods, the nodes, and whether all was heard when it happened."""
        if self._watch is not None:
            history, nodes = self._watch.history(min(_FIRST_POD_SECONDS, deadline.remaining_seconds()))
            if self._watch.is_exact and history.pods:
                return history, nodes, True
            listed = self._listed(deadline)
            for uid, pod in history.pods.items():
                listed.pods.setdefault(uid, pod)
            return listed, nodes, False
        return self._listed(deadline), {}, False

    def _listed(self, deadline: Deadline) -> PodHistory:
        step, found = self._measured.cluster, PodHistory()
        assert step.own is not None  # noqa: S101 - asked before
        selector = f"{CLUSTER_LABEL}={self._name}"
        for pod in step.api.list(PODS, step.own.namespace, deadline, label_selector=selector).items:
            found.note(pod, step.api.server_time())
        return found

    def _seconds(self) -> dict[str, float]:
        phases = dict(self._measured.startup_seconds)
        queue = phases.pop("queue", 0.0)
        run = self._clock.spent_seconds()
        return {"queue_seconds": queue, "startup_seconds": sum(phases.values()), "run_seconds": run}

    def _dashboard(self) -> tuple[str | None, str | None]:
        step = self._measured.cluster
        return (None if step.route is None else step.route.dashboard_url), step.token


def cluster_name_of(step: StepCluster) -> str | None:
    """Return the name of a step's RayCluster; None while it is not known."""
    own = step.own
    if own is None:
        return None
    return step.cluster_name or (own.name if own.kind is RAYCLUSTERS else None)

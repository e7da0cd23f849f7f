"""Assets whose attempts fail as told, on a cluster whose set-ups fail as told, for runs in one process and in many."""

# Dagster's decorators are typed in part only.
# pyright: reportUnknownMemberType=false

from types import SimpleNamespace
from typing import Any

import dagster as dg
from probe_clusters import ProbeCluster, journal_lines
from typing_extensions import override

from dagster_ray.core import DagsterContext, Deadline, RayResource
from dagster_ray.core.errors import NotReadyError
from dagster_ray.core.failures.causes import Loss

BROKEN = "Failed during this or a previous request. Exception that broke the connection: <StatusCode.UNAVAILABLE>"
SPOT = "pod a-head on node n is taken away: spot"


class RetriedCluster(ProbeCluster):
    """Its first set-ups never become ready; each of its heads is on a spot node."""

    bad_setups: int = 0
    sees_nodes: bool = True

    @override
    def wait_for_cluster(self, context: DagsterContext, deadline: Deadline) -> None:
        super().wait_for_cluster(context, deadline)
        if sum(line["did"] == "wait" for line in journal_lines(self.journal)) <= self.bad_setups:
            raise NotReadyError(self.display_name, 1, "nothing")

    @override
    def losses(self, context: DagsterContext, deadline: Deadline) -> list[Loss]:
        if not self.sees_nodes:
            raise OSError("the API server is away")
        return [Loss("preempted", SPOT, is_head=True)]


@dg.resource(required_resource_keys={"ray_cluster"})
def holder(context: dg.InitResourceContext) -> Any:
    """A resource that is given the cluster."""
    return SimpleNamespace(ray=context.resources.ray_cluster)


def fail_as(what: str) -> None:
    """Do what one attempt of a step does: infra, wrapped, final, bug, asks (for a retry), or good."""
    if what == "infra":
        raise ConnectionError(BROKEN)
    if what == "wrapped":
        raise RuntimeError("training failed") from ConnectionError(BROKEN)
    if what == "final":
        raise dg.Failure("enough", allow_retries=False) from ConnectionError(BROKEN)
    if what == "bug":
        raise ValueError("the step's own error")
    if what == "asks":
        raise dg.RetryRequested(max_retries=1)


def asset_of(attempts: list[str], policy: dg.RetryPolicy | None = None) -> dg.AssetsDefinition:
    """Return an asset whose attempts go as told."""

    @dg.asset(retry_policy=policy)
    def model(context: dg.AssetExecutionContext, ray_cluster: RayResource, holder: dg.ResourceParam[Any]) -> None:
        cluster: Any = context.resources.ray_cluster
        assert type(cluster) is RetriedCluster, "the body finds the resource itself"
        assert ray_cluster is cluster
        assert cluster.job_id
        assert holder.ray.display_name == cluster.display_name
        cluster.probe.note("step", attempt=str(context.retry_number))
        fail_as(attempts[context.retry_number])

    return model


def two_preemptions() -> dg.JobDefinition:
    """A job for processes of an executor."""
    definitions = dg.Definitions(
        assets=[asset_of(["infra", "infra", "good"])],
        resources={"ray_cluster": RetriedCluster.configure_at_launch(), "holder": holder},
        jobs=[dg.define_asset_job("job", selection="*")],
    )
    return definitions.resolve_job_def("job")

"""Where Ray jobs run on the cluster of a step: its job server, and the ways to the agents of its nodes."""

from collections.abc import Callable
from contextlib import ExitStack

import dagster as dg

from dagster_ray.kuberay._head.route import ForwardedAgents
from dagster_ray.kuberay._jobs.watch import ClusterWatch
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.pipes import RayJobClient
from dagster_ray.pipes.clients import Place, Verdict

_LEAST_CALL_SECONDS = 30.0


def open_client(cluster: StepCluster, opened: ExitStack) -> RayJobClient:
    """Return a client of the job server of a cluster whose dashboard answers and whose token was read.

    `opened` closes it.
    """
    assert cluster.route is not None  # noqa: S101 - the dashboard answers
    seconds = max(_LEAST_CALL_SECONDS, cluster.deadline.remaining_seconds())
    client = RayJobClient(cluster.route.address, token=cluster.token, timeout=seconds, use_proxies=False)
    opened.callback(client.close)
    return client


def place_of(
    cluster: StepCluster,
    client: RayJobClient,
    watch: ClusterWatch,
    opened: ExitStack,
    *,
    submitted: Callable[[str], None] = lambda _: None,
    judged: Callable[[Verdict], None] = lambda _: None,
    pending: Callable[[], str] = lambda: "",
    explained: Callable[[Exception], Exception] = lambda error: error,
) -> Place:
    """Return where jobs run on a cluster that was reached; `opened` closes the ways to its nodes."""
    own, direct = cluster.made, cluster.is_direct
    is_rayjob = own.kind is RAYJOBS
    watch.listen(lambda: (client.server.answers, client.server.failures))
    return Place(
        client,
        route=_agent_route(cluster, opened),
        trusts_agents=not direct or cluster.api.in_cluster,
        check=watch.check,
        metadata={f"dagster_ray/{own.kind.kind.lower()}": dg.MetadataValue.text(f"{own.namespace}/{own.name}")},
        has_link=direct,
        uid=own.uid if is_rayjob else None,
        submitted=submitted,
        judged=judged,
        pending=pending,
        explained=explained,
    )


def _agent_route(cluster: StepCluster, opened: ExitStack) -> Callable[[str], str | None]:
    if not cluster.is_direct:
        own = cluster.made
        agents = ForwardedAgents(cluster.api, own.namespace, cluster.cluster_name or own.name)
        opened.callback(agents.close)
        return agents.route
    # A host name for the head says nothing of the pods' own addresses.
    reachable = cluster.api.in_cluster or cluster.reach.head_host is None
    return lambda url: url if reachable else None

"""What the operator does for a RayCluster: services, secret and pods. Pure.

Facts: KubeRay controllers/ray/raycluster_controller.go (reconcilePods and its order), as recorded with 1.4.2 and 1.7.0.
There is no autoscaler; `autoscaler_request` stands in for the one case in which nothing would run without it.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._operator.actions import Action, Create, Delete, Tell
from dagster_ray.simulator._operator.conditions import is_true
from dagster_ray.simulator._operator.facts import ClusterFacts
from dagster_ray.simulator._operator.names import (
    CLUSTER_CONTROLLER,
    EventFacts,
    full_name,
    go_time,
    labels_of,
    name_of,
    namespace_of,
    texts,
)
from dagster_ray.simulator._operator.objects import auth_secret, head_service
from dagster_ray.simulator._operator.pods import desired_pods, head_pod, worker_pod
from dagster_ray.simulator._operator.versions import OperatorVersion

_DISABLE_RESTART = "ray.io/disable-provisioned-head-restart"
_INDEX_LABEL = "ray.io/worker-group-replica-index"


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What to do now.

    Attributes:
        actions: In order; the first that fails ends them.
        error: Why the reconcile counts as failed although the actions work: it is tried again with a backoff.
    """

    actions: tuple[Action, ...]
    error: str | None = None


def _told(cluster: Mapping[str, Any], reason: str, message: str, action: str = "Create") -> EventFacts:
    return EventFacts(cluster, reason, message, CLUSTER_CONTROLLER, action)


def _failed(cluster: Mapping[str, Any], reason: str, message: str) -> EventFacts:
    return EventFacts(cluster, reason, message, CLUSTER_CONTROLLER, "Create", warning=True)


def plan_cluster(
    facts: ClusterFacts, version: OperatorVersion, suffix: Callable[[], str], token: Callable[[], bytes]
) -> ClusterPlan:
    """Return what a reconcile does before it writes the status.

    Args:
        facts: The cluster and what exists.
        version: The operator's release.
        suffix: Makes the random end of a pod's name.
        token: Makes the random bytes of a token.
    """
    cluster = facts.cluster
    actions: list[Action] = []
    if version.has_token_auth and at(cluster, "spec", "authOptions") is not None and not facts.has_secret:
        own = at(cluster, "spec", "authOptions", "secretName") or at(
            cluster, "spec", "authOptions", "enableK8sTokenAuth"
        )
        if at(cluster, "spec", "authOptions", "mode") != "disabled" and not own:
            actions.append(Create("secrets", auth_secret(cluster, token())))
    if facts.service is None:
        service = head_service(cluster)
        text = f"Created service {full_name(service)}"
        failed = _failed(cluster, "FailedToCreateService", f"Failed to create service {full_name(service)}, ")
        actions.append(Create("services", service, _told(cluster, "CreatedService", text), failed))
    pods, error = _plan_pods(facts, version, suffix)
    return ClusterPlan((*actions, *pods), error)


def _plan_pods(
    facts: ClusterFacts, version: OperatorVersion, suffix: Callable[[], str]
) -> tuple[list[Action], str | None]:
    cluster = facts.cluster
    if is_true(cluster, "RayClusterSuspending"):
        text = f"Deleted Pods for RayCluster {full_name(cluster)} due to suspension"
        doomed: list[Action] = [
            _deletion(pod) for pod in facts.pods if at(pod, "metadata", "deletionTimestamp") is None
        ]
        return [*doomed, Tell(_told(cluster, "DeletedPod", text, "Delete"))], None
    if is_true(cluster, "RayClusterSuspended") or at(cluster, "spec", "suspend") is True:
        return [], None
    heads, error = _plan_head(facts, version, suffix)
    if error is not None:
        return heads, error
    actions = list(heads)
    for group in mappings(at(cluster, "spec", "workerGroupSpecs")):
        planned, error = _plan_group(facts, group, version, suffix)
        actions += planned
        if error is not None:
            return actions, error
    return actions, None


def _deletion(pod: Mapping[str, Any], event: EventFacts | None = None) -> Delete:
    return Delete("pods", namespace_of(pod), name_of(pod), event)


def _plan_head(
    facts: ClusterFacts, version: OperatorVersion, suffix: Callable[[], str]
) -> tuple[list[Action], str | None]:
    cluster = facts.cluster
    if len(facts.heads) > 1:
        return [], "more than one head Pod"
    if facts.heads:
        return _unhealthy(cluster, facts.heads, "head", "DeletedHeadPod")
    if not _may_restart_head(cluster, version):
        return [], None
    pod = head_pod(cluster, suffix(), version)
    return [
        Create(
            "pods",
            pod,
            _told(cluster, "CreatedHeadPod", f"Created head Pod {full_name(pod)}"),
            _failed(cluster, "FailedToCreateHeadPod", f"Failed to create head Pod {full_name(pod)}, "),
            "FailedCreateHeadPod",
        )
    ], None


def _may_restart_head(cluster: Mapping[str, Any], version: OperatorVersion) -> bool:
    of_job = labels_of(cluster).get("ray.io/originated-from-crd") == "RayJob"
    if not of_job or not is_true(cluster, "RayClusterProvisioned"):
        return True
    if version.since(6) and at(cluster, "metadata", "annotations", _DISABLE_RESTART) == "true":
        return False
    return version.restarts_job_heads


def _unhealthy(
    cluster: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], node_type: str, reason: str
) -> tuple[list[Action], str | None]:
    doomed: list[Action] = []
    for pod in pods:
        phase, policy = at(pod, "status", "phase"), at(pod, "spec", "restartPolicy") or "Always"
        ended = _terminated(pod)
        stopped = phase == "Running" and policy == "Never" and ended is not None
        if phase in ("Failed", "Succeeded") or stopped:
            text = (
                f"Deleted {node_type} Pod {full_name(pod)}; Pod status: {phase}; Pod restart policy: {policy};"
                f" Ray container terminated status: {_go_terminated(ended)}"
            )
            doomed.append(_deletion(pod, _told(cluster, reason, text, "Delete")))
    return doomed, f"deleted unhealthy {node_type} Pods" if doomed else None


def _terminated(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    statuses = mappings(at(pod, "status", "containerStatuses"))
    return at(statuses[0], "state", "terminated") if statuses else None


def _go_terminated(state: Mapping[str, Any] | None) -> str:
    if state is None:
        return "nil"
    return (
        f"&ContainerStateTerminated{{ExitCode:{state.get('exitCode', 0)},Signal:0,Reason:{state.get('reason', '')},"
        f"Message:{state.get('message', '')},StartedAt:{go_time(str(state.get('startedAt')))},"
        f"FinishedAt:{go_time(str(state.get('finishedAt')))},ContainerID:{state.get('containerID', '')},}}"
    )


def _plan_group(
    facts: ClusterFacts, group: Mapping[str, Any], version: OperatorVersion, suffix: Callable[[], str]
) -> tuple[list[Action], str | None]:
    cluster, name = facts.cluster, str(group.get("groupName") or "")
    pods = facts.of_group(name)
    if group.get("suspend") is True:
        text = f"Deleted all pods for suspended worker group {name} in RayCluster {full_name(cluster)}"
        gone: list[Action] = [_deletion(pod) for pod in pods if at(pod, "metadata", "deletionTimestamp") is None]
        return ([*gone, Tell(_told(cluster, "DeletedWorkerPod", text, "Delete"))] if gone else []), None
    doomed, error = _unhealthy(cluster, pods, "worker", "DeletedWorkerPod")
    if error is not None:
        return doomed, error
    surplus = len(pods) - desired_pods(group)
    if surplus > 0:
        return list(_scaled_down(cluster, group, pods, surplus)), None
    return list(_new_workers(cluster, group, pods, -surplus, version=version, suffix=suffix)), None


def _scaled_down(
    cluster: Mapping[str, Any], group: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], surplus: int
) -> Iterator[Action]:
    named = set(texts(at(group, "scaleStrategy", "workersToDelete")))
    chosen = [pod for pod in pods if name_of(pod) in named]
    if at(cluster, "spec", "enableInTreeAutoscaling") is not True:
        chosen += [pod for pod in pods if name_of(pod) not in named]
    for pod in chosen[:surplus]:
        if at(pod, "metadata", "deletionTimestamp") is None:
            event = _told(cluster, "DeletedWorkerPod", f"Deleted Pod {full_name(pod)}", "Delete")
            yield _deletion(pod, event)


def _new_workers(
    cluster: Mapping[str, Any],
    group: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    count: int,
    *,
    version: OperatorVersion,
    suffix: Callable[[], str],
) -> Iterator[Action]:
    taken = {labels_of(pod).get(_INDEX_LABEL) for pod in pods}
    free = (index for index in range(len(pods) + count) if str(index) not in taken)
    for _ in range(count):
        pod = worker_pod(cluster, group, next(free), suffix(), version)
        text = f"Failed to create worker Pod for the cluster {full_name(cluster)}, "
        yield Create(
            "pods",
            pod,
            _told(cluster, "CreatedWorkerPod", f"Created worker Pod {full_name(pod)}"),
            _failed(cluster, "FailedToCreateWorkerPod", text),
            "FailedCreateWorkerPod",
        )


def autoscaler_request(cluster: Mapping[str, Any]) -> dict[str, Any] | None:
    """The cluster with one worker asked for, when an autoscaler is on and the head runs no tasks; else None.

    An autoscaler is not simulated. A head with `num-cpus: "0"` and no workers would leave every task pending, so one
    worker of the first group stands for what the autoscaler would start: once, as soon as the cluster is ready.
    """
    spec = mapping(cluster.get("spec"))
    groups = mappings(spec.get("workerGroupSpecs"))
    idle_head = str(at(spec, "headGroupSpec", "rayStartParams", "num-cpus")) == "0"
    if not groups or spec.get("enableInTreeAutoscaling") is not True or not idle_head:
        return None
    most = groups[0].get("maxReplicas")
    if any(desired_pods(group) for group in groups) or at(cluster, "status", "state") != "ready" or most == 0:
        return None
    asked = copy.deepcopy(dict(cluster))
    asked["spec"]["workerGroupSpecs"][0]["replicas"] = 1
    return asked

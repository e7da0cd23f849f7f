"""The status of a RayCluster: conditions, head, replicas, state. Pure.

Facts: KubeRay controllers/ray/raycluster_controller.go (calculateStatus) and utils/util.go, recordings of 1.4.2, 1.7.0.
"""

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._operator.actions import Failure
from dagster_ray.simulator._operator.facts import ClusterFacts
from dagster_ray.simulator._operator.names import head_service_name, name_of, timestamp
from dagster_ray.simulator._operator.pods import desired_pods
from dagster_ray.simulator._operator.quantities import desired_resources
from dagster_ray.simulator._operator.versions import OperatorVersion

_INT32_MAX = 2**31 - 1
_PROVISIONING = "RayClusterPodsProvisioning"
# A change of these alone is not written (consistency.go).
_IGNORED = ("lastUpdateTime", "observedGeneration", "desiredCPU", "desiredGPU", "desiredMemory", "desiredTPU")
ZERO_STATUS: Mapping[str, Any] = {
    "desiredCPU": "0",
    "desiredGPU": "0",
    "desiredMemory": "0",
    "desiredTPU": "0",
    "head": {},
}


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of this type."""
    return next((item for item in mappings(at(obj, "status", "conditions")) if item.get("type") == kind), None)


def is_true(obj: Mapping[str, Any], kind: str) -> bool:
    """Whether the condition of this type is True."""
    return mapping(condition(obj, kind)).get("status") == "True"


def pod_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod runs and its condition Ready, if it has one, is True."""
    ready = condition(pod, "Ready")
    return at(pod, "status", "phase") == "Running" and (ready is None or ready.get("status") == "True")


def inconsistent(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a new status differs in something that makes the operator write it."""
    return _compared(old) != _compared(new)


def _compared(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in {**ZERO_STATUS, **status}.items()
        if key not in _IGNORED and key not in ("stateTransitionTimes", "desiredWorkerReplicas")
    }
    kept["conditions"] = [
        {key: value for key, value in item.items() if key != "lastTransitionTime"}
        for item in mappings(kept.get("conditions"))
    ]
    return kept


def cluster_status(
    facts: ClusterFacts,
    version: OperatorVersion,
    now: datetime,
    failures: Sequence[Failure] = (),
    error: str | None = None,
) -> dict[str, Any]:
    """The status that a reconcile computes after its actions.

    Args:
        facts: The cluster and what exists after the actions.
        version: The operator's release.
        now: The time.
        failures: Actions that were refused.
        error: Why the reconcile counts as failed; a failed one never becomes ready.
    """
    cluster = facts.cluster
    status = copy.deepcopy(dict(mapping(cluster.get("status"))))
    status |= _numbers(facts)
    status = {key: value for key, value in status.items() if value != 0}
    status["endpoints"] = {**mapping(status.get("endpoints")), **_endpoints(facts.service)}
    status["head"] = _head(facts)
    conditions = mappings(status.get("conditions"))
    status["conditions"] = conditions_after(facts, conditions, version, now, failures)
    failed = error is not None or bool(failures)
    _set_state(status, facts, now, failed=failed)
    status["lastUpdateTime"] = timestamp(now)
    status["observedGeneration"] = at(cluster, "metadata", "generation") or 1
    return status


def _numbers(facts: ClusterFacts) -> dict[str, Any]:
    spec = mapping(facts.cluster.get("spec"))
    groups = mappings(spec.get("workerGroupSpecs"))
    pods = [(mapping(at(spec, "headGroupSpec", "template", "spec")), 1)]
    active = [group for group in groups if group.get("suspend") is not True]
    # replicas as they stand, not within minimum and maximum (run with 1.4.2)
    for group in active:
        asked = int(group.get("replicas") or 0) * int(group.get("numOfHosts") or 1)
        pods.append((mapping(at(group, "template", "spec")), asked))

    def total(field: str, absent: int) -> int:
        values = (int(absent if group.get(field) is None else group[field]) for group in active)
        hosts = (int(group.get("numOfHosts") or 1) for group in active)
        return min(sum(value * host for value, host in zip(values, hosts, strict=True)), _INT32_MAX)

    return {
        **desired_resources(pods),
        "desiredWorkerReplicas": sum(desired_pods(group) for group in groups),
        "minWorkerReplicas": total("minReplicas", 0),
        "maxWorkerReplicas": total("maxReplicas", _INT32_MAX),
        "availableWorkerReplicas": sum(at(pod, "status", "phase") == "Running" for pod in facts.workers),
        "readyWorkerReplicas": sum(pod_ready(pod) for pod in facts.workers),
    }


def _endpoints(service: Mapping[str, Any] | None) -> dict[str, str]:
    ports = mappings(at(service, "spec", "ports"))
    return {str(port["name"]): str(port.get("nodePort") or port.get("targetPort")) for port in ports}


def _head(facts: ClusterFacts) -> dict[str, Any]:
    head: dict[str, Any] = {"serviceName": head_service_name(facts.cluster)}
    if len(facts.heads) == 1:
        pod = facts.heads[0]
        head["podName"] = name_of(pod)
        if address := at(pod, "status", "podIP"):
            head |= {"podIP": address, "serviceIP": address}
    cluster_ip = at(facts.service, "spec", "clusterIP")
    if cluster_ip and cluster_ip != "None":
        head["serviceIP"] = cluster_ip
    return head


def _set_state(status: dict[str, Any], facts: ClusterFacts, now: datetime, *, failed: bool) -> None:
    old = status.get("state")
    desired = status.get("desiredWorkerReplicas", 0) + 1
    if at(facts.cluster, "spec", "suspend") is True and not facts.pods:
        status["state"] = "suspended"
    elif not failed and len(facts.pods) == desired and all(pod_ready(pod) for pod in facts.pods):
        status["state"] = "ready"
    if status.get("state") != old:
        times = mapping(status.get("stateTransitionTimes"))
        status["stateTransitionTimes"] = {**times, str(status["state"]): timestamp(now)}


def conditions_after(
    facts: ClusterFacts,
    old: Sequence[Mapping[str, Any]],
    version: OperatorVersion,
    now: datetime,
    failures: Sequence[Failure],
) -> list[dict[str, Any]]:
    """The conditions after a reconcile."""
    conditions = {str(item["type"]): dict(item) for item in old}

    def put(kind: str, status: bool, reason: str, message: str = "") -> None:
        text = "True" if status else "False"
        known = conditions.get(kind)
        since = known["lastTransitionTime"] if known and known["status"] == text else timestamp(now)
        fields = {"message": message, "reason": reason, "status": text, "type": kind}
        conditions[kind] = {"lastTransitionTime": since, **fields}

    _replica_failure(conditions, failures, now)
    put("HeadPodReady", *_head_ready(facts, version))
    if is_true(facts.cluster, "RayClusterSuspending"):
        if not facts.pods:
            put("RayClusterProvisioned", False, _PROVISIONING, "RayCluster has been suspended")
            put("RayClusterSuspending", False, "RayClusterSuspending")
            put("RayClusterSuspended", True, "RayClusterSuspended")
    elif is_true(facts.cluster, "RayClusterSuspended"):
        if at(facts.cluster, "spec", "suspend") is False:
            put("RayClusterSuspended", False, "RayClusterSuspended")
    else:
        if not is_true(facts.cluster, "RayClusterProvisioned"):
            put("RayClusterProvisioned", *_provisioned(facts))
        put("RayClusterSuspended", False, "RayClusterSuspended")
        put("RayClusterSuspending", at(facts.cluster, "spec", "suspend") is True, "RayClusterSuspending")
    return list(conditions.values())


def _replica_failure(conditions: dict[str, dict[str, Any]], failures: Sequence[Failure], now: datetime) -> None:
    told = [failure for failure in failures if failure.reason]
    if not told:
        conditions.pop("ReplicaFailure", None)
        return
    known = conditions.get("ReplicaFailure")
    conditions["ReplicaFailure"] = {
        "lastTransitionTime": known["lastTransitionTime"] if known else timestamp(now),
        "message": "\n".join(failure.message for failure in told),
        "reason": told[0].reason,
        "status": "True",
        "type": "ReplicaFailure",
    }


def _provisioned(facts: ClusterFacts) -> tuple[bool, str, str]:
    if facts.pods and all(pod_ready(pod) for pod in facts.pods):
        return True, "AllPodRunningAndReadyFirstTime", "All Ray Pods are ready for the first time"
    return False, _PROVISIONING, "RayCluster Pods are being provisioned for first time"


def _head_ready(facts: ClusterFacts, version: OperatorVersion) -> tuple[bool, str, str]:
    if not facts.heads:
        return False, "HeadPodNotFound", "Head Pod not found"
    pod = facts.heads[0]
    ready = condition(pod, "Ready")
    if ready is None:
        return False, "Unknown", ""
    up = ready.get("status") == "True"
    reason = str(ready.get("reason") or ("HeadPodRunningAndReady" if up else "Unknown"))
    message = str(ready.get("message") or "")
    if reason == "ContainersNotReady" and version.explains_containers:
        for container in mappings(at(pod, "status", "containerStatuses")):
            state = mapping(at(container, "state", "waiting") or at(container, "state", "terminated"))
            if not container.get("ready") and state:
                text = f"{container.get('name')}: {state.get('message') or ''}"
                return up, str(state.get("reason") or reason), f"{message}; {text}"
    return up, reason, message

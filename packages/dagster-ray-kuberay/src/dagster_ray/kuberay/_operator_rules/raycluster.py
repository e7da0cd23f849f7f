"""What the KubeRay operator refuses in the spec of a RayCluster, in its words and order. Pure.

The source is controllers/ray/utils/validation.go of releases 1.3 to 1.7. Rules that apply only when a feature gate of
1.7 is on that is off by default (network policy, TLS, history server, embedded GCS storage) stop at the gate.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.cluster_view import (
    AUTOSCALER_V2,
    ClusterView,
    Operator,
    containers_of,
    env_of,
    is_autoscaled,
    restarts,
    whole,
)
from dagster_ray.kuberay._operator_rules.gcs import fault_tolerance_checks
from dagster_ray.kuberay._operator_rules.names import label_value_faults, qualified_name_faults

_MAX_REPLICAS = 2147483647
_AUTOSCALER_COMMAND = "KUBERAY_GEN_AUTOSCALER_START_CMD"


def cluster_spec_fault(spec: Mapping[str, Any], annotations: Mapping[str, Any], operator: Operator) -> str | None:
    """The first thing that the operator finds wrong, without a prefix; None when it accepts the spec.

    Fields that are absent count as the CRD's defaults.
    """
    cluster = ClusterView(spec, annotations, operator)
    for check in _CHECKS:
        for text in check(cluster):
            return text
    return None


def version_fault(version: str) -> str | None:
    """Why a Ray version cannot be compared."""
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    if match is None:
        return f'could not parse "{version}" as version'
    return f'illegal version string "{version}"' if "." not in match[1] else None


def is_older(version: str, than: str) -> bool:
    """Whether a Ray version is before another one."""
    found = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in found[1].split(".")] if found else []
    for have, want in zip_longest(numbers, map(int, than.split(".")), fillvalue=0):
        if have != want:
            return have < want
    return False


def _head_checks(cluster: ClusterView) -> Iterator[str]:
    if not containers_of(cluster.head):
        yield "headGroupSpec should have at least one container"
    if cluster.operator.release >= (1, 5, 0):
        yield from _group_faults("Head", cluster.head)


def _worker_checks(cluster: ClusterView) -> Iterator[str]:
    for group in cluster.workers:
        name = str(group.get("groupName") or "")
        if not containers_of(group):
            yield "workerGroupSpec should have at least one container"
        if cluster.operator.release >= (1, 6, 0):
            yield from _replica_faults(name, group)
        if cluster.operator.release >= (1, 5, 0):
            yield from _group_faults(name, group)
        if cluster.operator.release >= (1, 6, 0):
            yield from _idle_faults(name, group, cluster)
        if cluster.operator.release >= (1, 7, 0):
            yield from _priority_faults(name, group, cluster)


def _replica_faults(name: str, group: Mapping[str, Any]) -> Iterator[str]:
    least, most = whole(group.get("minReplicas")), whole(group.get("maxReplicas"), _MAX_REPLICAS)
    if least < 0:
        yield f"worker group {name} has negative minReplicas {least}"
    if most < 0:
        yield f"worker group {name} has negative maxReplicas {most}"
    if least > most:
        yield f"worker group {name} has minReplicas {least} greater than maxReplicas {most}"


def _group_faults(name: str, group: Mapping[str, Any]) -> Iterator[str]:
    start: Mapping[str, Any] = mapping(group.get("rayStartParams"))
    if group.get("resources") and any(start.get(key) for key in ("num-cpus", "num-gpus", "memory", "resources")):
        yield (
            f"resource fields should not be set in both rayStartParams and Resources for {name} group; "
            "please use only one"
        )
    if "labels" in start:
        yield (
            f"rayStartParams['labels'] is not supported for {name} group; please use the top-level Labels field instead"
        )
    faults: list[str] = []
    labels: Mapping[str, Any] = mapping(group.get("labels"))
    for key, value in labels.items():
        faults += [f"invalid label key for {name} group: '{key}', error: {text}" for text in qualified_name_faults(key)]
        faults += [
            f"invalid label value for key '{key}' in {name} group: '{value}', error: {text}"
            for text in label_value_faults(str(value))
        ]
    if faults:
        yield "; ".join(faults)


def _idle_faults(name: str, group: Mapping[str, Any], cluster: ClusterView) -> Iterator[str]:
    if group.get("idleTimeoutSeconds") is None:
        return
    seconds = whole(group["idleTimeoutSeconds"])
    if seconds < 0:
        yield f"worker group {name}: idleTimeoutSeconds must be non-negative, got {seconds}"
    if not cluster.autoscaler_v2 and not cluster.autoscaler_v2_by_env:
        yield (
            f"worker group {name}: idleTimeoutSeconds is set, but autoscaler v2 is not enabled. Please set "
            f".spec.autoscalerOptions.version to 'v2' (or set {AUTOSCALER_V2} environment variable to 'true' in the "
            "head pod if using KubeRay < 1.4.0)"
        )


def _priority_faults(name: str, group: Mapping[str, Any], cluster: ClusterView) -> Iterator[str]:
    priority = whole(group.get("priority"))
    if priority == 0:
        return
    ray = str(cluster.spec.get("rayVersion") or "")
    start = f"worker group {name}: priority is set"
    if not ray:
        yield f"{start}, but RayVersion was not specified. Ray version 2.56.0 or later is required"
    if fault := version_fault(ray):
        yield f"{start}, but RayVersion format is invalid: {ray}, {fault}"
    if is_older(ray, "2.56.0"):
        yield f"{start}, but minimum Ray version is 2.56.0, got {ray}"
    if not cluster.autoscaler_v2 and not cluster.autoscaler_v2_by_env:
        yield (
            f"{start} to {priority}, but autoscaler v2 is not enabled. "
            "Priority is only supported with autoscaler v2 enabled"
        )


def _suspended_groups(cluster: ClusterView) -> list[str]:
    return [str(group.get("groupName") or "") for group in cluster.workers if group.get("suspend") is True]


def _suspend_checks(cluster: ClusterView) -> Iterator[str]:
    if not cluster.operator.on("RayJobDeletionPolicy"):
        for name in _suspended_groups(cluster):
            if cluster.operator.release < (1, 4, 0):
                yield (
                    "suspending worker groups is currently available when the RayJobDeletionPolicy feature gate is "
                    "enabled"
                )
            yield f"worker group {name} can be suspended only when the RayJobDeletionPolicy feature gate is enabled"


def _autoscaler_checks(cluster: ClusterView) -> Iterator[str]:
    old = cluster.operator.release
    if not is_autoscaled(cluster.spec):
        if old >= (1, 5, 0) and cluster.autoscaler_v2_by_env:
            yield (
                f"environment variable {AUTOSCALER_V2} cannot be set to '{cluster.head_env[AUTOSCALER_V2]}' when "
                "enableInTreeAutoscaling is false. Please set enableInTreeAutoscaling: true to use autoscaler v2"
            )
        return
    for name in _suspended_groups(cluster):
        if old < (1, 4, 0):
            yield "suspending worker groups is not currently supported with Autoscaler enabled"
        yield f"worker group {name} cannot be suspended with Autoscaler enabled"
    if old >= (1, 4, 0):
        yield from _autoscaler_version_faults(cluster)


def _autoscaler_version_faults(cluster: ClusterView) -> Iterator[str]:
    if cluster.autoscaler.get("version") is not None and AUTOSCALER_V2 in cluster.head_env:
        yield (
            f"both .spec.autoscalerOptions.version and head Pod env var {AUTOSCALER_V2} are set, "
            "please only use the former"
        )
    if cluster.autoscaler_v2:
        if restarts(cluster.head):
            yield "restartPolicy for head Pod should be Never or unset when using autoscaler V2"
        for group in cluster.workers:
            if restarts(group):
                name = group.get("groupName")
                yield f"restartPolicy for worker group {name} should be Never or unset when using autoscaler V2"


def _autoscaler_option_checks(cluster: ClusterView) -> Iterator[str]:
    if cluster.operator.release >= (1, 6, 0):
        seconds = whole(cluster.autoscaler.get("idleTimeoutSeconds"))
        if seconds < 0:
            yield f"autoscalerOptions.idleTimeoutSeconds must be non-negative, got {seconds}"
    if cluster.operator.release >= (1, 7, 0) and _AUTOSCALER_COMMAND in env_of(cluster.autoscaler):
        yield (
            f"autoscalerOptions.env must not contain {_AUTOSCALER_COMMAND}: it is managed by KubeRay and injected "
            "automatically into the autoscaler container"
        )


def _auth_checks(cluster: ClusterView) -> Iterator[str]:
    if cluster.operator.release < (1, 5, 1):
        return
    auth: Mapping[str, Any] = mapping(cluster.spec.get("authOptions"))
    by_kubernetes = auth.get("enableK8sTokenAuth") is True and cluster.operator.release >= (1, 6, 0)
    if auth.get("mode") != "token":
        if by_kubernetes:
            yield "authOptions.enableK8sTokenAuth is enabled but authOptions.mode not set to 'token'"
        return
    ray = str(cluster.spec.get("rayVersion") or "")
    start = "authOptions.mode is 'token' but"
    if not ray:
        yield f"{start} RayVersion was not specified. Ray version 2.52.0 or later is required"
    if fault := version_fault(ray):
        yield f"{start} RayVersion format is invalid: {ray}, {fault}"
    if is_older(ray, "2.52.0"):
        yield f"{start} minimum Ray version is 2.52.0, got {ray}"
    if by_kubernetes and is_older(ray, "2.55.0"):
        yield f"authOptions.enableK8sTokenAuth is enabled but minimum Ray version is 2.55.0, got {ray}"
    if by_kubernetes and auth.get("secretName") and cluster.operator.release >= (1, 7, 0):
        yield "authOptions.enableK8sTokenAuth is enabled and authOptions.secretName is also set"


def _history_gate(cluster: ClusterView) -> Iterator[str]:
    if cluster.spec.get("historyServerOptions") is not None and not cluster.operator.on("RayClusterHistoryServer"):
        yield "RayClusterHistoryServer feature gate is not enabled"


def _network_gates(cluster: ClusterView) -> Iterator[str]:
    for field, gate in (("networkPolicy", "RayClusterNetworkPolicy"), ("tlsOptions", "RayClusterMTLS")):
        if cluster.spec.get(field) is not None and not cluster.operator.on(gate):
            yield f"spec.{field} requires the {gate} feature gate to be enabled"


def _newest_only(check: Callable[[ClusterView], Iterator[str]]) -> Callable[[ClusterView], Iterator[str]]:
    """A check of fields that only 1.7 knows."""
    return lambda cluster: check(cluster) if cluster.operator.release >= (1, 7, 0) else iter(())


_CHECKS: tuple[Callable[[ClusterView], Iterator[str]], ...] = (
    _head_checks,
    _worker_checks,
    fault_tolerance_checks,
    _suspend_checks,
    _autoscaler_checks,
    _autoscaler_option_checks,
    _newest_only(_history_gate),
    _auth_checks,
    _newest_only(_network_gates),
)

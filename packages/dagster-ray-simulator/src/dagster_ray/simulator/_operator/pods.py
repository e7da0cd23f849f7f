"""The head and worker pods that the operator makes. Pure.

Facts: KubeRay controllers/ray/common/pod.go, as recorded with 1.4.2 and 1.7.0. The annotation
`ray.io/upgrade-strategy-recreate-hash` of 1.6 and later and what admission adds to pods are left out.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings, quantity
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.simulator._operator.names import (
    GROUP_LABEL,
    NODE_TYPE_LABEL,
    head_service_name,
    name_of,
    namespace_of,
    owner_reference,
    pod_prefix,
)
from dagster_ray.simulator._operator.objects import CREATED_BY, TOKEN_KEY, asks_kubernetes, auth_secret_name
from dagster_ray.simulator._operator.versions import OperatorVersion

HEAD_GROUP = "headgroup"
AGENT_PORT = 52365
_HTTP_PROBES_SINCE_RAY = (2, 53)
_WGET = (
    "wget --tries 1 -T 2 -q -O- http://localhost:52365/api/local_raylet_healthz | grep success"
    " && wget --tries 1 -T 10 -q -O- http://localhost:8265/api/gcs_healthz | grep success"
)


def uses_token(cluster: Mapping[str, Any], version: OperatorVersion) -> bool:
    """Whether the pods of the cluster get a token."""
    return version.has_token_auth and at(cluster, "spec", "authOptions", "mode") == "token"


def desired_pods(group: Mapping[str, Any]) -> int:
    """How many pods a worker group shall have: replicas within minimum and maximum, times hosts."""
    if group.get("suspend") is True:
        return 0
    least, most = int(group.get("minReplicas") or 0), group.get("maxReplicas")
    wanted = max(int(group.get("replicas") or 0), least)
    return min(wanted, wanted if most is None else int(most)) * int(group.get("numOfHosts") or 1)


def head_pod(cluster: Mapping[str, Any], suffix: str, version: OperatorVersion) -> dict[str, Any]:
    """The head pod of a RayCluster."""
    pod = _pod(cluster, mapping(at(cluster, "spec", "headGroupSpec")), None, suffix)
    annotations = pod["metadata"].setdefault("annotations", {})
    annotations["ray.io/ft-enabled"] = "true" if at(cluster, "spec", "gcsFaultToleranceOptions") else "false"
    if version.since(6):
        annotations["ray.io/kuberay-version"] = f"v{version.name}"
    _complete(pod, cluster, mapping(at(cluster, "spec", "headGroupSpec")), version, head=True)
    return pod


def worker_pod(
    cluster: Mapping[str, Any], group: Mapping[str, Any], index: int, suffix: str, version: OperatorVersion
) -> dict[str, Any]:
    """One pod of a worker group."""
    pod = _pod(cluster, group, str(group.get("groupName") or ""), suffix)
    if version.since(6):
        pod["metadata"]["labels"]["ray.io/worker-group-replica-index"] = str(index)
    _complete(pod, cluster, group, version, head=False)
    return pod


def _pod(cluster: Mapping[str, Any], group: Mapping[str, Any], group_name: str | None, suffix: str) -> dict[str, Any]:
    name = name_of(cluster)
    node_type = "head" if group_name is None else "worker"
    template = mapping(group.get("template"))
    labels = {
        "ray.io/is-ray-node": "yes",
        "ray.io/identifier": f"{name}-{node_type}",
        "app.kubernetes.io/name": "kuberay",
        **CREATED_BY,
        **mapping(at(template, "metadata", "labels")),
        CLUSTER_LABEL: name,
        NODE_TYPE_LABEL: node_type,
        GROUP_LABEL: HEAD_GROUP if group_name is None else group_name,
    }
    prefix = pod_prefix(name, group_name)
    metadata: dict[str, Any] = {
        "name": f"{prefix}{suffix}",
        "generateName": prefix,
        "namespace": namespace_of(cluster),
        "labels": labels,
        "ownerReferences": [owner_reference(cluster)],
    }
    if annotations := at(template, "metadata", "annotations"):
        metadata["annotations"] = dict(annotations)
    spec = copy.deepcopy(dict(mapping(template.get("spec"))))
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def _complete(
    pod: dict[str, Any],
    cluster: Mapping[str, Any],
    group: Mapping[str, Any],
    version: OperatorVersion,
    *,
    head: bool,
) -> None:
    spec = pod["spec"]
    container: dict[str, Any] = spec["containers"][0]
    host = f"{head_service_name(cluster)}.{namespace_of(cluster)}.svc.cluster.local"
    command = ray_start_command(cluster, group, host, head=head)
    limit = "${RAY_START_ULIMIT_OPEN_FILES:-65536}" if version.since(6) else "65536"
    container.setdefault("command", ["/bin/bash", "-c" if version.since(4) else "-lc", "--"])
    container.setdefault("args", [f"ulimit -n {limit}; {command}"])
    container["env"] = [*container.get("env", ()), *_missing(container, _env(cluster, host, command, version, head))]
    ports = mappings(container.get("ports"))
    if not any(port.get("name") == "metrics" for port in ports):
        ports.append({"name": "metrics", "containerPort": 8080, "protocol": "TCP"})
    container["ports"] = ports
    for name, delay, failures in (("livenessProbe", 30, 120), ("readinessProbe", 10, 10)):
        container.setdefault(name, _probe(cluster, version, delay, failures))
    container.setdefault("imagePullPolicy", "IfNotPresent")
    if not head:
        spec["initContainers"] = [*spec.get("initContainers", ()), _wait_for_gcs(container, host)]
    for field, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("serviceAccountName", "default"),
        ("schedulerName", "default-scheduler"),
    ):
        spec.setdefault(field, value)


def _wait_for_gcs(container: Mapping[str, Any], host: str) -> dict[str, Any]:
    small = {"cpu": "200m", "memory": "256Mi"}
    return {
        "name": "wait-gcs-ready",
        "image": container.get("image", ""),
        "command": ["/bin/bash", "-c", "--"],
        "args": [f"until ray health-check --address {host}:6379; do sleep 5; done"],
        "env": [{"name": "FQ_RAY_IP", "value": host}, {"name": "RAY_IP", "value": host.split(".", 1)[0]}],
        "resources": {"limits": small, "requests": small},
    }


def _missing(container: Mapping[str, Any], env: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = {mapping(item).get("name") for item in container.get("env") or ()}
    return [item for item in env if item["name"] not in known]


def _env(
    cluster: Mapping[str, Any], host: str, command: str, version: OperatorVersion, head: bool
) -> list[dict[str, Any]]:
    def label(key: str) -> dict[str, Any]:
        return {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{key}']"}}

    env: list[dict[str, Any]] = []
    if not head:
        env += [{"name": "FQ_RAY_IP", "value": host}, {"name": "RAY_IP", "value": host.split(".", 1)[0]}]
    env.append({"name": "RAY_CLUSTER_NAME", "valueFrom": label(CLUSTER_LABEL)})
    if version.since(5):
        place = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
        env.append({"name": "RAY_CLUSTER_NAMESPACE", "valueFrom": place})
    own_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    env += [
        {"name": "RAY_CLOUD_INSTANCE_ID", "valueFrom": own_name},
        {"name": "RAY_NODE_TYPE_NAME", "valueFrom": label(GROUP_LABEL)},
        {"name": "KUBERAY_GEN_RAY_START_CMD", "value": command},
        {"name": "RAY_PORT", "value": "6379"},
        {"name": "RAY_ADDRESS", "value": "127.0.0.1:6379" if head else f"{host}:6379"},
        {"name": "RAY_USAGE_STATS_KUBERAY_IN_USE", "value": "1"},
    ]
    if head:
        creator = at(cluster, "metadata", "labels", "ray.io/originated-from-crd") or "RayCluster"
        tags = f"kuberay_version=v{version.name};kuberay_crd={creator}"
        env.append({"name": "RAY_USAGE_STATS_EXTRA_TAGS", "value": tags})
    env.append({"name": "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "value": "1"})
    if uses_token(cluster, version):
        env.append({"name": "RAY_AUTH_MODE", "value": "token"})
        if asks_kubernetes(cluster):
            env.append({"name": "RAY_ENABLE_K8S_TOKEN_AUTH", "value": "true"})
        else:
            secret = {"secretKeyRef": {"name": auth_secret_name(cluster), "key": TOKEN_KEY}}
            env.append({"name": "RAY_AUTH_TOKEN", "valueFrom": secret})
    return env


def ray_start_command(cluster: Mapping[str, Any], group: Mapping[str, Any], host: str, *, head: bool) -> str:
    """The generated `ray start`, with the parameters that the operator adds."""
    added: dict[str, str] = {"block": "true", "dashboard-agent-listen-port": str(AGENT_PORT)}
    added["metrics-export-port"] = "8080"
    if head:
        added["dashboard-host"] = "0.0.0.0"  # noqa: S104 - text of a recorded command
        if at(cluster, "spec", "enableInTreeAutoscaling") is True:
            added["no-monitor"] = "true"
    else:
        added["address"] = f"{host}:6379"
    params = {**added, **_resource_params(group), **mapping(group.get("rayStartParams"))}
    shown = "".join(
        f" --{key} " if str(value) == "true" else f" --{key}={value} " for key, value in sorted(params.items())
    )
    return f"ray start --head {shown}" if head else f"ray start {shown}"


def _resource_params(group: Mapping[str, Any]) -> dict[str, str]:
    containers = mappings(at(group, "template", "spec", "containers"))
    resources = mapping(containers[0].get("resources") if containers else None)
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    params: dict[str, str] = {}
    cpu = limits.get("cpu", requests.get("cpu"))
    if cpu is not None:
        params["num-cpus"] = str(-(-int(quantity(cpu) * 1000) // 1000))
    if "memory" in limits:
        params["memory"] = str(int(quantity(limits["memory"])))
    gpus = sum(int(quantity(value)) for name, value in limits.items() if str(name).endswith("gpu"))
    if gpus:
        params["num-gpus"] = str(gpus)
    if own := mapping(group.get("resources")):
        params["resources"] = f"'{json.dumps(dict(own))}'"
    return params


def _probe(cluster: Mapping[str, Any], version: OperatorVersion, delay: int, failures: int) -> dict[str, Any]:
    numbers = str(at(cluster, "spec", "rayVersion") or "").split(".")[:2]
    ray = tuple(int(number) for number in numbers if number.isdigit())
    if version.since(6) and ray >= _HTTP_PROBES_SINCE_RAY:
        check: dict[str, Any] = {"httpGet": {"path": "/api/healthz", "port": AGENT_PORT, "scheme": "HTTP"}}
    else:
        check = {"exec": {"command": ["bash", "-c", _WGET]}}
    return {
        **check,
        "initialDelaySeconds": delay,
        "timeoutSeconds": 5,
        "periodSeconds": 5,
        "successThreshold": 1,
        "failureThreshold": failures,
    }

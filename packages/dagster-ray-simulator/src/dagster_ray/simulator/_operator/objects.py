"""The services, secrets, clusters and submitter jobs that the operator makes. Pure.

Facts: KubeRay controllers/ray/common/{service,job}.go, as recorded with 1.4.2 and 1.7.0.
"""

import base64
import copy
from collections.abc import Mapping
from typing import Any, cast

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.simulator._operator.names import (
    NODE_TYPE_LABEL,
    checked_name,
    head_service_name,
    name_of,
    namespace_of,
    owner_reference,
)
from dagster_ray.simulator._operator.versions import OperatorVersion

CREATED_BY = {"app.kubernetes.io/created-by": "kuberay-operator"}
_ORIGIN_NAME = "ray.io/originated-from-cr-name"
_ORIGIN_KIND = "ray.io/originated-from-crd"
_DEFAULT_PORTS = {"client": 10001, "gcs-server": 6379, "dashboard": 8265, "metrics": 8080, "serve": 8000}
_METRICS_PORT = 8080
TOKEN_KEY = "auth_token"  # noqa: S105 - the key in a Secret, not a secret


def head_labels(cluster_name: str) -> dict[str, str]:
    """Labels of a head service, and what it selects."""
    return {
        **CREATED_BY,
        "app.kubernetes.io/name": "kuberay",
        CLUSTER_LABEL: cluster_name,
        "ray.io/identifier": f"{cluster_name}-head",
        NODE_TYPE_LABEL: "head",
    }


def service_ports(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ports of the head service: those of the head's container, or Ray's when it declares none."""
    containers = mappings(at(cluster, "spec", "headGroupSpec", "template", "spec", "containers"))
    declared = mappings(containers[0].get("ports")) if containers else []
    ports = {str(port.get("name") or f"{port['containerPort']}-port"): port["containerPort"] for port in declared}
    ports = ports or dict(_DEFAULT_PORTS)
    ports.setdefault("metrics", _METRICS_PORT)
    return [
        {"name": name, "protocol": "TCP", "appProtocol": "tcp", "port": port, "targetPort": port}
        for name, port in sorted(ports.items())
    ]


def _service(name: str, owner: Mapping[str, Any], labels: dict[str, str], cluster: Mapping[str, Any]) -> dict[str, Any]:
    headless = (at(cluster, "spec", "headGroupSpec", "serviceType") or "ClusterIP") == "ClusterIP"
    spec: dict[str, Any] = {"ports": service_ports(cluster), "selector": head_labels(name_of(cluster))}
    if headless:
        spec |= {"clusterIP": "None", "clusterIPs": ["None"], "type": "ClusterIP"}
    else:
        spec |= {"type": at(cluster, "spec", "headGroupSpec", "serviceType")}
    spec["sessionAffinity"] = "None"
    if headless:
        spec["publishNotReadyAddresses"] = True
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace_of(cluster),
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            **spec,
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def head_service(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The head service of a RayCluster."""
    service = _service(head_service_name(cluster), cluster, head_labels(name_of(cluster)), cluster)
    annotations = at(cluster, "spec", "headServiceAnnotations")
    if annotations:
        service["metadata"]["annotations"] = dict(annotations)
    return service


def job_service_name(rayjob: Mapping[str, Any]) -> str:
    """The name of a RayJob's own head service (1.5 and later)."""
    return f"{name_of(rayjob)}-head-svc"


def job_service(rayjob: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The head service of a RayJob; it selects the head of the current cluster."""
    labels = {
        "ray.io/identifier": f"{name_of(rayjob)}-head",
        NODE_TYPE_LABEL: "head",
        _ORIGIN_NAME: name_of(rayjob),
        _ORIGIN_KIND: "RayJob",
    }
    return _service(job_service_name(rayjob), rayjob, labels, cluster)


def auth_secret_name(cluster: Mapping[str, Any]) -> str:
    """The Secret that holds the cluster's token: the user's, or one named like the cluster."""
    return str(at(cluster, "spec", "authOptions", "secretName") or checked_name(name_of(cluster)))


def asks_kubernetes(cluster: Mapping[str, Any]) -> bool:
    """Whether Ray lets Kubernetes judge the tokens of drivers, so that the operator makes none."""
    return at(cluster, "spec", "authOptions", "enableK8sTokenAuth") is True


def auth_secret(cluster: Mapping[str, Any], random_bytes: bytes) -> dict[str, Any]:
    """The Secret with a cluster's token: the base64 text of 32 random bytes."""
    token = base64.b64encode(random_bytes)
    return {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {
            "name": auth_secret_name(cluster),
            "namespace": namespace_of(cluster),
            "labels": {CLUSTER_LABEL: name_of(cluster)},
            "ownerReferences": [owner_reference(cluster)],
        },
        "data": {TOKEN_KEY: base64.b64encode(token).decode()},
        "type": "Opaque",
    }


def raycluster_of(rayjob: Mapping[str, Any], name: str, version: OperatorVersion) -> dict[str, Any]:
    """The RayCluster of a RayJob: its labels and annotations are copied."""
    metadata = rayjob["metadata"]
    labels = {**mapping(metadata.get("labels")), _ORIGIN_NAME: name_of(rayjob), _ORIGIN_KIND: "RayJob"}
    if version.since(6):
        labels["ray.io/job-submission-mode"] = str(at(rayjob, "spec", "submissionMode") or "")
    made: dict[str, Any] = {
        "name": name,
        "namespace": namespace_of(rayjob),
        "labels": labels,
        "ownerReferences": [owner_reference(rayjob)],
    }
    annotations = dict(mapping(metadata.get("annotations")))
    if version.since(6) and at(rayjob, "spec", "submissionMode") == "SidecarMode":
        annotations["ray.io/disable-provisioned-head-restart"] = "true"
    if annotations:
        made["annotations"] = annotations
    spec = copy.deepcopy(dict(mapping(at(rayjob, "spec", "rayClusterSpec"))))
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": made, "spec": spec}


def submitter_job(rayjob: Mapping[str, Any]) -> dict[str, Any]:
    """The batch Job that submits in K8sJobMode; its pods are not simulated."""
    labels = {**CREATED_BY, _ORIGIN_NAME: name_of(rayjob), _ORIGIN_KIND: "RayJob"}
    head = mappings(at(rayjob, "spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers"))
    container = {"name": "ray-job-submitter", "image": head[0].get("image", "") if head else ""}
    retries = at(rayjob, "spec", "submitterConfig", "backoffLimit")
    return {
        "kind": "Job",
        "apiVersion": "batch/v1",
        "metadata": {
            "name": name_of(rayjob),
            "namespace": namespace_of(rayjob),
            "labels": labels,
            "ownerReferences": [owner_reference(rayjob)],
        },
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 2 if retries is None else retries,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "restartPolicy": "Never"}},
        },
        "status": {},
    }


def typed_rayjob(rayjob: Mapping[str, Any]) -> dict[str, Any]:
    """The RayJob as the operator's Go types write it back: no empty strings, `{}` for structs without a pointer."""
    written = copy.deepcopy(dict(rayjob))
    spec = {name: value for name, value in mapping(written.get("spec")).items() if value != "" and value is not False}
    _fill_groups(mapping(spec.get("rayClusterSpec")))
    return {**written, "spec": spec}


def _fill_groups(cluster_spec: Mapping[str, Any]) -> None:
    workers = mappings(cluster_spec.get("workerGroupSpecs"))
    for group in workers:
        _fill(group, "scaleStrategy")
    for group in [mapping(cluster_spec.get("headGroupSpec")), *workers]:
        _fill(group.get("template"), "metadata")


def _fill(value: object, field: str) -> None:
    if isinstance(value, dict):
        cast("dict[str, Any]", value).setdefault(field, {})

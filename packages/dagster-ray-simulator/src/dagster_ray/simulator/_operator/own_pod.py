"""The pod of the operator itself, as the API shows it: clients look for it to see whether an operator runs. Pure."""

from datetime import datetime
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import time_text

OPERATOR_NAMESPACE = "kuberay-system"
OPERATOR_POD = "kuberay-operator"


def operator_pod(version: str, started: datetime) -> dict[str, Any]:
    """Return the ready pod of an operator of a release, labeled as the Helm chart `kuberay-operator` does."""
    since = time_text(started)
    image = f"quay.io/kuberay/operator:v{version}"
    container = {"name": "kuberay-operator", "image": image}
    state = {"name": "kuberay-operator", "image": image, "imageID": f"simulated/{image}", "ready": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": OPERATOR_POD,
            "namespace": OPERATOR_NAMESPACE,
            "uid": "00000000-0000-4000-8000-000000000000",
            "resourceVersion": "1",
            "creationTimestamp": since,
            "labels": {"app.kubernetes.io/name": "kuberay-operator"},
        },
        "spec": {"containers": [container]},
        "status": {
            "phase": "Running",
            "startTime": since,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
            "containerStatuses": [{**state, "restartCount": 0, "state": {"running": {"startedAt": since}}}],
        },
    }

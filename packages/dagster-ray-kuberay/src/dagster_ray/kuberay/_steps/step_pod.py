"""The pod that the step runs in, as owner of what the step makes."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.kinds import PODS

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def step_pod() -> tuple[str, str] | None:
    """Return namespace and name of the pod that this process runs in; None outside of Kubernetes."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ or not _NAMESPACE_FILE.exists():
        return None
    name = os.environ.get("POD_NAME") or os.environ.get("HOSTNAME")
    return (_NAMESPACE_FILE.read_text().strip(), name) if name else None


def owner_reference(
    api: "KubernetesApi", namespace: str, deadline: Deadline, log: logging.Logger
) -> dict[str, Any] | None:
    """Return an ownerReference to this step's pod, so that its end takes the cluster along; None if there is none.

    An owner must be in the same namespace. Reading the pod needs `get` on pods unless the environment has POD_UID;
    without either the cluster has no owner, and the operator and the lifecycle are what ends it.
    """
    pod = step_pod()
    if pod is None or not api.in_cluster or pod[0] != namespace:
        return None
    uid = os.environ.get("POD_UID")
    if not uid:
        try:
            uid = str(api.get(PODS, namespace, pod[1], deadline)["metadata"]["uid"])
        except DagsterRayError as error:
            log.warning("The cluster gets no ownerReference to the step's pod: %s", error)
            return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod[1], "uid": uid}

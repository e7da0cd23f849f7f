"""How the operator talks to the dashboard of a RayCluster."""

import base64
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.simulator._operator.facts import JobAnswer
from dagster_ray.simulator._operator.names import NODE_TYPE_LABEL, labels_of, name_of
from dagster_ray.simulator._operator.objects import TOKEN_KEY
from dagster_ray.simulator._operator.writes import ObjectStore

_TIMEOUT_SECONDS = 2.0
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DashboardCall:
    """One HTTP request to a dashboard.

    Attributes:
        namespace: The cluster's namespace.
        cluster: The RayCluster's name.
        port: The dashboard's port in the head pod.
        method: GET or POST.
        path: Such as "/api/jobs/01000000".
        body: JSON to send.
        token: The cluster's token; None without token authentication.
    """

    namespace: str
    cluster: str
    port: int
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    token: str | None = field(default=None, repr=False)


Dashboard: TypeAlias = Callable[[DashboardCall], tuple[int, str]]
"""Answers a call with HTTP status and text; raises OSError when there is no answer within 2 s."""


def answer_of(status: int, text: str) -> JobAnswer:
    """What an answer to GET /api/jobs/<id> means: 404 is absent, any other JSON object a job."""
    if status == http.client.NOT_FOUND:
        return JobAnswer("absent", {})
    try:
        details: object = json.loads(text)
    except ValueError:
        return JobAnswer("failed", {})
    return JobAnswer("job", cast("dict[str, Any]", details)) if isinstance(details, dict) else JobAnswer("failed", {})


def asked(dashboard: Dashboard, call: DashboardCall) -> JobAnswer:
    """Ask about a job."""
    try:
        return answer_of(*dashboard(call))
    except (OSError, http.client.HTTPException):
        return JobAnswer("failed", {})


def token_of(store: ObjectStore, cluster: Mapping[str, Any], secret_name: str) -> str | None:
    """The token in a cluster's Secret; None without one."""
    secret = store.get("secrets", str(at(cluster, "metadata", "namespace")), secret_name)
    encoded = mapping(mapping(secret).get("data")).get(TOKEN_KEY)
    return base64.b64decode(encoded).decode() if isinstance(encoded, str) else None


def http_dashboard(store: ObjectStore, address: Callable[[str, str, int], tuple[str, int] | None]) -> Dashboard:
    """Return calls over HTTP to the head pod that is there now.

    Args:
        store: Where head pods are found.
        address: Where a pod's port listens on this machine (`PodRuntime.address`).
    """

    def call(request: DashboardCall) -> tuple[int, str]:
        for pod in store.list("pods", request.namespace):
            labels = labels_of(pod)
            if labels.get(CLUSTER_LABEL) == request.cluster and labels.get(NODE_TYPE_LABEL) == "head":
                place = address(request.namespace, name_of(pod), request.port)
                if place is not None:
                    return _exchange(place, request)
        raise ConnectionRefusedError(f"no dashboard of {request.namespace}/{request.cluster} listens")

    return call


def _exchange(place: tuple[str, int], request: DashboardCall) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"}
    if request.token is not None:
        headers["x-ray-authorization"] = f"Bearer {request.token}"
    connection = http.client.HTTPConnection(*place, timeout=_TIMEOUT_SECONDS)
    try:
        body = None if request.body is None else json.dumps(dict(request.body))
        connection.request(request.method, request.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(_MOST_BYTES).decode(errors="replace")
    finally:
        connection.close()

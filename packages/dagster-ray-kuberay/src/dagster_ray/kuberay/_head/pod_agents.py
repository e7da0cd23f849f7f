"""Ways to the agents of a cluster's nodes, which serve the files of Ray's log folder.

An agent is no port of the head's Service (KubeRay controllers/ray/common/service.go), so it is reached at its pod's
address, or through the Kubernetes API.
"""

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dagster_ray.core import Deadline, safe_log
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import PODS

if TYPE_CHECKING:
    from dagster_ray.kuberay._head.port_forward import PortForward
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_log = safe_log(logging.getLogger("dagster_ray"))
_LIST_SECONDS = 10.0


class ForwardedAgents:
    """Port-forwards to the pods of one cluster, opened when somebody asks for an agent."""

    def __init__(self, api: "KubernetesApi", namespace: str, cluster: str) -> None:
        """Take the cluster; nothing is opened yet."""
        self._api, self._namespace, self._cluster = api, namespace, cluster
        self._open: dict[tuple[str, int], PortForward] = {}

    def route(self, url: str) -> str | None:
        """Return where this process reaches an agent; None if no pod has its address or pods may not be listed."""
        from dagster_ray.kuberay._head.port_forward import PortForward

        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            return None
        pod = self._pod_of(parts.hostname)
        if pod is None:
            return None
        forward = self._open.get((pod, parts.port))
        if forward is None:
            forward = PortForward(self._api, self._namespace, lambda: pod, (parts.port,))
            self._open[pod, parts.port] = forward
        return f"http://127.0.0.1:{forward.local_port(parts.port)}"

    def _pod_of(self, address: str) -> str | None:
        try:
            selector = f"ray.io/cluster={self._cluster}"
            pods = self._api.list(PODS, self._namespace, Deadline(_LIST_SECONDS), label_selector=selector).items
        except DagsterRayError as error:
            _log.debug("The pods of %s could not be listed: %s", self._cluster, error)
            return None
        names = [at(pod, "metadata", "name") for pod in pods if at(pod, "status", "podIP") == address]
        return str(names[0]) if names else None

    def close(self) -> None:
        """Close all ports."""
        for forward in self._open.values():
            forward.close()
        self._open.clear()

"""How this process reaches and dials a head, and the agents of its nodes: straight, or through the Kubernetes API."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from dagster_ray.core import Deadline, dial, safe_log
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.dashboard import Silent, ask
from dagster_ray.kuberay._head.http2 import FRAME_HEADER_BYTES, PREFACE, looks_like_http2
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import PODS, SERVICES
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.head_ports import CLIENT, DASHBOARD, ports_by_role
from dagster_ray.kuberay._status.cluster_state import Created, Head, ports_of_service, service_differs_from_pod

if TYPE_CHECKING:
    from dagster_ray.kuberay._head.port_forward import PortForward
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

Access: TypeAlias = Literal["auto", "direct", "port_forward"]
Goal: TypeAlias = Literal["drivers", "dashboard"]
"""What is to answer: the port of Ray Client, or the dashboard alone, to which jobs are submitted."""

CLIENT_PORT, DASHBOARD_PORT = CLIENT.name, DASHBOARD.name

_PROBE_SECONDS = 2.0
_LIST_SECONDS = 10.0
_log = safe_log(logging.getLogger("dagster_ray"))


def goes_direct(access: Access, *, in_cluster: bool, head_host: str | None) -> bool:
    """Return whether drivers dial the head itself.

    `auto` does so inside the cluster, and where somebody says by `head_host` how the head is called outside.
    """
    return access == "direct" or (access == "auto" and (in_cluster or head_host is not None))


def host_of(head: Head, namespace: str, template: str | None) -> str:
    """Return the host name of a head.

    Args:
        head: The head; its service is known.
        namespace: Its namespace.
        template: A format string with `{cluster}`, `{namespace}`, `{service}` and `{pod_ip}`; None for the Service's
            name inside the cluster, which the search domains of a pod complete.

    Returns:
        The name or address without a port; an IPv6 address has no brackets.
    """
    chosen = template or "{service}.{namespace}.svc"
    host = chosen.format(cluster=head.cluster, namespace=namespace, service=head.service, pod_ip=head.pod_ip)
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def in_url(host: str) -> str:
    """Return a host as it is written before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def checked_head_host(template: str) -> str:
    """Return the template if it can be filled in.

    Raises:
        InvalidSpecError: It names a place that does not exist.
    """
    try:
        template.format(cluster="c", namespace="n", service="s", pod_ip="i")
    except (KeyError, IndexError, ValueError) as error:
        reason = f"is {template!r}, which cannot be filled in ({type(error).__name__}: {error})"
        advice = "use only the places {cluster}, {namespace}, {service} and {pod_ip}"
        raise InvalidSpecError("head_host", reason, advice) from error
    return template


def uses_tls() -> bool:
    """Return whether Ray's own variable switches TLS on for Ray Client in this process."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}


@dataclass(frozen=True, slots=True)
class Ends:
    """What this process dials: a host, and the ports there.

    Attributes:
        host: Name or address without brackets.
        client: The port for drivers; None where only the dashboard is wanted.
        dashboard: The port of the dashboard; None if the head has none.
    """

    host: str
    client: int | None
    dashboard: int | None

    @property
    def address(self) -> str:
        """What `ray.init` takes; the dashboard's URL where only that is reached."""
        return f"ray://{in_url(self.host)}:{self.client}" if self.client is not None else self.dashboard_url or ""

    @property
    def dashboard_url(self) -> str | None:
        """Where the dashboard answers for this process; None if the head has no such port."""
        return None if self.dashboard is None else f"http://{in_url(self.host)}:{self.dashboard}"

    @property
    def place(self) -> str:
        """What is dialed, for people."""
        if self.client is None:
            return f"the dashboard at {in_url(self.host)}:{self.dashboard}"
        return f"{in_url(self.host)}:{self.client}"

    def accept(self, timeout_seconds: float) -> bool:
        """Return whether what is wanted answers now: the client port, or the dashboard, also by refusing who asks."""
        if self.client is None:
            return not isinstance(ask(self.address, None, timeout_seconds), Silent)
        if not uses_tls():
            return speaks_http2(self.host, self.client, timeout_seconds)
        try:  # a server with TLS does not answer before the handshake
            dial((self.host, self.client), timeout_seconds).close()
        except OSError:
            return False
        return True


class Route:
    """The way to the head of one RayJob or RayCluster, which may be replaced: opened once the head has an address.

    It is opened anew for each other head pod. Through a port-forward its ports are some of this machine, carried to
    the pod by the Kubernetes API.
    """

    def __init__(
        self,
        api: "KubernetesApi",
        awaited: Created,
        goal: Goal,
        head: Callable[[], Head | None],
        head_host: str | None,
        *,
        direct: bool,
    ) -> None:
        """Open nothing yet. `head` returns the head as it is known at any time, also after the wait."""
        self._api, self._awaited, self._goal, self._head = api, awaited, goal, head
        self._head_host, self._direct = head_host, direct
        self._service: tuple[str, Mapping[str, int], Mapping[str, int]] | None = None
        self._ends: Ends | None = None
        self._forward: PortForward | None = None
        self._pod_port = 0
        self._leads_to: tuple[str, str | None] | None = None
        self._tried_at: float | None = None

    @property
    def address(self) -> str:
        """What `ray.init` takes, or a job client where only the dashboard is reached; empty while it is not open."""
        return self._ends.address if self._ends is not None else ""

    @property
    def dashboard_url(self) -> str | None:
        """Where the dashboard answers for this process; None if the head has no such port, or is not known."""
        return self._ends.dashboard_url if self._ends is not None else None

    @property
    def place(self) -> str:
        """What is dialed, for people."""
        if self._ends is None:
            return f"the head's port `{DASHBOARD_PORT if self._goal == 'dashboard' else CLIENT_PORT}`"
        if self._forward is None:
            return self._ends.place
        what = "the dashboard at " if self._goal == "dashboard" else ""
        return f"{what}port {self._pod_port} of pod {self._pod_name()} (by port-forward)"

    @property
    def missing_pod(self) -> str | None:
        """The head pod that a connection has found gone, by what the API server said; None if it said so of none."""
        return self._forward.missing_pod if self._forward is not None else None

    def tried_seconds(self, deadline: Deadline) -> float:
        """Return for how long the head has been dialed."""
        return 0.0 if self._tried_at is None else deadline.spent_seconds() - self._tried_at

    def accepts(self, deadline: Deadline) -> bool:
        """Return whether what the route is for answers now."""
        head = self._head()
        if head is None or not head.is_placed:
            return False
        if self._ends is None or self._leads_to != (head.cluster, head.pod):
            self.close()
            self._open(head, deadline)
            self._leads_to, self._tried_at = (head.cluster, head.pod), deadline.spent_seconds()
        if self._ends is None:
            return False
        seconds = min(_PROBE_SECONDS, max(0.1, deadline.remaining_seconds()))
        # A local port accepts whatever the pod does, and a server with TLS does not answer before the handshake.
        if self._forward is not None and self._goal == "drivers" and not uses_tls():
            return self._forward.accepts(self._pod_port, seconds)
        return self._ends.accept(seconds)

    def close(self) -> None:
        """Close what this process holds."""
        forward, self._forward, self._ends = self._forward, None, None
        if forward is not None:
            forward.close()

    def _open(self, head: Head, deadline: Deadline) -> None:
        service_ports, pod_ports = self._ports(head, deadline)
        ports = service_ports if self._direct else pod_ports
        client, dashboard = ports.get(CLIENT_PORT), ports.get(DASHBOARD_PORT)
        if self._goal == "dashboard":
            client = None
        wanted = [port for port in (client, dashboard) if port is not None]
        if not wanted or (self._goal == "drivers" and client is None):
            return
        if self._direct:
            self._ends = Ends(host_of(head, self._awaited.namespace, self._head_host), client, dashboard)
            return
        from dagster_ray.kuberay._head.port_forward import PortForward

        forward = PortForward(self._api, self._awaited.namespace, self._pod_name, tuple(wanted))
        local = {port: forward.local_port(port) for port in wanted}
        self._forward, self._pod_port = forward, wanted[0]
        self._ends = Ends("127.0.0.1", local.get(client or 0), local.get(dashboard or 0))

    def _pod_name(self) -> str:
        head = self._head()
        return (head.pod if head is not None else None) or ""

    def _ports(self, head: Head, deadline: Deadline) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return the ports for drivers and of the dashboard, those of the head's Service and those of its pod."""
        spec = self._awaited.cluster_spec
        if head.service is None or not service_differs_from_pod(spec):
            ports = ports_by_role(spec, head.ports, head.ports, undeclared=True)
            return ports, ports
        if self._service is None or self._service[0] != head.service:
            service = self._api.get(SERVICES, self._awaited.namespace, head.service, deadline)
            own, behind = ports_of_service(service, of_pod=False), ports_of_service(service, of_pod=True)
            of_service = ports_by_role(spec, own, behind, undeclared=False)
            self._service = head.service, of_service, ports_by_role(spec, behind, behind, undeclared=True)
        return self._service[1:]


class ForwardedAgents:
    """Port-forwards to the pods of one cluster, opened when somebody asks for an agent of a node.

    Agents serve the files of Ray's log folder. They are no port of the head's Service (KubeRay
    controllers/ray/common/service.go), so each is reached at its pod's address, or through the Kubernetes API.
    """

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


def speaks_http2(host: str, port: int, timeout_seconds: float) -> bool:
    """Return whether a server at `host:port` speaks HTTP/2 without TLS, as gRPC does.

    Asked before `ray.init` is called. An open port is not enough behind a port-forward, which accepts whatever the pod
    does; and an early `ray.init` backs off inside gRPC and comes back seconds after the server is there.

    Args:
        host: Host name or address.
        port: Port number.
        timeout_seconds: Longest wait for the connection and the answer together.
    """
    deadline = Deadline(timeout_seconds)
    try:
        with dial((host, port), timeout_seconds) as connection:
            connection.sendall(PREFACE)
            data = b""
            while len(data) < FRAME_HEADER_BYTES:
                connection.settimeout(max(0.01, deadline.remaining_seconds()))
                more = connection.recv(FRAME_HEADER_BYTES - len(data))
                if not more or deadline.is_over():
                    return False
                data += more
            return looks_like_http2(data)
    except OSError:
        return False

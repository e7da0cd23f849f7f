"""How this process reaches a head: straight, or through the Kubernetes API."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from typing_extensions import Protocol

from dagster_ray.kuberay._head.dial import speaks_http2
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.head_ports import CLIENT, DASHBOARD
from dagster_ray.kuberay._status.cluster_state import Head

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

Access: TypeAlias = Literal["auto", "direct", "port_forward"]

CLIENT_PORT, DASHBOARD_PORT = CLIENT.name, DASHBOARD.name


class Route(Protocol):
    """A way to the head's client port and dashboard."""

    @property
    def address(self) -> str:
        """What `ray.init` takes; the dashboard's URL where only that is reached."""
        ...

    @property
    def dashboard_url(self) -> str | None:
        """Where the dashboard answers for this process; None if the head has no such port."""
        ...

    @property
    def place(self) -> str:
        """What is dialled, for people."""
        ...

    @property
    def missing_pod(self) -> str | None:
        """The head pod that a connection has found gone; None if there is none, or nobody can tell."""
        ...

    def accepts(self, timeout_seconds: float) -> bool:
        """Return whether what the route is for answers now: the client port, or the dashboard."""
        ...

    def close(self) -> None:
        """Close what this process holds."""
        ...


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


@dataclass(slots=True)
class DirectRoute:
    """The head's Service or pod, dialled from this process."""

    host: str
    client_port: int
    dashboard_port: int | None

    @property
    def address(self) -> str:
        """What `ray.init` takes."""
        return f"ray://{in_url(self.host)}:{self.client_port}"

    @property
    def dashboard_url(self) -> str | None:
        """Where the dashboard answers."""
        return None if self.dashboard_port is None else f"http://{in_url(self.host)}:{self.dashboard_port}"

    @property
    def place(self) -> str:
        """What is dialled."""
        return f"{in_url(self.host)}:{self.client_port}"

    @property
    def missing_pod(self) -> str | None:
        """The head pod that a connection has found gone; None if there is none, or nobody can tell."""
        return None

    def accepts(self, timeout_seconds: float) -> bool:
        """Return whether the client port accepts drivers now."""
        if not uses_tls():
            return speaks_http2(self.host, self.client_port, timeout_seconds)
        try:  # a server with TLS does not answer before the handshake
            socket.create_connection((self.host, self.client_port), timeout=timeout_seconds).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Hold nothing."""


class ForwardRoute:
    """Ports of this machine, carried to the head pod by the Kubernetes API."""

    def __init__(
        self, api: "KubernetesApi", namespace: str, find_pod: Callable[[], str], ports: tuple[int, ...]
    ) -> None:
        """Open the local ports.

        Args:
            api: What carries the streams.
            namespace: The pod's namespace.
            find_pod: Returns the head pod's name; asked for each connection, so that a new head is found.
            ports: The pod's client port, and its dashboard's port if it has one.
        """
        from dagster_ray.kuberay._head.port_forward import PortForward

        self._ports = ports
        self._pod = find_pod
        self._forward = PortForward(api, namespace, find_pod, ports)

    @property
    def address(self) -> str:
        """What `ray.init` takes."""
        return f"ray://127.0.0.1:{self._forward.local_port(self._ports[0])}"

    @property
    def dashboard_url(self) -> str | None:
        """Where the dashboard answers."""
        return f"http://127.0.0.1:{self._forward.local_port(self._ports[1])}" if len(self._ports) > 1 else None

    @property
    def place(self) -> str:
        """What is dialled."""
        return f"port {self._ports[0]} of pod {self._pod()} (by port-forward)"

    @property
    def missing_pod(self) -> str | None:
        """The head pod that a connection has found gone; None if there is none, or nobody can tell."""
        return self._forward.missing_pod

    def accepts(self, timeout_seconds: float) -> bool:
        """Return whether the client port accepts drivers now."""
        return self._forward.accepts(self._ports[0], timeout_seconds)

    def close(self) -> None:
        """Close the local ports and what goes through them."""
        self._forward.close()

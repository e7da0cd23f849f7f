"""How this process reaches a head's dashboard alone, for jobs that are submitted: straight, or by a port-forward."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster_ray.kuberay._head.dashboard import Silent, ask
from dagster_ray.kuberay._head.route import in_url

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi


@dataclass(slots=True)
class DirectDashboard:
    """The dashboard, dialled from this process."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """What a job client takes."""
        return f"http://{in_url(self.host)}:{self.port}"

    @property
    def dashboard_url(self) -> str:
        """The same."""
        return self.address

    @property
    def place(self) -> str:
        """What is dialled."""
        return f"the dashboard at {in_url(self.host)}:{self.port}"

    @property
    def missing_pod(self) -> str | None:
        """The head pod that a connection has found gone; None if there is none, or nobody can tell."""
        return None

    def accepts(self, timeout_seconds: float) -> bool:
        """Return whether the dashboard answers now, also by refusing who asks."""
        return not isinstance(ask(self.address, None, timeout_seconds), Silent)

    def close(self) -> None:
        """Hold nothing."""


class ForwardedDashboard:
    """A port of this machine, carried to the dashboard by the Kubernetes API."""

    def __init__(self, api: "KubernetesApi", namespace: str, find_pod: Callable[[], str], port: int) -> None:
        """Open the local port.

        Args:
            api: What carries the streams.
            namespace: The pod's namespace.
            find_pod: Returns the head pod's name; asked for each connection, so that a new head is found.
            port: The pod's dashboard port.
        """
        from dagster_ray.kuberay._head.port_forward import PortForward

        self._port, self._pod = port, find_pod
        self._forward = PortForward(api, namespace, find_pod, (port,))

    @property
    def address(self) -> str:
        """What a job client takes."""
        return f"http://127.0.0.1:{self._forward.local_port(self._port)}"

    @property
    def dashboard_url(self) -> str:
        """The same."""
        return self.address

    @property
    def place(self) -> str:
        """What is dialled."""
        return f"the dashboard at port {self._port} of pod {self._pod()} (by port-forward)"

    @property
    def missing_pod(self) -> str | None:
        """The head pod that a connection has found gone; None if there is none, or nobody can tell."""
        return self._forward.missing_pod

    def accepts(self, timeout_seconds: float) -> bool:
        """Return whether the dashboard answers now, also by refusing who asks."""
        return not isinstance(ask(self.address, None, timeout_seconds), Silent)

    def close(self) -> None:
        """Close the local port and what goes through it."""
        self._forward.close()

"""The way to a head that may be replaced: opened once the head has an address, and anew for each other head pod."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from dagster_ray.core import Deadline
from dagster_ray.kuberay._head.dashboard_route import DirectDashboard, ForwardedDashboard
from dagster_ray.kuberay._head.route import (
    CLIENT_PORT,
    DASHBOARD_PORT,
    DirectRoute,
    ForwardRoute,
    Route,
    host_of,
)
from dagster_ray.kuberay._kubernetes.kinds import SERVICES
from dagster_ray.kuberay._spec.head_ports import ports_by_role
from dagster_ray.kuberay._status.cluster_state import Head, ports_of_service, service_differs_from_pod
from dagster_ray.kuberay._status.created import Created

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_PROBE_SECONDS = 2.0


class HeadRoutes:
    """The route to the head of one RayJob or RayCluster."""

    def __init__(
        self,
        api: "KubernetesApi",
        awaited: Created,
        goal: Literal["drivers", "dashboard"],
        head: Callable[[], Head | None],
        head_host: str | None,
        *,
        direct: bool,
    ) -> None:
        """Open nothing yet. `head` returns the head as it is known at any time, also after the wait."""
        self._api, self._awaited, self._goal, self._head = api, awaited, goal, head
        self._head_host, self._direct = head_host, direct
        self._service: tuple[str, Mapping[str, int], Mapping[str, int]] | None = None
        self._route: Route | None = None
        self._leads_to: tuple[str, str | None] | None = None
        self._tried_at: float | None = None

    @property
    def place(self) -> str:
        """What is dialed, for people."""
        if self._route is not None:
            return self._route.place
        return f"the head's port `{DASHBOARD_PORT if self._goal == 'dashboard' else CLIENT_PORT}`"

    @property
    def missing_pod(self) -> str | None:
        """The pod that does not exist any more, by what the API server said; None if it said so of none."""
        return self._route.missing_pod if self._route is not None else None

    def tried_seconds(self, deadline: Deadline) -> float:
        """Return for how long the head has been dialed."""
        return 0.0 if self._tried_at is None else deadline.spent_seconds() - self._tried_at

    def accepting(self, deadline: Deadline) -> Route | None:
        """Return the route if what it is for answers now."""
        head = self._head()
        if head is None or not head.is_placed:
            return None
        if self._route is None or self._leads_to != (head.cluster, head.pod):
            self.close()
            self._route, self._leads_to = self._opened(head, deadline), (head.cluster, head.pod)
            self._tried_at = deadline.spent_seconds()
        if self._route is None:
            return None
        seconds = min(_PROBE_SECONDS, max(0.1, deadline.remaining_seconds()))
        return self._route if self._route.accepts(seconds) else None

    def close(self) -> None:
        """Close what this process holds."""
        if self._route is not None:
            self._route.close()
            self._route = None

    def _opened(self, head: Head, deadline: Deadline) -> Route | None:
        service_ports, pod_ports = self._ports(head, deadline)
        ports = service_ports if self._direct else pod_ports
        client, dashboard = ports.get(CLIENT_PORT), ports.get(DASHBOARD_PORT)
        if self._goal == "dashboard":
            return None if dashboard is None else self._dashboard_route(head, dashboard)
        if client is None:
            return None
        if self._direct:
            return DirectRoute(host_of(head, self._awaited.namespace, self._head_host), client, dashboard)
        wanted = (client,) if dashboard is None else (client, dashboard)
        return ForwardRoute(self._api, self._awaited.namespace, self._pod_name, wanted)

    def _dashboard_route(self, head: Head, port: int) -> Route:
        if self._direct:
            return DirectDashboard(host_of(head, self._awaited.namespace, self._head_host), port)
        return ForwardedDashboard(self._api, self._awaited.namespace, self._pod_name, port)

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

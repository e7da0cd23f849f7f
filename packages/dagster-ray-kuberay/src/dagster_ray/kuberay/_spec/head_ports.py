"""The ports of a head that drivers and the operator need: which numbers they have, and what they are called. Pure.

A port is recognized by its number. Its name is the user's: KubeRay's own samples call 6379 `gcs-server`, `gcs` and
`redis`, and a port without a name is a valid one too.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, port_number
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.plain_json import Json


class HeadPort(NamedTuple):
    """A port that Ray opens on the head.

    Attributes:
        name: What KubeRay calls it, and what the operator and drivers look for.
        parameter: The parameter of `ray start` that moves it.
        default: Its number otherwise.
    """

    name: str
    parameter: str
    default: int

    def number(self, start_params: Manifest) -> int | None:
        """Return the port's number under these parameters; None if the parameter is not a number."""
        return port_number(start_params.get(self.parameter, self.default))


CLIENT = HeadPort("client", "ray-client-server-port", 10001)
DASHBOARD = HeadPort("dashboard", "dashboard-port", 8265)
GCS = HeadPort("gcs-server", "port", 6379)


def completed_ports(declared: Iterable[Manifest], start_params: Manifest, wanted: Iterable[HeadPort]) -> list[Json]:
    """Return a head container's ports with those that are wanted.

    The operator's Service has the declared ports only, or all of Ray's if none is declared (KubeRay
    controllers/ray/common/service.go), so an empty list stays empty. A port that has the number stays as it is, but
    for a missing name: KubeRay would call it `10001-port`. Where no port has the number, one that has the name counts:
    a command of the user's own may have moved it.

    Args:
        declared: The ports of the container.
        start_params: The head's `rayStartParams`.
        wanted: The ports to look for.
    """
    ports = [dict(port) for port in declared]
    if not ports:
        return ports
    for port in wanted:
        number = port.number(start_params)
        if number is None or port.name in [given.get("name") for given in ports]:
            continue
        same = [given for given in ports if _is_at(given, number)]
        if not same:
            ports.append({"name": port.name, "containerPort": number})
        elif not same[0].get("name"):
            same[0]["name"] = port.name
    return ports


def _is_at(port: Manifest, number: int) -> bool:
    """Return whether a declared port has this number, of TCP, which is the default."""
    return port.get("protocol") in (None, "", "TCP") and port_number(port.get("containerPort")) == number


def check_dashboard_name(cluster: Manifest, path: str) -> None:
    """Raise if the operator cannot find the dashboard of a RayJob's cluster, which it knows by its name alone.

    It looks for a port `dashboard` of the head's Service before it takes a driver (KubeRay utils.FetchHeadServiceURL),
    and would try for ever.

    Args:
        cluster: The spec of the cluster.
        path: Where it stands.

    Raises:
        InvalidSpecError: The dashboard's port has another name.
    """
    ports = mappings(at(_ray_container(cluster), "ports"))
    if any(port.get("name") == DASHBOARD.name for port in ports):
        return
    number = DASHBOARD.number(start_params_of(cluster))
    for n, port in enumerate(ports):
        if number is not None and _is_at(port, number) and port.get("name"):
            reason = f"is {port['name']!r}, and the operator finds the dashboard of a RayJob only as `{DASHBOARD.name}`"
            field = f"{path}.headGroupSpec.template.spec.containers[0].ports[{n}].name"
            raise InvalidSpecError(field, reason, f"call the port `{DASHBOARD.name}`")


def _ray_container(cluster: Manifest) -> Manifest:
    containers = mappings(at(cluster, "headGroupSpec", "template", "spec", "containers"))
    return containers[0] if containers else {}


def start_params_of(cluster: Manifest) -> Mapping[str, Any]:
    """Return the `rayStartParams` of a cluster's head."""
    return mapping(at(cluster, "headGroupSpec", "rayStartParams"))


def ports_by_role(
    cluster: Manifest, ports: Mapping[str, int], pod_ports: Mapping[str, int], *, undeclared: bool
) -> dict[str, int]:
    """Return where drivers and the dashboard are reached, as `client` and `dashboard`, whatever the ports' names are.

    Args:
        cluster: The spec of the cluster.
        ports: The ports to choose from, by their names: those of the head's Service, or of its pod.
        pod_ports: The numbers that the pod has under the same names.
        undeclared: Whether a port that is not declared is reached all the same, as in a pod or by a headless Service.
    """
    found: dict[str, int] = {}
    for port in (CLIENT, DASHBOARD):
        number = port.number(start_params_of(cluster))
        name = next((name for name, behind in pod_ports.items() if behind == number), port.name)
        if name in ports:
            found[port.name] = ports[name]
        elif port is CLIENT and undeclared and number is not None:
            found[port.name] = number
    return found

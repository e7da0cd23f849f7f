"""Why a head that runs takes no driver. Pure."""

from collections.abc import Iterator

from dagster_ray.kuberay._diagnosis.cluster_facts import Facts, is_head, is_true
from dagster_ray.kuberay._diagnosis.situations import Finding, finding
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, name_of, port_number, text
from dagster_ray.kuberay._spec.head_ports import CLIENT, DASHBOARD, start_params_of


def reach_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what stands between a driver and the head."""
    yield from _services(facts)
    if facts.closed_port is not None and _head_is_ready(facts):
        sentence = f"the head is ready, but nothing accepts drivers at {facts.closed_port}"
        yield finding("client-port-closed", "Refused", sentence)


def _head_is_ready(facts: Facts) -> bool:
    return is_true(facts.raycluster or {}, "HeadPodReady") or any(
        is_head(pod) and is_true(pod, "Ready") for pod in facts.pods
    )


def _services(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the head's Service (KubeRay: controllers/ray/common/service.go)."""
    head = next((service for service in facts.services or () if _is_heads(service, facts)), None)
    if head is None:
        yield from _ports(mapping(at(facts.raycluster, "status", "endpoints")), facts, "the cluster")
        return
    behind = {
        text(port, "name"): port.get("targetPort") or port.get("port") for port in mappings(at(head, "spec", "ports"))
    }
    yield from _ports(behind, facts, f"Service {name_of(head)}")
    if facts.endpoint_slices is not None and any(is_head(pod) and at(pod, "status", "podIP") for pod in facts.pods):
        slices = [s for s in facts.endpoint_slices if _slice_service(s) == name_of(head)]
        if not any(at(endpoint, "addresses") for s in slices for endpoint in mappings(s.get("endpoints"))):
            selector = ", ".join(f"{key}={value}" for key, value in mapping(at(head, "spec", "selector")).items())
            sentence = f"Service {name_of(head)} has no endpoints: no pod has the labels {selector or '(none)'}"
            yield finding("no-endpoints", "NoEndpoints", sentence)


def _is_heads(service: Manifest, facts: Facts) -> bool:
    known = text(facts.raycluster, "status", "head", "serviceName")
    if known:
        return name_of(service) == known
    return text(service, "metadata", "labels", "ray.io/node-type") == "head"


def _slice_service(endpoint_slice: Manifest) -> str:
    return text(endpoint_slice, "metadata", "labels", "kubernetes.io/service-name")


def _ports(ports: Manifest, facts: Facts, whose: str) -> Iterator[Finding]:
    """Yield the ports that are there neither by their number nor by their name."""
    params = start_params_of(mapping(at(facts.raycluster, "spec")))
    numbers = {port_number(number) for number in ports.values()}
    missing = [port for port in (CLIENT, DASHBOARD) if port.name not in ports and port.number(params) not in numbers]
    if ports and missing:
        lacks = " and ".join(f"no port {port.number(params) or port.default} ({port.name})" for port in missing)
        yield finding("port-not-named", "NoPort", f"{whose} has {lacks}; there are {', '.join(sorted(ports))}")

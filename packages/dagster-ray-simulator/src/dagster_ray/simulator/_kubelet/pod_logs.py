"""Which log a request means, and how much of it is shown (kubernetes 1.36, pkg/kubelet and registry/core/pod). Pure."""

from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at, mapping, mappings
from dagster_ray.simulator._api.bodies import sent_number
from dagster_ray.simulator._api.statuses import bad_request

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff"}


def chosen_container(pod: Mapping[str, Any], query: Mapping[str, str]) -> str:
    """Return the container whose log is asked for.

    Raises:
        Refused: 400, there is none, there are several, or it has not run yet.
    """
    name = str(at(pod, "metadata", "name"))
    containers = [str(part.get("name")) for part in mappings(at(pod, "spec", "containers"))]
    first = [str(part.get("name")) for part in mappings(at(pod, "spec", "initContainers"))]
    asked = query.get("container") or (containers[0] if len(containers) == 1 else "")
    if not asked:
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]")
    if asked not in [*containers, *first]:
        raise bad_request(f"container {asked} is not valid for pod {name}")
    if not at(pod, "spec", "nodeName"):
        raise bad_request(f"pod {name} does not have a host assigned")
    _check_state(pod, name, asked, previous=query.get("previous") == "true")
    return asked


def _check_state(pod: Mapping[str, Any], name: str, container: str, *, previous: bool) -> None:
    status = mapping(pod.get("status"))
    states = [*mappings(status.get("containerStatuses")), *mappings(status.get("initContainerStatuses"))]
    state = next((item for item in states if item.get("name") == container), None)
    ended_before = at(state, "lastState", "terminated") is not None
    if previous and not ended_before:
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    runs = any(at(state, "state", kind) is not None for kind in ("running", "terminated"))
    if runs or ended_before:
        return
    reason = str(at(state, "state", "waiting", "reason") or "ContainerCreating")
    reason = "trying and failing to pull image" if reason in _IMAGE_REASONS else reason
    raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')


def shown(text: str, query: Mapping[str, str]) -> str:
    """Return the part of a log that a request asks for.

    Raises:
        Refused: 400, a number is none.
    """
    tail, limit = sent_number(query, "tailLines"), sent_number(query, "limitBytes")
    if tail is not None:
        lines = text.splitlines(keepends=True)
        text = "".join(lines[len(lines) - min(tail, len(lines)) :])
    return text if limit is None else text.encode()[:limit].decode(errors="ignore")

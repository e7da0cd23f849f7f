"""`dagster-ray logs` and `dagster-ray dashboard`: at the head of a RayJob or RayCluster that a person names."""

import json
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dagster_ray.core import Deadline
from dagster_ray.kuberay._head.dashboard import is_judged_by_kubernetes, secret_name
from dagster_ray.kuberay._head.port_forward import PortForward
from dagster_ray.kuberay._head.route import DASHBOARD_PORT
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at, mappings
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, SERVICES
from dagster_ray.kuberay._status.cluster_state import Created, Head, created, ports_of_service, service_differs_from_pod
from dagster_ray.kuberay.command._checks import Refusal
from dagster_ray.kuberay.command._terminal import (
    CALL_SECONDS,
    FINDING,
    FINE,
    Place,
    cluster_options,
    note,
    say,
    tell_error,
)

if TYPE_CHECKING:
    from types import FrameType

    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_HEAD_CONTAINER = "ray-head"
_DASHBOARD = 8265
"""Ray's own, for clusters whose status names no port."""
_LIMIT_BYTES = 10_000_000
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class FoundHead:
    """A cluster and its head, as far as they are.

    Attributes:
        named: The RayJob or RayCluster that was named.
        cluster: Its RayCluster; the same for a RayCluster, None while a RayJob has none.
        head: Its head; None while there is none.
    """

    named: Created
    cluster: Created | None
    head: Head | None

    @property
    def pod(self) -> str | None:
        """The head pod's name; None while there is none."""
        return None if self.head is None else self.head.pod

    @property
    def container(self) -> str:
        """The head pod's Ray container: its first (KubeRay ray-operator/controllers/ray/utils/constant.go)."""
        if self.cluster is None:
            return _HEAD_CONTAINER
        containers = mappings(at(self.cluster.cluster_spec, "headGroupSpec", "template", "spec", "containers"))
        return str(containers[0].get("name") or _HEAD_CONTAINER) if containers else _HEAD_CONTAINER

    def dashboard_port(self, api: "KubernetesApi") -> int:
        """Return the pod's dashboard port."""
        if self.cluster is None or self.head is None:
            return _DASHBOARD
        ports: Mapping[str, int] = self.head.ports
        if self.head.service is not None and service_differs_from_pod(self.cluster.cluster_spec):
            service = api.get(SERVICES, self.cluster.namespace, self.head.service, Deadline(CALL_SECONDS))
            ports = ports_of_service(service, of_pod=True)
        return ports.get(DASHBOARD_PORT, _DASHBOARD)

    @property
    def sentence(self) -> str:
        """Why there is no head pod yet."""
        state = self.named.state_of(self.named.manifest)
        return (
            f"{self.named.target} has no head pod: {getattr(state, 'sentence', None) or getattr(state, 'message', '')}"
        )


def find_head(api: "KubernetesApi", namespace: str, name: str) -> FoundHead:
    """Return the head of the RayJob, else of the RayCluster of a name.

    Raises:
        NotFoundError: There is neither.
    """
    try:
        job = created(RAYJOBS, namespace, api.get(RAYJOBS, namespace, name, Deadline(CALL_SECONDS)))
    except NotFoundError:
        own = _cluster(api, namespace, name)
        return FoundHead(own, own, own.head_of(own.manifest))
    mirrored = job.head_of(job.manifest)
    if mirrored is None:
        return FoundHead(job, None, None)
    try:  # the RayJob's copy of the status is old, or lacks all, in some versions of KubeRay
        own = _cluster(api, namespace, mirrored.cluster)
    except NotFoundError:
        return FoundHead(job, None, None)
    return FoundHead(job, own, own.head_of(own.manifest))


def named_head(api: "KubernetesApi", namespace: str, name: str) -> FoundHead | Refusal:
    """Return the head of the RayJob or RayCluster that a person names; a refusal if there is neither."""
    try:
        return find_head(api, namespace, name)
    except NotFoundError as error:
        return Refusal(
            error.code,
            f"There is no RayJob or RayCluster named {name} in namespace {namespace}.",
            f"check the name and the namespace; `dagster-ray clusters --namespace {namespace}` lists what exists.",
        )


def _cluster(api: "KubernetesApi", namespace: str, name: str) -> Created:
    found = api.get(RAYCLUSTERS, namespace, name, Deadline(CALL_SECONDS))
    return created(RAYCLUSTERS, namespace, found)


def _pod_of(place: Place, api: "KubernetesApi", name: str, without: Mapping[str, Any]) -> tuple[FoundHead, str] | None:
    """Return the head that a person names, and its pod; None, after saying why, if there is none.

    Args:
        place: Where to look, and how to answer.
        api: The Kubernetes API.
        name: The RayJob or RayCluster.
        without: The fields of the JSON answer where there is no pod; `reason` is filled in.
    """
    found = named_head(api, place.namespace or api.namespace, name)
    if isinstance(found, Refusal):
        tell_error(found, as_json=place.as_json)
        return None
    if found.pod is None:
        place.printed({**without, "reason": found.sentence}, found.sentence)
        return None
    return found, found.pod


@click.command()
@click.argument("name")
@cluster_options
@click.option("--previous", is_flag=True, help="Of the container that ran before, after a crash.")
@click.option("--tail", default=500, show_default=True, help="The last lines.")
def logs(place: Place, name: str, previous: bool, tail: int) -> int:
    """Print the log of the head of a RayJob or RayCluster."""
    api = place.api()
    try:
        head = _pod_of(place, api, name, {"pod": None, "reason": None, "lines": []})
        if head is None:
            return FINDING
        found, pod = head
        text = api.pod_log(
            found.named.namespace,
            pod,
            Deadline(CALL_SECONDS),
            container=found.container,
            previous=previous,
            tail_lines=tail,
            limit_bytes=_LIMIT_BYTES,
        )
    finally:
        api.close()
    if not text and not place.as_json:
        note(f"Container {found.container} of pod {pod} has written nothing.")
        return FINE
    where = {"pod": pod, "container": found.container, "previous": previous}
    place.printed({**where, "lines": text.splitlines()}, text)
    return FINE


@click.command()
@click.argument("name")
@cluster_options
def dashboard(place: Place, name: str) -> int:
    """Forward a port to the dashboard of a RayJob or RayCluster, print its URL, and stay until Ctrl-C.

    New connections find a new head by themselves.
    """
    api = place.api()
    try:
        head = _pod_of(place, api, name, {"url": None, "reason": None})
        if head is None:
            return FINDING
        _serve(place, api, head[0])
    finally:
        api.close()
    return FINE


def _serve(place: Place, api: "KubernetesApi", found: FoundHead) -> None:
    """Forward until an interrupt; the ports and threads end with it."""
    own, port = found.named, found.dashboard_port(api)

    def pod() -> str:
        return find_head(api, own.namespace, own.name).pod or ""

    with _until_interrupted() as over, PortForward(api, own.namespace, pod, (port,)) as forward:
        url = f"http://127.0.0.1:{forward.local_port(port)}"
        say(json.dumps({"url": url, "target": own.target}) if place.as_json else url)
        secret = None if found.cluster is None else secret_name(found.cluster.cluster_spec, found.cluster.name)
        if secret is not None:
            note(f"It asks for a token, which is kept in Secret {secret}.")
        elif found.cluster is not None and is_judged_by_kubernetes(found.cluster.cluster_spec):
            note("It asks for a token of Kubernetes, whose account has the verb ray:write on rayclusters.")
        note(f"The dashboard of {own.target}. Ctrl-C ends it.")
        while not over.wait(_LOOK_SECONDS):
            pass  # a wait without end would not see the signal on every system


@contextmanager
def _until_interrupted() -> Generator[threading.Event]:
    """Yield what SIGINT and SIGTERM set, in place of what they do otherwise."""
    over = threading.Event()

    def end(number: int, frame: "FrameType | None") -> None:
        del number, frame
        over.set()

    if threading.current_thread() is not threading.main_thread():
        yield over
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""`dagster-ray dashboard`: the dashboard of a cluster, on a port of this machine."""

import json
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from dagster_ray.kuberay._head.dashboard import secret_name
from dagster_ray.kuberay._head.port_forward import PortForward
from dagster_ray.kuberay.command._checks import Refusal
from dagster_ray.kuberay.command._heads import FoundHead, find_head, named_head
from dagster_ray.kuberay.command._terminal import FINDING, FINE, Place, cluster_options, note, say, tell_error

if TYPE_CHECKING:
    from types import FrameType

    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_LOOK_SECONDS = 0.5


@click.command()
@click.argument("name")
@cluster_options
def dashboard(place: Place, name: str) -> int:
    """Forward a port to the dashboard of a RayJob or RayCluster, print its URL, and stay until Ctrl-C.

    New connections find a new head by themselves.
    """
    api = place.api()
    try:
        namespace = place.namespace or api.namespace
        found = named_head(api, namespace, name)
        if isinstance(found, Refusal):
            tell_error(found, as_json=place.as_json)
            return FINDING
        if found.pod is None:
            place.printed({"url": None, "reason": found.sentence}, found.sentence)
            return FINDING
        _serve(place, api, found)
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

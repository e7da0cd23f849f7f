"""What runs in a simulated pod: the interface between the kubelet and a Ray node."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from typing_extensions import Protocol

CLIENT_PORT = 10001
DASHBOARD_PORT = 8265
GCS_PORT = 6379
AGENT_PORT = 52365
POD_PORTS = (CLIENT_PORT, DASHBOARD_PORT, GCS_PORT, AGENT_PORT)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_FRAME = 4
_FRAME_HEADER = 9


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """What a node is started with.

    Attributes:
        namespace: The pod's namespace.
        pod: The pod's name.
        is_head: Whether it is a head.
        params: The group's rayStartParams, and what the container's resources add.
        env: The container's environment.
        token: The cluster's token; None without token authentication.
        admits: Whether Kubernetes lets the owner of a token connect; None where a head does not ask it.
        head_gcs: Returns where the GCS of the cluster's head listens on this machine.
        folder: Where its processes start; None for an empty folder.
    """

    namespace: str
    pod: str
    is_head: bool
    params: Mapping[str, str]
    env: Mapping[str, str] = field(repr=False)
    token: str | None = field(default=None, repr=False)
    admits: Callable[[str], bool] | None = None
    head_gcs: Callable[[], tuple[str, int] | None] | None = None
    folder: str | None = None


class Node(Protocol):
    """A Ray node of a pod. Nothing here blocks for long, except `close`."""

    @property
    def ip(self) -> str:
        """The pod's address."""
        ...

    def start(self) -> None:
        """Start it, again after it ended."""
        ...

    def poll(self) -> None:
        """Look how far it is."""
        ...

    @property
    def gcs_open(self) -> bool:
        """Whether workers can join."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it serves: a head accepts Ray clients, a worker has joined."""
        ...

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs or was not started."""
        ...

    def stop(self, grace_seconds: float) -> None:
        """Ask it to end; `exit_code` is set when it has."""
        ...

    def close(self) -> None:
        """End it now and give back what it holds."""
        ...

    def address(self, port: int) -> tuple[str, int] | None:
        """Where a port of the pod listens on this machine; None when nothing does."""
        ...

    def log(self) -> str:
        """What the container printed."""
        ...


NodeFactory: TypeAlias = Callable[[NodeOrder], Node]


def speaks_http2(place: tuple[str, int], timeout_seconds: float) -> bool:
    """Whether a server answers an HTTP/2 client preface with a SETTINGS frame, as a gRPC server does."""
    try:
        with socket.create_connection(place, timeout=timeout_seconds) as connected:
            connected.settimeout(timeout_seconds)
            connected.sendall(_PREFACE)
            answer = connected.recv(_FRAME_HEADER)
    except OSError:
        return False
    return len(answer) == _FRAME_HEADER and answer[3] == _SETTINGS_FRAME


def listens(place: tuple[str, int], timeout_seconds: float = 0.2) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        with socket.create_connection(place, timeout=timeout_seconds):
            return True
    except OSError:
        return False

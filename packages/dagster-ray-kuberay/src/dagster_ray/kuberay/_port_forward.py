"""Ports of this machine that the Kubernetes API carries to a pod.

One websocket for each accepted connection (subprotocol v4.channel.k8s.io: the first byte of a frame is the channel,
and the first frame of a channel holds the port number). It carries HTTP and gRPC (run with kube-apiserver 1.36).
"""

# websocket-client is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Protocol

from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._dial import FRAME_HEADER_BYTES, PREFACE, looks_like_http2

if TYPE_CHECKING:
    from websocket import WebSocket

_log = logging.getLogger("dagster_ray")

_DATA, _ERROR = 0, 1
_BINARY, _CLOSE = 2, 8
_CHUNK_BYTES = 65536
_OPEN_SECONDS = 10.0
_JOIN_SECONDS = 2.0


class StreamOpener(Protocol):
    """What opens a stream to a pod: `KubernetesApi`."""

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> "WebSocket":
        """Return a connected websocket to one port of a pod."""
        ...


class PodStream:
    """The bytes of one port of a pod, over a websocket."""

    def __init__(self, websocket: "WebSocket") -> None:
        """Take a websocket that was just connected."""
        self._websocket = websocket
        self._greeted: set[int] = set()
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send bytes to the pod."""
        with self._sending:
            self._websocket.send_binary(bytes([_DATA]) + data)

    def recv(self) -> bytes:
        """Return bytes from the pod; none at the end of the stream, or when the pod's side failed."""
        while True:
            opcode, frame = self._websocket.recv_data()
            if opcode == _CLOSE or not frame:
                return b""
            channel, data = frame[0], frame[1:]
            if opcode != _BINARY or channel not in {_DATA, _ERROR}:
                continue
            if channel not in self._greeted:  # the port number
                self._greeted.add(channel)
                data = data[2:]
            if channel == _ERROR and data:
                _log.debug("The pod's side of a port-forward failed: %s", data[:200].decode(errors="replace"))
                return b""
            if channel == _DATA and data:
                return data

    def set_timeout(self, seconds: float) -> None:
        """Bound each following call; an OSError or a websocket error says that it took longer."""
        self._websocket.settimeout(seconds)

    def close(self) -> None:
        """Break the connection, also under a thread that reads."""
        sock = self._websocket.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            self._websocket.shutdown()


class PortForward:
    """Local ports that lead to a pod for as long as this object is open.

    Every connection asks `find_pod` where to go, so new connections find a new head by themselves.
    """

    def __init__(
        self, opener: StreamOpener, namespace: str, find_pod: Callable[[], str], ports: tuple[int, ...]
    ) -> None:
        """Listen on 127.0.0.1, on a free port for each port of the pod.

        Args:
            opener: What opens streams.
            namespace: The pod's namespace.
            find_pod: Returns the pod's name now.
            ports: Ports of the pod.
        """
        self._opener, self._namespace, self._find_pod = opener, namespace, find_pod
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket | PodStream] = set()
        self._threads: set[threading.Thread] = set()
        self._listeners = {port: socket.create_server(("127.0.0.1", 0)) for port in ports}
        for port, listener in self._listeners.items():
            self._start(self._accept, listener, port)

    def __enter__(self) -> "PortForward":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def local_port(self, port: int) -> int:
        """Return the port of this machine that leads to a port of the pod."""
        return int(self._listeners[port].getsockname()[1])

    def accepts(self, port: int, timeout_seconds: float) -> bool:
        """Return whether a gRPC server answers on a port of the pod, within the timeout."""
        try:
            stream = PodStream(
                self._opener.open_stream(self._namespace, self._find_pod(), port, max(0.1, timeout_seconds))
            )
        except (DagsterRayError, OSError) as error:
            _log.debug("A port-forward could not be opened: %s", error)
            return False
        try:
            stream.set_timeout(timeout_seconds)
            stream.send(PREFACE)
            data = b""
            while len(data) < FRAME_HEADER_BYTES:
                more = stream.recv()
                if not more:
                    return False
                data += more
            return looks_like_http2(data)
        except Exception as error:  # noqa: BLE001 - websocket-client has many names for a broken connection
            _log.debug("Nothing answered through a port-forward: %s", type(error).__name__)
            return False
        finally:
            stream.close()

    def close(self) -> None:
        """Close the ports and every connection, and end the threads."""
        self._closed.set()
        with self._lock:
            opened, threads = set(self._open), set(self._threads)
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for end in opened:
            _break(end)
        for thread in threads - {threading.current_thread()}:
            thread.join(_JOIN_SECONDS)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        def work() -> None:
            try:
                run(*args)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=work, name="dagster-ray port-forward", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while not self._closed.is_set():
            try:
                local, _ = listener.accept()
            except OSError:
                return
            self._start(self._carry, local, port)

    def _carry(self, local: socket.socket, port: int) -> None:
        """Carry one connection, both ways."""
        with local:
            local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                stream = PodStream(self._opener.open_stream(self._namespace, self._find_pod(), port, _OPEN_SECONDS))
            except (DagsterRayError, OSError) as error:
                _log.debug("A port-forward could not be opened: %s", error)
                return
            with self._lock:
                self._open |= {local, stream}
            try:
                if not self._closed.is_set():
                    self._start(self._outward, local, stream)
                    self._inward(stream, local)
            finally:
                with self._lock:
                    self._open -= {local, stream}
                _break(local)
                stream.close()

    @staticmethod
    def _outward(local: socket.socket, stream: PodStream) -> None:
        """Carry what this machine sends, until it has no more or the connection breaks.

        The protocol has no half-close: an end here ends the stream. gRPC and HTTP clients end when they are done.
        """
        try:
            while data := local.recv(_CHUNK_BYTES):
                stream.send(data)
        except Exception as error:  # noqa: BLE001 - websocket-client has many names for a broken connection
            _log.debug("A port-forward ended: %s", type(error).__name__)
        stream.close()

    @staticmethod
    def _inward(stream: PodStream, local: socket.socket) -> None:
        """Carry what the pod sends."""
        try:
            while data := stream.recv():
                local.sendall(data)
        except Exception as error:  # noqa: BLE001 - websocket-client has many names for a broken connection
            _log.debug("A port-forward ended: %s", type(error).__name__)


def _break(end: socket.socket | PodStream) -> None:
    if isinstance(end, PodStream):
        end.close()
        return
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)

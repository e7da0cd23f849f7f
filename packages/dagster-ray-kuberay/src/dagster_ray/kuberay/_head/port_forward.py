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
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Protocol

from dagster_ray.core import Deadline, safe_log
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.http2 import FRAME_HEADER_BYTES, PREFACE, looks_like_http2
from dagster_ray.kuberay._kubernetes.errors import ForbiddenError, NotFoundError, UnauthorizedError

if TYPE_CHECKING:
    from websocket import WebSocket

_log = safe_log(logging.getLogger("dagster_ray"))

_DATA, _ERROR = 0, 1
_BINARY, _CLOSE = 2, 8
_CHUNK_BYTES = 65536
_OPEN_SECONDS = 10.0
_JOIN_SECONDS = 2.0
_REST_SECONDS = 5.0
_ACCEPT_PAUSE_SECONDS = 0.1
# A server that speaks only after its client gets a greeting after this time.
_SILENT_SECONDS = 0.5
# For how long a stream that has answered waits for a client. gRPC ends a connection without a client's greeting after
# 120 s (GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS).
_SPARE_SECONDS = 15.0


class StreamOpener(Protocol):
    """What opens a stream to a pod: `KubernetesApi`."""

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> "WebSocket":
        """Return a connected websocket to one port of a pod."""
        ...


class PodStream:
    """The bytes of one port of a pod, over a websocket."""

    def __init__(self, websocket: "WebSocket", pod: str) -> None:
        """Take a websocket that was just connected to a pod."""
        self._websocket, self.pod = websocket, pod
        self._unread = b""
        self._greeted: set[int] = set()
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send bytes to the pod."""
        with self._sending:
            self._websocket.send_binary(bytes([_DATA]) + data)

    def recv(self) -> bytes:
        """Return bytes from the pod; none at the end of the stream, or when the pod's side failed."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
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

    def unread(self, data: bytes) -> None:
        """Let the next `recv` return bytes that were read already."""
        self._unread = data

    def set_timeout(self, seconds: float | None) -> None:
        """Bound each following call; an OSError or a websocket error says that it took longer."""
        self._websocket.settimeout(seconds)

    def interrupt(self) -> None:
        """End the calls of other threads; the socket stays theirs until `close`."""
        sock = self._websocket.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: it drops TLS first, and a thread that sends just then would send plain text.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket, once no other thread uses it."""
        self.interrupt()
        self._websocket.shutdown()


class _Carriage:
    """One local connection and its stream: two threads, each of which ends the other."""

    def __init__(self, local: socket.socket, stream: PodStream) -> None:
        self._local, self._stream = local, stream
        self._chunks_from_pod = 0
        self._pod_ended = threading.Event()

    def outward(self) -> None:
        """Carry what this machine sends, then wait for the rest of the pod's answer."""
        try:
            while data := self._local.recv(_CHUNK_BYTES):
                self._stream.send(data)
            self._wait_for_rest()
        except Exception as error:  # noqa: BLE001 - websocket-client has many names for a broken connection
            _log.debug("A port-forward ended: %s", type(error).__name__)
        finally:
            self._stream.interrupt()

    def inward(self) -> None:
        """Carry what the pod sends."""
        try:
            while data := self._stream.recv():
                self._chunks_from_pod += 1
                self._local.sendall(data)
        except Exception as error:  # noqa: BLE001 - websocket-client has many names for a broken connection
            _log.debug("A port-forward ended: %s", type(error).__name__)
        finally:
            self._pod_ended.set()
            _interrupt(self._local)
            self._stream.interrupt()

    def _wait_for_rest(self) -> None:
        """Wait until the pod ends, or sends nothing for a while.

        The protocol cannot tell the pod that no more comes, so a local end is told by closing the stream; at once
        would cut the answer to a client that ends its half first.
        """
        seen = -1
        while seen != self._chunks_from_pod:
            seen = self._chunks_from_pod
            if self._pod_ended.wait(_REST_SECONDS):
                return


class PortForward:
    """Local ports that lead to a pod for as long as this object is open.

    Every connection asks `find_pod` where to go, so new connections find a new head by themselves. It opens its stream
    with the first byte that it sends: one that is only tried costs the API server nothing.
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
        self._missing_pod: str | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket | PodStream] = set()
        self._spares: dict[int, tuple[PodStream, Deadline]] = {}
        self._threads: set[threading.Thread] = set()
        self._listeners = {port: socket.create_server(("127.0.0.1", 0)) for port in ports}
        self._local_ports = {port: int(listener.getsockname()[1]) for port, listener in self._listeners.items()}
        self._acceptors = [self._start(self._accept, listener, port) for port, listener in self._listeners.items()]

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
        return self._local_ports[port]

    @property
    def missing_pod(self) -> str | None:
        """The pod that the API server does not have any more, by the last connection; None if it has it."""
        return self._missing_pod

    def accepts(self, port: int, timeout_seconds: float) -> bool:
        """Return whether a gRPC server answers on a port of the pod.

        A server of gRPC's C core, such as Ray's, speaks before its client does. The stream of such an answer is kept
        for some seconds: the next connection to the local port goes on with it.

        Args:
            port: Port of the pod.
            timeout_seconds: Longest wait for the stream and the answer together.

        Raises:
            ForbiddenError, UnauthorizedError: The account may not open streams; no other try will change that.
        """
        deadline = Deadline(timeout_seconds)
        self._close_spares()
        stream = self._open_stream(port, max(0.1, timeout_seconds), tell=(ForbiddenError, UnauthorizedError))
        if stream is None:
            return False
        is_kept = False
        try:
            with self._interruptible(stream):
                data, has_asked = _first_bytes(stream, deadline)
                accepts = looks_like_http2(data)
                is_kept = accepts and not has_asked and self._keep(port, stream, data)
        except Exception as error:  # noqa: BLE001 - websocket-client has many names for a broken connection
            _log.debug("Nothing answered through a port-forward: %s", type(error).__name__)
            return False
        finally:
            if not is_kept:
                stream.close()
        return accepts

    def _keep(self, port: int, stream: PodStream, data: bytes) -> bool:
        """Keep a stream that has answered for the next connection; return whether it was."""
        stream.unread(data)
        stream.set_timeout(None)
        with self._lock:
            if self._closed.is_set():
                return False
            self._spares[port] = stream, Deadline(_SPARE_SECONDS)
        return True

    def _spare(self, port: int) -> PodStream | None:
        """Return the stream that was kept for a connection, if it still leads to the head."""
        with self._lock:
            stream, fresh = self._spares.pop(port, (None, None))
        if stream is None or fresh is None or (not fresh.is_over() and self._find_pod() == stream.pod):
            return stream
        stream.close()
        return None

    def _close_spares(self) -> None:
        with self._lock:
            spares, self._spares = list(self._spares.values()), {}
        for stream, _ in spares:
            stream.close()

    def close(self) -> None:
        """Close the ports and every connection, and end the threads."""
        deadline = Deadline(_JOIN_SECONDS)
        self._closed.set()
        for listener in self._listeners.values():
            _wake(listener)
        self._join(self._acceptors, deadline)  # first: they start further threads
        for listener in self._listeners.values():
            listener.close()
        with self._lock:
            opened, threads = list(self._open), list(self._threads)
        for end in opened:
            _interrupt(end)
        self._join(threads, deadline)
        self._close_spares()

    @staticmethod
    def _join(threads: list[threading.Thread], deadline: Deadline) -> None:
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(deadline.remaining_seconds())

    def _start(self, run: Callable[..., None], *args: object) -> threading.Thread:
        def work() -> None:
            try:
                run(*args)
            except Exception as error:  # noqa: BLE001 - credentials and websockets have errors of their own
                _log.debug("A connection of a port-forward failed: %s", type(error).__name__)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=work, name="dagster-ray port-forward", daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no thread is free, and one that never ran cannot be joined
            with self._lock:
                self._threads.discard(thread)
            raise
        return thread

    @contextlib.contextmanager
    def _interruptible(self, end: socket.socket | PodStream) -> Generator[None]:
        """Let `close` interrupt a connection while the body runs."""
        with self._lock:
            self._open.add(end)
        try:
            if self._closed.is_set():  # close() may have looked already
                _interrupt(end)
            yield
        finally:
            with self._lock:
                self._open.discard(end)

    def _open_stream(
        self, port: int, timeout_seconds: float, tell: tuple[type[DagsterRayError], ...] = ()
    ) -> PodStream | None:
        pod = ""
        try:
            if not (pod := self._find_pod()):
                return None  # the head that was there is gone, and no other one has a name yet
            stream = PodStream(self._opener.open_stream(self._namespace, pod, port, timeout_seconds), pod)
        except tell:
            raise
        except (DagsterRayError, OSError) as error:
            if isinstance(error, NotFoundError) and f'"{pod}"' in error.message:  # a proxy's 404 names no pod
                self._missing_pod = pod
            _log.debug("A port-forward could not be opened: %s", error)
            return None
        self._missing_pod = None
        return stream

    def _accept(self, listener: socket.socket, port: int) -> None:
        while not self._closed.is_set():
            local: socket.socket | None = None
            try:
                local, _ = listener.accept()
                self._start(self._carry, local, port)
            except (OSError, RuntimeError) as error:  # closed; the client has gone; no descriptor or thread is free now
                if local is not None:
                    local.close()
                if not self._closed.wait(_ACCEPT_PAUSE_SECONDS):
                    _log.debug("A local port accepted nothing: %s", error)

    def _carry(self, local: socket.socket, port: int) -> None:
        """Carry one connection, both ways."""
        with local, self._interruptible(local):
            with contextlib.suppress(OSError):
                local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not local.recv(1, socket.MSG_PEEK):  # somebody has only tried whether the port is open
                return
            stream = self._spare(port) or self._open_stream(port, _OPEN_SECONDS)
            if stream is None:
                return
            with contextlib.closing(stream), self._interruptible(stream):
                carriage = _Carriage(local, stream)
                outward = self._start(carriage.outward)
                carriage.inward()
                outward.join()


def _first_bytes(stream: PodStream, deadline: Deadline) -> tuple[bytes, bool]:
    """Return what a server says first, up to a frame's head, and whether it had to be asked."""
    from websocket import WebSocketTimeoutException

    data, has_asked = b"", False
    while len(data) < FRAME_HEADER_BYTES:
        left = max(0.01, deadline.remaining_seconds())
        stream.set_timeout(left if has_asked else min(_SILENT_SECONDS, left))
        try:
            more = stream.recv()
        except WebSocketTimeoutException:
            if has_asked or deadline.is_over():
                raise
            stream.send(PREFACE)
            has_asked = True
            continue
        if not more or deadline.is_over():
            break
        data += more
    return data, has_asked


def _interrupt(end: socket.socket | PodStream) -> None:
    """End the calls that other threads make on a connection."""
    if isinstance(end, PodStream):
        end.interrupt()
        return
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _wake(listener: socket.socket) -> None:
    """End a thread's wait in `accept`."""
    try:
        listener.shutdown(socket.SHUT_RDWR)
    except OSError:  # only Linux can do that: elsewhere a connection ends the wait
        with contextlib.suppress(OSError):
            socket.create_connection(listener.getsockname(), timeout=1.0).close()

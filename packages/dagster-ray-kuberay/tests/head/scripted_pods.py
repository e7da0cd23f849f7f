"""Pods that speak the websocket protocol of a port-forward from a script."""

# websocket-client is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Generator

from websocket import WebSocket

from dagster_ray.kuberay._head.port_forward import PortForward

PORT = 10001
LONG_SECONDS = 10.0
SHORT_SECONDS = 0.2
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
NUMBER = struct.pack("<H", PORT)


class PodSide:
    """The server's end of one stream."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def shake_hands(self) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += self._connection.recv(1)
        lines = request.decode().split("\r\n")
        key = next(line.split(": ")[1] for line in lines if line.lower().startswith("sec-websocket-key"))
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        self._connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    def greet(self) -> None:
        self.send(b"\0" + NUMBER)
        self.send(b"\1" + NUMBER)

    def send(self, payload: bytes, *, opcode: int = 2, final: bool = True) -> None:
        first, length = (0x80 if final else 0) | opcode, len(payload)
        if length < 126:
            head = struct.pack("!BB", first, length)
        elif length < 65536:
            head = struct.pack("!BBH", first, 126, length)
        else:
            head = struct.pack("!BBQ", first, 127, length)
        with self._sending:
            self._connection.sendall(head + payload)

    def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame; raises EOFError at the end."""
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8))
        mask, masked = self._take(4), self._take(length)
        stretched = (mask * (length // 4 + 1))[:length]
        return first & 0x0F, (int.from_bytes(masked) ^ int.from_bytes(stretched)).to_bytes(length)

    def data(self) -> bytes:
        """Return the next bytes on the data channel."""
        opcode, payload = self.frame()
        assert opcode == 2
        assert payload[:1] == b"\0"
        return payload[1:]

    def wait_for_end(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self.frame()

    def _take(self, count: int) -> bytes:
        taken = self._connection.recv(count, socket.MSG_WAITALL) if count else b""
        if len(taken) < count:
            raise EOFError
        return taken


Script = Callable[[PodSide], None]


class Pods:
    """Opens streams whose other ends follow a script; remembers what was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[tuple[str, str, int]] = []
        self.ends: list[socket.socket] = []
        self.errors: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> WebSocket:
        self.asked.append((namespace, pod, port))
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(theirs,), name=f"pod {pod}")
        self.ends.append(theirs)
        self.threads.append(thread)
        thread.start()
        websocket = WebSocket()
        websocket.connect("ws://127.0.0.1/", socket=ours, timeout=timeout_seconds)
        websocket.settimeout(None)
        return websocket

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            side = PodSide(connection)
            try:
                side.shake_hands()
                self.script(side)
            except (EOFError, OSError):
                return
            except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
                self.errors.append(error)

    def end(self) -> None:
        for thread, connection in zip(self.threads, self.ends, strict=True):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
        for error in self.errors:
            raise error


@contextlib.contextmanager
def forward(script: Script, find_pod: Callable[[], str] = lambda: "head") -> Generator[tuple[PortForward, Pods]]:
    pods = Pods(script)
    try:
        with PortForward(pods, "ns", find_pod, (PORT,)) as opened:
            yield opened, pods
    finally:
        pods.end()


def dial(forward: PortForward) -> socket.socket:
    return socket.create_connection(("127.0.0.1", forward.local_port(PORT)), timeout=LONG_SECONDS)


def call(forward: PortForward) -> socket.socket:
    """Connect, and send a first byte, with which the stream is opened."""
    local = dial(forward)
    local.sendall(b"?")
    return local


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the end; a reset is an end too."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65536):
            data += more
    return data


def echo(side: PodSide) -> None:
    side.greet()
    while True:
        side.send(b"\0" + side.data())


def greet_and_wait(side: PodSide) -> None:
    side.greet()
    side.wait_for_end()

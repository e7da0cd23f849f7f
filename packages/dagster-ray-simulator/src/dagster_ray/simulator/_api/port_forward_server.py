"""The server's side of a port-forward by websocket (v4.channel.k8s.io), between a client and a port of this machine."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Mapping

from dagster_ray.simulator._kubelet.pod_runtime import PodRuntime

PROTOCOL = "v4.channel.k8s.io"
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_CHUNK_BYTES = 65536
_CONNECT_SECONDS = 5.0


def handshake(headers: Mapping[str, str]) -> bytes | None:
    """Return the answer that switches to websocket; None if the client does not ask for it."""
    key = headers.get("Sec-WebSocket-Key")
    offered = [word.strip() for word in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if headers.get("Upgrade", "").lower() != "websocket" or key is None or PROTOCOL not in offered:
        return None
    accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()).decode()
    lines = (
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        f"Sec-WebSocket-Protocol: {PROTOCOL}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Frames:
    """Frames of a websocket, seen from the server."""

    def __init__(self, connection: socket.socket, already_read: bytes) -> None:
        self._connection, self._rest = connection, already_read
        self._sending = threading.Lock()

    def send(self, data: bytes, opcode: int = _BINARY) -> None:
        length = len(data)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, length)
        elif length < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, length)
        with self._sending:
            self._connection.sendall(head + data)

    def recv(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        mask = self._take(4) if second & 0x80 else b"\0\0\0\0"
        data = self._take(length)
        if any(mask):
            stretched = (mask * (length // 4 + 1))[:length]
            data = (int.from_bytes(data) ^ int.from_bytes(stretched)).to_bytes(length)
        return first & 0x0F, data

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            more = self._connection.recv(_CHUNK_BYTES)
            if not more:
                raise ConnectionError("the client has gone")
            self._rest += more
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


def serve_port_forward(connection: socket.socket, runtime: PodRuntime, pod: tuple[str, str], port: int) -> None:
    """Carry bytes between a client whose handshake is done and a port of a pod, until one side ends."""
    frames = _Frames(connection, b"")
    number = struct.pack("<H", port)
    frames.send(b"\0" + number)
    frames.send(b"\1" + number)
    place = runtime.address(*pod, port)
    try:
        target = socket.create_connection(place, timeout=_CONNECT_SECONDS) if place is not None else None
    except OSError:
        target = None
    if target is None:
        frames.send(b"\1" + f"an error occurred forwarding {port} -> {port}: connection refused".encode())
        frames.send(struct.pack("!H", 1000), _CLOSE)
        return
    with target:
        target.settimeout(None)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_carry_back, args=(target, frames, connection), daemon=True)
        back.start()
        try:
            _carry(frames, target)
        finally:
            _shut(target)
            back.join()


def _carry(frames: _Frames, target: socket.socket) -> None:
    try:
        while True:
            opcode, data = frames.recv()
            if opcode == _CLOSE:
                return
            if opcode == _PING:
                frames.send(data, _PONG)
            elif data[:1] == b"\0":
                target.sendall(data[1:])
    except OSError:
        return


def _carry_back(target: socket.socket, frames: _Frames, connection: socket.socket) -> None:
    try:
        while data := target.recv(_CHUNK_BYTES):
            frames.send(b"\0" + data)
        frames.send(struct.pack("!H", 1000), _CLOSE)
    except OSError:
        pass
    _shut(connection)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)

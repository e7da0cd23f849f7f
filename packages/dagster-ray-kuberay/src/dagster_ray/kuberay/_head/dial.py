"""Find out whether a gRPC server listens, before `ray.init` is called.

An open port is not enough behind a port-forward, which accepts whatever the pod does; and an early `ray.init` backs
off inside gRPC and comes back seconds after the server is there.
"""

import socket

from dagster_ray.core import Deadline

# RFC 9113, section 3.4: a client begins with this text and a SETTINGS frame, here an empty one.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
FRAME_HEADER_BYTES = 9
_SETTINGS = 4


def looks_like_http2(data: bytes) -> bool:
    """Return whether `data` begins with the SETTINGS frame that every HTTP/2 server sends first."""
    return len(data) >= FRAME_HEADER_BYTES and data[3] == _SETTINGS and data[5:9] == b"\x00\x00\x00\x00"


def speaks_http2(host: str, port: int, timeout_seconds: float) -> bool:
    """Return whether a server at `host:port` speaks HTTP/2 without TLS, as gRPC does.

    Args:
        host: Host name or address.
        port: Port number.
        timeout_seconds: Longest wait for the connection and the answer together; the look-up of a name comes on top.
    """
    deadline = Deadline(timeout_seconds)
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(PREFACE)
            data = b""
            while len(data) < FRAME_HEADER_BYTES:
                connection.settimeout(max(0.01, deadline.remaining_seconds()))
                more = connection.recv(FRAME_HEADER_BYTES - len(data))
                if not more or deadline.is_over():
                    return False
                data += more
            return looks_like_http2(data)
    except OSError:
        return False

"""How a gRPC server shows that it listens. Pure."""

# RFC 9113, section 3.4: a client begins with this text and a SETTINGS frame, here an empty one.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
FRAME_HEADER_BYTES = 9
_SETTINGS = 4


def looks_like_http2(data: bytes) -> bool:
    """Return whether `data` begins with the SETTINGS frame that every HTTP/2 server sends first."""
    return len(data) >= FRAME_HEADER_BYTES and data[3] == _SETTINGS and data[5:9] == b"\x00\x00\x00\x00"

"""Ports for the servers of this machine's Ray nodes, which nobody else is given meanwhile.

Ray is told its ports before it binds them. A port of the range that the system hands out by itself may belong to
somebody else by then; a head that loses the port of its GCS so joins the other head, silently.
"""

import contextlib
import random
import socket
from pathlib import Path
from typing import Self

BLOCK = 8
_FIRST, _DEFAULT_END = 12_000, 32_768
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_HOST = "127.0.0.1"


def range_end(text: str | None) -> int:
    """Return the port that the system's own range begins with, from what the kernel says of it."""
    found = int(text.split()[0]) if text else _DEFAULT_END
    return found if found > _FIRST + BLOCK else _DEFAULT_END


class PortBlock:
    """Up to seven neighbouring ports, reserved until `close`.

    The port before them is bound meanwhile, and so keeps every other process from taking the block.

    Args:
        count: How many ports are needed.

    Raises:
        OSError: No block is free.
    """

    def __init__(self, count: int) -> None:
        if not 0 < count < BLOCK:
            raise ValueError(f"1 to {BLOCK - 1} ports, not {count}")
        text = _RANGE_FILE.read_text(encoding="ascii") if _RANGE_FILE.exists() else None
        firsts = list(range(_FIRST, range_end(text) - BLOCK, BLOCK))
        random.shuffle(firsts)
        for first in firsts:
            guard = _bound(first)
            if guard is None:
                continue
            if all(_is_free(first + 1 + index) for index in range(count)):
                self._guard = guard
                self.ports = tuple(range(first + 1, first + 1 + count))
                return
            guard.close()
        raise OSError("no block of ports is free on this machine")

    def close(self) -> None:
        """Let others have the ports."""
        self._guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bound(port: int) -> socket.socket | None:
    found = socket.socket()
    try:
        found.bind((_HOST, port))
    except OSError:
        found.close()
        return None
    return found


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not matter
        try:
            tried.bind(("", port))
        except OSError:
            return False
    return True

"""Asks Ray's dashboard for JSON, over one connection that is kept."""

import contextlib
import http.client
import json
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from dagster_ray.core._deadline import Deadline

_LIMIT_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 65_536


class DashboardReader:
    """Reads what a dashboard answers. Its answers are extras of a step: one that fails is None.

    Proxies of the environment are not used: the address is one of the cluster, or of this machine.
    Belongs to one thread at a time.
    """

    def __init__(self, place: Callable[[], tuple[str | None, str | None]]) -> None:
        """Connect to nothing yet.

        Args:
            place: Returns the dashboard's URL and Ray's token as they are now; None for what there is not.
        """
        self._place = place
        self._open: tuple[str, http.client.HTTPConnection] | None = None

    def get(self, path: str, timeout_seconds: float) -> object:
        """Return the JSON at a path; None if there is no dashboard, or it does not answer with JSON.

        Args:
            path: The path, with its query.
            timeout_seconds: Longest wait for connecting, for each read, and for the whole body.
        """
        url, token = self._place()
        if not url:
            return None
        if self._open is None or self._open[0] != url:
            self.close()
        was_open = self._open is not None
        try:
            return self._answer(url, token, path, timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not was_open or isinstance(error, TimeoutError):
                return None
        try:  # a connection that was kept may have been closed meanwhile
            return self._answer(url, token, path, timeout_seconds)
        except (OSError, http.client.HTTPException):
            self.close()
            return None

    def _answer(self, url: str, token: str | None, path: str, timeout_seconds: float) -> object:
        connection = self._connection(url, timeout_seconds)
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        deadline, body = Deadline(timeout_seconds), bytearray()
        while len(body) <= _LIMIT_BYTES and (piece := response.read1(_PIECE_BYTES)):
            body += piece
            if deadline.is_over():
                raise TimeoutError(f"the answer was not over after {timeout_seconds:g} s")
        response.close()  # `read1` does not notice the end, without which the connection takes no other request
        if response.status != http.client.OK or len(body) > _LIMIT_BYTES:
            self.close()
            return None
        try:
            return cast("object", json.loads(body))
        except (ValueError, RecursionError):
            return None

    def _connection(self, url: str, timeout_seconds: float) -> http.client.HTTPConnection:
        if self._open is None:
            parts = urlsplit(url)
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            self._open = url, kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
        connection = self._open[1]
        connection.timeout = timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        return connection

    def close(self) -> None:
        """Close the connection."""
        opened, self._open = self._open, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened[1].close()

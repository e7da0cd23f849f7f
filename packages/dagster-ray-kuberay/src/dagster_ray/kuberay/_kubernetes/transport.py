"""Connections to one API server: TLS, proxies, pools, its clock. Imports kubernetes, alone and late.

Of the official library this uses the client's connection pool alone, so that every version from 30 on behaves the same.
"""

# The official client has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import contextlib
import functools
import os
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dagster_ray.core import Deadline, bound_pools, dial, watched
from dagster_ray.kuberay._kubernetes.credentials import Credential
from dagster_ray.kuberay._kubernetes.errors import KubeconfigError
from dagster_ray.kuberay._kubernetes.kubeconfig import Settings
from dagster_ray.kuberay._kubernetes.proxies import Proxy

if TYPE_CHECKING:
    from urllib3 import PoolManager

_HEAD_LIMIT = 65536
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d+)")


class ProxyRefusedError(OSError):
    """The proxy did not open the way to the API server."""

    def __init__(self, status: int) -> None:
        """Take the HTTP status of its answer."""
        super().__init__(status)
        self.status = status


class Transport:
    """Connections of one client certificate, or none. Certificates of a connection do not change once it is open."""

    def __init__(self, settings: Settings, proxy: Proxy | None, credential: Credential) -> None:
        """Open nothing yet.

        Raises:
            KubeconfigError: A certificate cannot be read.
        """
        parts = urlsplit(settings.server)
        self._host, self._is_tls = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._settings, self._proxy, self._credential = settings, proxy, credential
        # Without TLS nothing is loaded: the authorities of the machine take tens of milliseconds of the processor.
        self._tls = _tls_context(settings, credential) if self._is_tls else None
        self.pool = self._new_pool()

    def open_socket(self, timeout_seconds: float) -> socket.socket:
        """Return a socket on which the API server hears HTTP.

        Raises:
            ProxyRefusedError: The proxy did not open the way.
            OSError: The server, or the proxy, cannot be reached, or its certificate is not accepted.
        """
        deadline = Deadline(timeout_seconds)
        proxy = self._proxy
        address = (self._host, self._port) if proxy is None else (proxy.host, proxy.port)
        opened = dial(address, timeout_seconds)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None:
                self._tunnel(opened, proxy, deadline)
            if self._tls is None:
                return opened
            opened.settimeout(max(0.1, deadline.remaining_seconds()))
            opened = self._tls.wrap_socket(opened, server_hostname=self._settings.tls_server_name or self._host)
            return watched(opened)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Close all idle connections."""
        self.pool.clear()

    def _new_pool(self) -> "PoolManager":
        from kubernetes import client

        configuration = client.Configuration()
        configuration.host = self._settings.server
        configuration.verify_ssl = not self._settings.insecure
        configuration.tls_server_name = self._settings.tls_server_name or None
        configuration.ssl_ca_cert = configuration.cert_file = configuration.key_file = None
        # After the host: newer versions look for a proxy of their own when they are given one.
        configuration.proxy, configuration.no_proxy, configuration.proxy_headers = None, "", None
        if self._proxy is not None:
            configuration.proxy = f"http://{self._proxy.address}"
            if self._proxy.authorization:
                configuration.proxy_headers = {"Proxy-Authorization": self._proxy.authorization}
        pool: PoolManager = client.ApiClient(configuration).rest_client.pool_manager
        # Versions before 37 add the certificates of Mozilla to those of the kubeconfig, and read keys from files only.
        pool.connection_pool_kw.update(ssl_context=self._tls, ca_certs=None, cert_file=None, key_file=None)
        if self._settings.insecure:
            pool.pool_classes_by_scheme = {**pool.pool_classes_by_scheme, "https": _unwarned_pool()}
        bound_pools(pool)
        return pool

    def _tunnel(self, opened: socket.socket, proxy: Proxy, deadline: Deadline) -> None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"CONNECT {host}:{self._port} HTTP/1.1", f"Host: {host}:{self._port}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows belongs to the server
            opened.settimeout(max(0.1, deadline.remaining_seconds()))
            more = opened.recv(1)
            if not more or len(head) > _HEAD_LIMIT or deadline.is_over():
                raise ConnectionError("the proxy did not answer")
            head += more
        words = head.split(None, 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if status != 200:
            raise ProxyRefusedError(status)


def proxy_refusal(error: BaseException) -> int | None:
    """Return the status with which a proxy did not open the way, if that is what an error of urllib3 or ours says."""
    for one in _all_within(error):
        if isinstance(one, ProxyRefusedError):
            return one.status
        found = _TUNNEL_REFUSED.search(str(one)) if isinstance(one, OSError) else None
        if found is not None:
            return int(found.group(1))
    return None


def distrust(error: BaseException) -> str | None:
    """Return why the server's certificate is not accepted, if that is what an error says."""
    for one in _all_within(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message or "it is not valid"
        if type(one).__name__ == "CertificateError":  # urllib3's own, where it compares the names
            return "it is for another name"
    return None


def _all_within(error: BaseException) -> list[BaseException]:
    """Return an error and all that it came from."""
    found: list[BaseException] = []
    left: list[object] = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseException) and not any(one is known for known in found):
            found.append(one)
            left += [one.__cause__, one.__context__, *one.args]
    return found


def _tls_context(settings: Settings, credential: Credential) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif settings.ca or settings.ca_file:
        try:
            context.load_verify_locations(settings.ca_file or None, cadata=settings.ca or None)
        except (OSError, ValueError):  # an SSLError is an OSError
            what = settings.ca_file or "certificate-authority-data"
            reason, advice = f"{what} cannot be read as certificates in PEM", f"let {what} contain the CA in PEM"
            raise KubeconfigError(settings.source, reason, advice) from None
    else:
        context.load_default_certs()
    if credential.certificate:
        _load_certificate(context, settings, credential)
    return context


def _load_certificate(context: ssl.SSLContext, settings: Settings, credential: Credential) -> None:
    """Give a context the client certificate. Python reads it from files only, so it is in one for a moment."""
    with tempfile.TemporaryDirectory(prefix="dagster-ray-") as folder:  # mode 0700
        certificate, key = Path(folder, "certificate"), Path(folder, "key")
        for path, content in ((certificate, credential.certificate), (key, credential.key)):
            path.touch(mode=0o600)
            path.write_text(content, encoding="utf-8")
        try:
            # A key with a passphrase would make OpenSSL ask on the terminal.
            context.load_cert_chain(os.fspath(certificate), os.fspath(key), password=lambda: b"")
        except (OSError, ValueError):
            reason = f"the client certificate or key of user {settings.user_name} cannot be read as PEM"
            advice = "give a certificate and its key in PEM, the key without a passphrase"
            raise KubeconfigError(settings.source, reason, advice) from None


@functools.cache
def _unwarned_pool() -> Any:
    """Return urllib3's pool without its warning for each connection: the user has asked for it, and was told once."""
    from urllib3 import HTTPSConnectionPool
    from urllib3.connection import HTTPSConnection

    class UnwarnedConnection(HTTPSConnection):
        @property
        def is_verified(self) -> bool:
            return True

        @is_verified.setter
        def is_verified(self, value: bool) -> None:
            with contextlib.suppress(AttributeError):
                del value

    class UnwarnedPool(HTTPSConnectionPool):
        ConnectionCls = UnwarnedConnection  # pyright: ignore[reportAssignmentType]

    return UnwarnedPool


class ServerClock:
    """The time of the last answer, and the seconds that have passed here since.

    The header `Date` has whole seconds and is written before the answer arrives, so that the time which is told here is
    never ahead of the server's. Safe for threads.

    Args:
        monotonic: Source of monotonic seconds. Tests pass their own.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet."""
        self._monotonic = monotonic
        self._heard: tuple[datetime, float] | None = None

    def heard(self, date: str | None) -> None:
        """Take in the header `Date` of an answer; one that is missing or unreadable tells nothing."""
        if date is None:
            return
        try:
            at = parsedate_to_datetime(date)
        except (TypeError, ValueError):
            return
        self._heard = (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), self._monotonic())

    def now(self) -> datetime | None:
        """Return the server's time; None before the first answer."""
        if self._heard is None:
            return None
        at, since = self._heard
        return at + timedelta(seconds=self._monotonic() - since)

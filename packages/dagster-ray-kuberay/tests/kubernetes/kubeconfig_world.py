"""An API server and a proxy on this machine that note who asks and how, and kubeconfigs that lead there."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from typing_extensions import override

PROBE = "/apis/probe"
STREAM = "/api/v1/namespaces/default/pods/probe/portforward"
NAME = "api.example"
"""A name that nothing resolves: only a proxy leads to it."""
WORKSPACE = "/clusters/west"
STATUS: dict[str, Any] = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the API server saw of one request."""

    authorization: str = ""
    impersonate: tuple[str, ...] = ()
    certificate: str = ""
    """The name in the client's certificate."""
    server_name: str = ""
    """What the client wants the server to be called; empty without TLS, or for an address."""
    prefix: str = ""
    """What stands before the path."""
    proxy: str | None = None
    """What the proxy was told of the caller; None without a proxy."""


class Certificates:
    """Authorities, and certificates for a server and a client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("openssl is not installed")
        self._openssl = openssl
        self._authority("ca")
        self._authority("other-ca")
        self._signed("server", f"subjectAltName=DNS:{NAME},IP:127.0.0.1")
        self._signed("alice", "extendedKeyUsage=clientAuth")
        self._signed("bob", "extendedKeyUsage=clientAuth")

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def _run(self, *words: str) -> None:
        subprocess.run([self._openssl, *words], check=True, capture_output=True, cwd=self.folder)

    def _authority(self, name: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        self._run("req", "-x509", "-days", "2", "-subj", f"/CN={name}", *key, "-out", f"{name}.crt")

    def _signed(self, name: str, extension: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        self._run("req", "-new", "-subj", f"/CN={name}", *key, "-out", f"{name}.csr")
        (self.folder / "extension").write_text(extension, encoding="utf-8")
        by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extension"]
        self._run("x509", "-req", "-in", f"{name}.csr", *by, "-out", f"{name}.crt")


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("://")[2].partition("/")
        whole = f"/{path[2]}" if path[2] else self.path
        prefix, found, _ = whole.partition(STREAM if STREAM in whole else PROBE)
        world = self.server.world
        authorization = self.headers.get("Authorization") or ""
        if found:
            certificate: dict[str, Any] = getattr(self.connection, "getpeercert", dict)() or {}
            names = [value for pairs in certificate.get("subject", ()) for key, value in pairs if key == "commonName"]
            proxy = world.tunnels.get(self.client_address[1])
            if self.server is world.forwarding:
                proxy = self.headers.get("Proxy-Authorization") or ""
            impersonated = [f"{key}: {value}".lower() for key, value in self.headers.items() if "Impersonate" in key]
            server_name = world.server_names.pop(self.client_address[1], "")
            seen = Seen(authorization, tuple(sorted(impersonated)), "".join(names), server_name, prefix, proxy)
            world.seen.append(seen)
        allowed = not found or world.takes is None or authorization in world.takes
        body = json.dumps(STATUS if allowed else {**STATUS, "status": "Failure", "code": 401}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _serve  # noqa: N815 - http.server's names

    def do_CONNECT(self) -> None:
        """Open a tunnel; whatever name is asked for, it leads to the API server."""
        world, login = self.server.world, self.headers.get("Proxy-Authorization") or ""
        if world.proxy_login is not None and login != world.proxy_login:
            self.send_response(407)
            self.end_headers()
            self.close_connection = True
            return
        self.send_response(200)
        self.end_headers()
        server = world.http if self.path.endswith(":80") else world.https
        with socket.create_connection(("127.0.0.1", server.server_port)) as onward:
            world.tunnels[onward.getsockname()[1]] = login
            threads = [
                threading.Thread(target=_pump, args=pair, daemon=True)
                for pair in ((self.connection, onward), (onward, self.connection))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.close_connection = True

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, world: "World", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Api)
        self.world, self._tls = world, tls
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @override
    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self._tls is None:
            return connection, address
        # The handshake is for the thread of the connection.
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go as they like."""


@dataclass
class World:
    """The servers, and what they saw."""

    certificates: Certificates
    seen: list[Seen] = field(default_factory=list[Seen])
    tunnels: dict[int, str] = field(default_factory=dict[int, str])
    server_names: dict[int, str] = field(default_factory=dict[int, str])
    proxy_login: str | None = None
    """What the proxy wants to hear; None if it lets everybody through."""
    takes: set[str] | None = None
    """Values of the header Authorization that are accepted; None for all."""

    def __post_init__(self) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificates.path("server.crt"), self.certificates.path("server.key"))
        tls.load_verify_locations(self.certificates.path("ca.crt"))
        tls.verify_mode = ssl.CERT_OPTIONAL
        tls.sni_callback = self._note_name
        self.https, self.http, self.forwarding = _Server(self, tls), _Server(self), _Server(self)

    def _note_name(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        del context
        self.server_names[connection.getpeername()[1]] = name or ""

    @property
    def https_url(self) -> str:
        return f"https://127.0.0.1:{self.https.server_port}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    @property
    def proxy(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.forwarding.server_port}"

    def begin(self) -> None:
        """Forget what was seen and set."""
        self.seen.clear()
        self.proxy_login = self.takes = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self.https, self.http, self.forwarding):
            server.shutdown()
            server.server_close()


def config(cluster: dict[str, Any], user: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a kubeconfig with one context, `c`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        **more,
    }


def plug_in(folder: Path, status: dict[str, Any], *, version: str = "v1", says: str = "", code: int = 0) -> str:
    """Write an exec plug-in that prints credentials; return its path."""
    kind = {"apiVersion": f"client.authentication.k8s.io/{version}", "kind": "ExecCredential", "status": status}
    path = folder / "plug-in"
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\ncat <<'END'\n{json.dumps(kind)}\nEND\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


def exec_user(command: str, **more: Any) -> dict[str, Any]:
    """Return a user of an exec plug-in."""
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never", **more}
    return {"exec": run}

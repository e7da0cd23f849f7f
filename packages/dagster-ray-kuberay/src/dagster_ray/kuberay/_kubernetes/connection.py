"""The connection to a Kubernetes cluster. The only module that imports kubernetes, and it does so when a step needs it.

Uses the official client's configuration, credentials and connection pool with paths and JSON of our own, so that
every version from 30 on behaves the same, and fields which its model classes do not know survive.
"""

# The official client has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import json
import os
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kubernetes.answers import error_of, is_transient, message_of, retry_seconds
from dagster_ray.kuberay._kubernetes.errors import (
    KubeconfigError,
    KubernetesAnswerError,
    ServerTimeUnknownError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.foreign_answers import foreign_answer
from dagster_ray.kuberay._kubernetes.kinds import PODS, Kind
from dagster_ray.kuberay._kubernetes.server_clock import ServerClock

if TYPE_CHECKING:
    from websocket import WebSocket

CONNECT_SECONDS = 5.0
_READ_SECONDS = 10.0
# A proxy that restarts shows a page once; one that wants a login always does.
_MOST_PAGES = 3
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_USER_AGENT = f"dagster-ray-kuberay/{version('dagster-ray-kuberay')}"
_PORT_FORWARD_PROTOCOL = "v4.channel.k8s.io"
_PORT_FORWARD = Kind("", "v1", "pods/portforward", "PodPortForwardOptions")


@dataclass(frozen=True, slots=True)
class Call:
    """One call, for the request and for errors."""

    verb: str
    """As a Role names it."""
    method: str
    kind: Kind
    namespace: str | None
    name: str | None = None
    subresource: str | None = None
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    content_type: str = "application/json"
    whole_path: str | None = None
    """The path of its URL, where it is no object's."""

    @property
    def form(self) -> str:
        """What the body of a success holds: `object`, `json` or `text`."""
        if self.subresource == "log":
            return "text"
        return "object" if self.whole_path is None else "json"

    @property
    def path(self) -> str:
        """The path of its URL, with the query."""
        if self.whole_path is not None:
            return self.whole_path
        tail = f"?{urlencode(self.query)}" if self.query else ""
        return self.kind.path(self.namespace, self.name, self.subresource) + tail


class KubernetesConnection:
    """One Kubernetes cluster, with one account: credentials, connections, and the server's clock."""

    def __init__(self, client: Any, namespace: str, *, in_cluster: bool, account: tuple[str, ...] = ()) -> None:
        """Take an ApiClient of the official library, which nobody else uses, and the account and its namespace."""
        self._client = client
        self._configuration = client.configuration
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._clock = ServerClock()
        self.namespace = namespace
        self.in_cluster = in_cluster
        self.server: str = self._configuration.host.rstrip("/")
        self.account = (self.server, *account)
        """What tells this account from others of this process: what is remembered of it belongs to it alone."""
        self.requests = 0
        """How many HTTP requests were sent."""
        self.unanswered_writes = 0
        """How many attempts to write got no final answer. Each of them may have been carried out."""

    @classmethod
    def load(cls, kubeconfig_file: str | None, context: str | None) -> "KubernetesConnection":
        """Return the cluster that the arguments, the pod or the environment name, in this order.

        Reads a kubeconfig as kubectl does (KUBECONFIG, ~/.kube/config) and runs its exec plug-ins. The official
        library's default configuration is neither read nor changed.

        Raises:
            KubeconfigError: There is none, or it cannot be read.
        """
        from kubernetes import client, config

        in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and _NAMESPACE_FILE.exists()
        in_cluster = in_pod and kubeconfig_file is None and context is None
        source = "the pod's service account" if in_cluster else f"the kubeconfig {kubeconfig_file or '(default)'}"
        configuration = client.Configuration()
        configuration.retries = False
        try:
            if in_cluster:
                config.load_incluster_config(client_configuration=configuration)
                namespace, account = _NAMESPACE_FILE.read_text(encoding="utf-8").strip(), ()
            else:
                config.load_kube_config(
                    kubeconfig_file, context, client_configuration=configuration, persist_config=False
                )
                namespace, account = _place_of(config, kubeconfig_file, context)
        except Exception as error:  # noqa: BLE001 - the loader raises whatever YAML, base64 and plug-ins raise
            # Texts of the loader may quote the file, which has credentials.
            reason = str(error) if isinstance(error, config.ConfigException) else type(error).__name__
            raise KubeconfigError(source, reason.splitlines()[0][:200] if reason else "unreadable") from None
        return cls(client.ApiClient(configuration), namespace, in_cluster=in_cluster, account=account)

    def request(self, call: Call, deadline: Deadline, name: str | None = None) -> bytes:
        """Send a call until it is answered for good; return the body of a success.

        Args:
            call: The call.
            deadline: Ends the attempts at answers that may change: 429, 5xx, resets, timeouts.
            name: The object's name for errors, where the path does not have it.

        Raises:
            UnavailableError: There was no other answer before the deadline.
            KubernetesAnswerError: Something else answered in the API server's place, three times.
            KubernetesError: The server refused.
        """
        import urllib3

        name = call.name or name
        attempt, pages, retry_after = 0, 0, None
        while True:
            attempt += 1
            seconds = max(0.1, min(_READ_SECONDS, deadline.remaining_seconds()))
            timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
            page = None
            try:
                response = self.send(call, timeout, preload=True)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if isinstance(error, urllib3.exceptions.SSLError):
                    raise KubeconfigError(self.server, "its TLS certificate is not accepted") from None
                status, last, retry_after = 0, type(error).__name__, None
            else:
                status, page = response.status, _page_of(response, call.form)
                if page is None and 200 <= status < 300:
                    return response.data
                if page is None and not is_transient(status):
                    raise error_of(call.verb, call.kind, call.namespace, name, status=status, body=response.data)
                retry_after = response.headers.get("Retry-After")
                last = page or f"{status} {message_of(response.data)}"
            self.unanswered_writes += call.method != "GET"
            is_foreign = page is not None and not is_transient(status)
            pages += is_foreign
            failed = (call.verb, call.kind.resource, call.namespace, name, status, last)
            if pages >= _MOST_PAGES:
                raise KubernetesAnswerError(*failed)
            if not deadline.sleep(retry_seconds(attempt, retry_after, self._rng)):
                raise KubernetesAnswerError(*failed) if is_foreign else UnavailableError(*failed, attempt)

    def send(self, call: Call, timeout: Any, *, preload: bool) -> Any:
        """Send a call once; return the response of urllib3, whatever its status."""
        headers = {"Accept": "application/json", "User-Agent": _USER_AGENT, **self._auth_headers()}
        body = None
        if call.subresource == "log":
            headers["Accept"] = "*/*"
        if call.body is not None:
            headers["Content-Type"] = call.content_type
            body = json.dumps(call.body).encode()
        self.requests += 1
        response = self._client.rest_client.pool_manager.request(
            call.method,
            self.server + call.path,
            body=body,
            headers=headers,
            timeout=timeout,
            preload_content=preload,
            retries=False,
            redirect=False,
        )
        self._clock.heard(response.headers.get("Date"))
        return response

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> "WebSocket":
        """Return a websocket that carries one port of a pod (subprotocol v4.channel.k8s.io).

        Raises:
            KubernetesError: The API server refused.
            OSError: It could not be reached, or the pod has no such stream now.
        """
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

        call = Call("create", "GET", PODS, namespace, pod, "portforward", {"ports": str(port)})
        base = urlsplit(self.server)
        url = f"{'wss' if base.scheme == 'https' else 'ws'}://{base.netloc}{base.path}{call.path}"
        socket = WebSocket(sslopt=self._tls_options(base.scheme), skip_utf8_validation=True)
        self.requests += 1
        redirect: tuple[int, str] | None = None
        try:
            socket.connect(
                url,
                header={**self._auth_headers(), "User-Agent": _USER_AGENT},
                subprotocols=[_PORT_FORWARD_PROTOCOL],
                timeout=timeout_seconds,
                redirect_limit=0,  # the credentials would go along
                **self._proxy_options(),
            )
            redirect = _redirect_of(socket)  # some versions of the library take it for a stream
        except WebSocketBadStatusException as error:
            socket.close()
            body = error.resp_body if isinstance(error.resp_body, bytes) else b""
            raise _stream_error(namespace, pod, int(error.status_code or 0), body) from None
        except WebSocketException as error:
            socket.close()
            redirect = _redirect_of(socket)
            if redirect is None:
                raise OSError(type(error).__name__) from None
        except BaseException:
            socket.close()
            raise
        if redirect is not None:
            socket.close()
            raise KubernetesAnswerError("create", _PORT_FORWARD.resource, namespace, pod, *redirect)
        socket.settimeout(None)
        return socket

    def server_time(self) -> datetime:
        """Return the API server's time now, as its last answer and the seconds since tell it.

        Raises:
            ServerTimeUnknownError: No answer has told it yet.
        """
        now = self._clock.now()
        if now is None:
            raise ServerTimeUnknownError(self.server)
        return now

    def close(self) -> None:
        """Close all idle connections."""
        self._client.rest_client.pool_manager.clear()

    def _auth_headers(self) -> dict[str, str]:
        """Return the credentials; the official client renews them here when they expire."""
        settings = self._configuration.auth_settings()
        return {item["key"]: item["value"] for item in settings.values() if item["in"] == "header" and item["value"]}

    def _tls_options(self, scheme: str) -> dict[str, Any]:
        settings = self._configuration
        if scheme != "https" or not settings.verify_ssl:
            options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
        else:
            options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": settings.ssl_ca_cert}
            if settings.assert_hostname is not None:
                options["check_hostname"] = settings.assert_hostname
        more = {"certfile": settings.cert_file, "keyfile": settings.key_file}
        more["server_hostname"] = getattr(settings, "tls_server_name", None)
        return options | {key: value for key, value in more.items() if value}

    def _proxy_options(self) -> dict[str, Any]:
        if not self._configuration.proxy:
            return {}
        proxy = urlsplit(self._configuration.proxy)
        return {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "proxy_type": proxy.scheme}


def _page_of(response: Any, form: str) -> str | None:
    """Return what has answered in the place of the API server; None if it may be the server itself."""
    return foreign_answer(
        response.status,
        response.data,
        content_type=response.headers.get("Content-Type") or "",
        location=response.headers.get("Location"),
        form=form,
    )


def _stream_error(namespace: str, pod: str, status: int, body: bytes) -> Exception:
    """Return the error for an answer that is no stream."""
    if is_transient(status):
        return OSError(f"{status} from the API server")
    page = foreign_answer(status, body)
    if page is not None:
        return KubernetesAnswerError("create", _PORT_FORWARD.resource, namespace, pod, status, page)
    return error_of("create", _PORT_FORWARD, namespace, pod, status=status, body=body)


def _redirect_of(socket: "WebSocket") -> tuple[int, str] | None:
    """Return status and description of the redirect that answered a websocket's greeting; None if nothing did."""
    answer = socket.handshake_response
    if answer is None or not 300 <= answer.status < 400:
        return None
    page = foreign_answer(answer.status, b"", location=answer.headers.get("location"))
    return None if page is None else (answer.status, page)


def _place_of(config: Any, kubeconfig_file: str | None, context: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the namespace of the kubeconfig's context, and what tells its account from others."""
    contexts, current = config.list_kube_config_contexts(config_file=kubeconfig_file)
    chosen = current if context is None else next((item for item in contexts if item["name"] == context), current)
    names = (kubeconfig_file or os.environ.get("KUBECONFIG") or "", at(chosen, "name"), at(chosen, "context", "user"))
    return str(at(chosen, "context", "namespace") or "default"), tuple(str(name) for name in names)

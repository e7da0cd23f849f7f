"""Calls of the Kubernetes API. The only module that imports kubernetes, and it does so when a step needs it.

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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from dagster_ray.core import Deadline
from dagster_ray.kuberay._kinds import PODS, Kind
from dagster_ray.kuberay._kubernetes_answers import error_of, is_transient, message_of, parsed, retry_seconds
from dagster_ray.kuberay._kubernetes_errors import KubeconfigError, NotFoundError, UnavailableError
from dagster_ray.kuberay._manifest_fields import at, mappings

if TYPE_CHECKING:
    from websocket import WebSocket

    from dagster_ray.kuberay._watch_stream import WatchStream

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_USER_AGENT = f"dagster-ray-kuberay/{version('dagster-ray-kuberay')}"
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 10.0
# A watch ends by itself after this time; a silence that is longer is a dead connection.
_WATCH_SECONDS = 240
_SILENCE_SECONDS = 300.0
_PORT_FORWARD_PROTOCOL = "v4.channel.k8s.io"


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects that a selection matches."""

    items: list[dict[str, Any]]
    resource_version: str


@dataclass(frozen=True, slots=True)
class _Call:
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

    @property
    def path(self) -> str:
        tail = f"?{urlencode(self.query)}" if self.query else ""
        return self.kind.path(self.namespace, self.name, self.subresource) + tail


class KubernetesApi:
    """One Kubernetes cluster, with one account.

    Every call takes a deadline. Answers that may change (429, 5xx, resets, timeouts) are tried again until then and
    end in `UnavailableError`; all others are a `KubernetesError` at once.
    """

    def __init__(self, client: Any, namespace: str, *, in_cluster: bool) -> None:
        """Take an ApiClient of the official library, which nobody else uses, and the account's namespace."""
        self._client = client
        self._configuration = client.configuration
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self.namespace = namespace
        self.in_cluster = in_cluster
        self.server: str = self._configuration.host.rstrip("/")
        self.requests = 0
        """How many HTTP requests were sent."""

    @classmethod
    def load(cls, kubeconfig_file: str | None = None, context: str | None = None) -> "KubernetesApi":
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
                namespace = _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
            else:
                config.load_kube_config(
                    kubeconfig_file, context, client_configuration=configuration, persist_config=False
                )
                namespace = _namespace_of(config, kubeconfig_file, context)
        except Exception as error:  # noqa: BLE001 - the loader raises whatever YAML, base64 and plug-ins raise
            # Texts of the loader may quote the file, which has credentials.
            reason = str(error) if isinstance(error, config.ConfigException) else type(error).__name__
            raise KubeconfigError(source, reason.splitlines()[0][:200] if reason else "unreadable") from None
        return cls(client.ApiClient(configuration), namespace, in_cluster=in_cluster)

    def create(
        self, kind: Kind, namespace: str, body: Mapping[str, Any], deadline: Deadline, *, strict: bool = True
    ) -> dict[str, Any]:
        """POST an object.

        A POST whose answer was lost is sent again, so that `ConflictError` may mean that the first one succeeded; the
        caller compares.

        Args:
            kind: The kind of object.
            namespace: Its namespace.
            body: The manifest, with `metadata.name`.
            deadline: Ends the attempts.
            strict: Whether a field that the server does not know is an `InvalidObjectError`.
        """
        name = at(body, "metadata", "name")
        query = {"fieldValidation": "Strict" if strict else "Warn"}
        call = _Call("create", "POST", kind, namespace, query=query, body=body)
        return dict(parsed(self._request(call, deadline, str(name))))

    def get(self, kind: Kind, namespace: str, name: str, deadline: Deadline) -> dict[str, Any]:
        """Return an object."""
        return dict(parsed(self._request(_Call("get", "GET", kind, namespace, name), deadline)))

    def list(
        self,
        kind: Kind,
        namespace: str | None,
        deadline: Deadline,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page: int = 500,
    ) -> Listing:
        """Return all objects of a namespace (None: of all namespaces) that the selectors match, page by page."""
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        query = {key: value for key, value in selectors.items() if value is not None} | {"limit": str(page)}
        items: list[dict[str, Any]] = []
        while True:
            answer = parsed(self._request(_Call("list", "GET", kind, namespace, query=query), deadline))
            items += [dict(item) for item in mappings(answer.get("items"))]
            more = at(answer, "metadata", "continue")
            if not more:
                return Listing(items, str(at(answer, "metadata", "resourceVersion") or ""))
            query = {**query, "continue": str(more)}

    def patch(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Send a merge patch; return the object. Sending one twice does the same as once."""
        call = _Call("patch", "PATCH", kind, namespace, name, body=body, content_type="application/merge-patch+json")
        return dict(parsed(self._request(call, deadline)))

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        deadline: Deadline,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str = "Background",
    ) -> bool:
        """Delete an object if it is the one that is meant; return False if it was gone already.

        Raises:
            ConflictError: Another object has the name, or it has changed since `resource_version`.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {key: value for key, value in wanted.items() if value is not None}
        body: dict[str, Any] = {"propagationPolicy": propagation}
        if preconditions:
            body["preconditions"] = preconditions
        try:
            self._request(_Call("delete", "DELETE", kind, namespace, name, body=body), deadline)
        except NotFoundError:
            return False
        return True

    def watch(
        self,
        kind: Kind,
        namespace: str,
        *,
        name: str | None = None,
        label_selector: str | None = None,
        resource_version: str | None = None,
    ) -> "WatchStream":
        """Watch one object or a selection, from a resourceVersion on or else beginning with a list.

        Args:
            kind: The kind of object.
            namespace: Its namespace.
            name: Only this object.
            label_selector: Only these objects.
            resource_version: Where to start, for example that of the answer to a POST.
        """
        from dagster_ray.kuberay._watch_stream import Selection, WatchStream

        field_selector = None if name is None else f"metadata.name={name}"
        return WatchStream(self, Selection(kind, namespace, label_selector, field_selector), resource_version)

    def pod_log(
        self,
        namespace: str,
        pod: str,
        deadline: Deadline,
        *,
        container: str | None = None,
        previous: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int = 65536,
    ) -> str:
        """Return the last lines of a container's log; of its previous run if asked."""
        query = {"limitBytes": str(limit_bytes)}
        if container is not None:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        body = self._request(_Call("get", "GET", PODS, namespace, pod, "log", query), deadline)
        return body.decode(errors="replace").rstrip()

    def open_watch(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> Any:
        """Send one watch request; return the open response of urllib3, or raise as other calls do.

        OSError and urllib3's HTTPError mean that it may be tried again. `WatchStream` calls this.
        """
        import urllib3

        full = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        call = _Call("watch", "GET", kind, namespace, query=full)
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_SILENCE_SECONDS)
        response = self._send(call, timeout, preload=False)
        if response.status == 200:
            return response
        body = response.read(65536)
        response.close()
        if is_transient(response.status):
            raise OSError(f"{response.status} {message_of(body)}")
        raise error_of("watch", kind, namespace, None, status=response.status, body=body)

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> "WebSocket":
        """Return a websocket that carries one port of a pod (subprotocol v4.channel.k8s.io).

        Raises:
            KubernetesError: The API server refused.
            OSError: It could not be reached, or the pod has no such stream now.
        """
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

        call = _Call("create", "GET", PODS, namespace, pod, "portforward", {"ports": str(port)})
        base = urlsplit(self.server)
        url = f"{'wss' if base.scheme == 'https' else 'ws'}://{base.netloc}{base.path}{call.path}"
        socket = WebSocket(sslopt=self._tls_options(base.scheme), skip_utf8_validation=True)
        self.requests += 1
        try:
            socket.connect(
                url,
                header={**self._auth_headers(), "User-Agent": _USER_AGENT},
                subprotocols=[_PORT_FORWARD_PROTOCOL],
                timeout=timeout_seconds,
                **self._proxy_options(),
            )
        except WebSocketBadStatusException as error:
            socket.close()
            status = int(error.status_code or 0)
            if is_transient(status):
                raise OSError(f"{status} from the API server") from None
            body = error.resp_body if isinstance(error.resp_body, bytes) else b""
            raise error_of("create", _PORT_FORWARD, namespace, pod, status=status, body=body) from None
        except WebSocketException as error:
            socket.close()
            raise OSError(type(error).__name__) from None
        except BaseException:
            socket.close()
            raise
        socket.settimeout(None)
        return socket

    def close(self) -> None:
        """Close all idle connections."""
        self._client.rest_client.pool_manager.clear()

    # Inside

    def _request(self, call: _Call, deadline: Deadline, name: str | None = None) -> bytes:
        """Send a call until it is answered for good."""
        import urllib3

        attempt, status, last, retry_after = 0, 0, "", None
        while True:
            attempt += 1
            seconds = max(0.5, min(_READ_SECONDS, deadline.remaining_seconds()))
            timeout = urllib3.Timeout(connect=min(_CONNECT_SECONDS, seconds), read=seconds)
            try:
                response = self._send(call, timeout, preload=True)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if isinstance(error, urllib3.exceptions.SSLError):
                    raise KubeconfigError(self.server, "its TLS certificate is not accepted") from None
                status, last, retry_after = 0, type(error).__name__, None
            else:
                if 200 <= response.status < 300:
                    return response.data
                if not is_transient(response.status):
                    name = call.name or name
                    raise error_of(
                        call.verb, call.kind, call.namespace, name, status=response.status, body=response.data
                    )
                status, retry_after = response.status, response.headers.get("Retry-After")
                last = f"{status} {message_of(response.data)}"
            if not deadline.sleep(retry_seconds(attempt, retry_after, self._rng)):
                resource = call.kind.resource
                raise UnavailableError(call.verb, resource, call.namespace, call.name or name, status, last, attempt)

    def _send(self, call: _Call, timeout: Any, *, preload: bool) -> Any:
        headers = {"Accept": "application/json", "User-Agent": _USER_AGENT, **self._auth_headers()}
        body = None
        if call.subresource == "log":
            headers["Accept"] = "*/*"
        if call.body is not None:
            headers["Content-Type"] = call.content_type
            body = json.dumps(call.body).encode()
        self.requests += 1
        return self._client.rest_client.pool_manager.request(
            call.method,
            self.server + call.path,
            body=body,
            headers=headers,
            timeout=timeout,
            preload_content=preload,
            retries=False,
            redirect=False,
        )

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


_PORT_FORWARD = Kind("", "v1", "pods/portforward", "PodPortForwardOptions")


def _namespace_of(config: Any, kubeconfig_file: str | None, context: str | None) -> str:
    """Return the namespace of the kubeconfig's context."""
    contexts, current = config.list_kube_config_contexts(config_file=kubeconfig_file)
    chosen = current if context is None else next((item for item in contexts if item["name"] == context), current)
    return str(at(chosen, "context", "namespace") or "default")

"""One Kubernetes API server, as one account: credentials as they are now, retries, and the server's clock.

Paths and JSON are our own, so that fields which the model classes of the official client do not know survive.
"""

# urllib3's responses come untyped from the Kubernetes client; websocket-client is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import logging
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from dagster_ray.core import Deadline, SocketLimit
from dagster_ray.kuberay._kubernetes.answers import error_of, foreign_answer, is_transient, message_of, retry_seconds
from dagster_ray.kuberay._kubernetes.credentials import Credential, Credentials
from dagster_ray.kuberay._kubernetes.errors import (
    CredentialsError,
    ExecPluginError,
    KubeconfigError,
    KubernetesAnswerError,
    ServerTimeUnknownError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.fields import Manifest, json_of, mapping
from dagster_ray.kuberay._kubernetes.kinds import PODS, Call, Kind
from dagster_ray.kuberay._kubernetes.kubeconfig import Settings
from dagster_ray.kuberay._kubernetes.kubeconfig_files import is_in_pod, pod_settings, read_settings
from dagster_ray.kuberay._kubernetes.proxies import proxy_for
from dagster_ray.kuberay._kubernetes.transport import ProxyRefusedError, ServerClock, Transport, distrust, proxy_refusal

if TYPE_CHECKING:
    from websocket import WebSocket

CONNECT_SECONDS = 5.0
_READ_SECONDS = 10.0
# A proxy that restarts shows a page once; one that wants a login always does.
_MOST_PAGES = 3
_USER_AGENT = f"dagster-ray-kuberay/{version('dagster-ray-kuberay')}"
_PORT_FORWARD_PROTOCOL = "v4.channel.k8s.io"
_PORT_FORWARD = Kind("", "v1", "pods/portforward", "PodPortForwardOptions")

_log = logging.getLogger("dagster_ray")
_warned_of: set[str] = set()


class KubernetesConnection:
    """One Kubernetes cluster, with one account: credentials, connections, and the server's clock."""

    def __init__(self, settings: Settings, load: Callable[[], Settings] | None = None, *, in_cluster: bool) -> None:
        """Connect to nothing yet.

        Args:
            settings: The API server and the account.
            load: Loads them again, when credentials may have changed.
            in_cluster: Whether they are those of the pod that this process runs in.

        Raises:
            KubeconfigError: The proxy is of a kind that is not supported.
        """
        self._settings = settings
        self._proxy = proxy_for(settings.server, settings.proxy_url, os.environ, settings.source)
        self.credentials = Credentials(settings, load or (lambda: settings))
        self._lock = threading.Lock()
        self._transport: tuple[tuple[str, str], Transport] | None = None
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._clock = ServerClock()
        self.namespace, self.server, self.in_cluster = settings.namespace, settings.server, in_cluster
        self.account = (settings.server, settings.source, settings.context, settings.user_name, str(hash(settings)))
        """What tells this account from others of this process: what is remembered of it belongs to it alone."""
        self.requests = 0
        """How many HTTP requests were sent."""
        self.unanswered_writes = 0
        """How many attempts to write got no final answer. Each of them may have been carried out."""

    @classmethod
    def load(cls, kubeconfig_file: str | None, context: str | None) -> "KubernetesConnection":
        """Return the cluster that the arguments, the pod or the environment name, in this order.

        Reads a kubeconfig as kubectl does. Nothing is run and nobody is asked yet. The official library's default
        configuration is neither read nor changed.

        Raises:
            KubeconfigError: There is none, or it cannot be used.
        """
        if kubeconfig_file is None and context is None and is_in_pod():
            return cls(pod_settings(), pod_settings, in_cluster=True)
        settings = read_settings(kubeconfig_file, context)
        if settings.insecure and settings.server not in _warned_of:
            _warned_of.add(settings.server)
            _log.warning(
                "The certificate of the API server %s is not checked, because %s sets insecure-skip-tls-verify.",
                settings.server,
                settings.source,
            )
        # By the name of the context: a later `kubectl config use-context` is not meant for this step.
        return cls(settings, lambda: read_settings(kubeconfig_file, settings.context), in_cluster=False)

    def request(self, call: Call, deadline: Deadline, name: str | None = None) -> Manifest:
        """Send a call until it is answered for good; return the JSON object of a success.

        Args:
            call: The call.
            deadline: Ends the attempts at answers that may change: 429, 5xx, resets, timeouts.
            name: The object's name for errors, where the path does not have it.

        Raises:
            UnavailableError: There was no other answer before the deadline.
            KubernetesAnswerError: Something else answered in the API server's place, three times.
            CredentialsError, ExecPluginError: There are no credentials.
            KubernetesError: The server refused.
        """
        return mapping(self._answered(call, deadline, name).read)

    def request_text(self, call: Call, deadline: Deadline) -> bytes:
        """Return the body of a success as it is; raises as `request` does."""
        return self._answered(call, deadline).body

    def _answered(self, call: Call, deadline: Deadline, name: str | None = None) -> "_Success":
        name, attempt, pages = call.name or name, 0, 0
        while True:
            attempt += 1
            found = self._attempt(call, name, deadline, is_first=attempt == 1)
            if isinstance(found, _Success):
                return found
            self.unanswered_writes += call.method != "GET"
            pages += found.is_foreign
            failed = (call.verb, call.kind.resource, call.namespace, name, found.status, found.words)
            if pages >= _MOST_PAGES:
                raise KubernetesAnswerError(*failed)
            if not deadline.sleep(retry_seconds(attempt, found.retry_after, self._rng)):
                if found.error is not None:
                    raise found.error
                raise KubernetesAnswerError(*failed) if found.is_foreign else UnavailableError(*failed, attempt)

    def send(self, call: Call, timeout: Any, *, preload: bool, deadline: Deadline | None = None) -> Any:
        """Send a call; return the response of urllib3, whatever its status.

        After a 401 the credentials are loaded once more; if they have changed, the call is sent again.

        Raises:
            CredentialsError, ExecPluginError: There are no credentials.
        """
        deadline = deadline or Deadline(_READ_SECONDS)
        credential = self.credentials.current(deadline)
        response = self._send(call, timeout, credential, preload=preload)
        if response.status == 401:
            renewed = self.credentials.renewed(credential, deadline)
            if renewed is not None:
                response.close()
                response = self._send(call, timeout, renewed, preload=preload)
        return response

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> "WebSocket":
        """Return a websocket that carries one port of a pod (subprotocol v4.channel.k8s.io).

        Raises:
            KubernetesError: The API server refused.
            CredentialsError, ExecPluginError: There are no credentials.
            OSError: It could not be reached, or the pod has no such stream now.
        """
        deadline = Deadline(timeout_seconds)
        call = Call("create", "GET", PODS, namespace, pod, "portforward", {"ports": str(port)})
        with SocketLimit(timeout_seconds):
            credential = self.credentials.current(deadline)
            found = self._greet(call, credential, deadline)
            if isinstance(found, _Refused) and found.status == 401:
                renewed = self.credentials.renewed(credential, deadline)
                found = found if renewed is None else self._greet(call, renewed, deadline)
        if isinstance(found, _Refused):
            raise self._stream_error(namespace, pod, found)
        return found

    def server_time(self) -> datetime:
        """Return the API server's time now, as its last answer and the seconds since tell it.

        Raises:
            ServerTimeUnknownError: No answer has told it yet.
        """
        if (now := self._clock.now()) is None:
            raise ServerTimeUnknownError(self.server)
        return now

    def close(self) -> None:
        """Close all idle connections, and end an exec plug-in that still runs."""
        self.credentials.close()
        with self._lock:
            found, self._transport = self._transport, None
        if found is not None:
            found[1].close()

    def _attempt(self, call: Call, name: str | None, deadline: Deadline, *, is_first: bool) -> "_Success | _Unanswered":
        """Send a call once; return its success, or what came instead of an answer for good."""
        import urllib3

        seconds = max(0.1, min(_READ_SECONDS, deadline.remaining_seconds()))
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds)
        try:
            with SocketLimit(max(seconds, deadline.remaining_seconds())):
                response = self.send(call, timeout, preload=True, deadline=deadline)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return self._without_answer(error, is_first=is_first)
        except (CredentialsError, ExecPluginError) as error:
            if not self.credentials.have_worked:
                raise
            return _Unanswered(0, error.problem, error=error)
        status, passes = response.status, is_transient(response.status)
        succeeded = 200 <= status < 300
        read = json_of(response.data) if succeeded and call.form != "text" else None  # once: it may have megabytes
        page = foreign_answer(
            status,
            response.data,
            content_type=response.headers.get("Content-Type") or "",
            location=response.headers.get("Location"),
            form=call.form,
            read=read,
        )
        if page is None and succeeded:
            return _Success(response.data, read)
        if page is None and not passes:
            raise error_of(call.verb, call.kind, call.namespace, name, status=status, body=response.data)
        words = page or f"{status} {message_of(response.data)}"
        return _Unanswered(status, words, response.headers.get("Retry-After"), is_foreign=not passes)

    def _send(self, call: Call, timeout: Any, credential: Credential, *, preload: bool) -> Any:
        import urllib3

        headers = urllib3.HTTPHeaderDict()
        for name, value in self._headers(credential):
            headers.add(name, value.encode().decode("latin-1"))  # http.client's encoding: the bytes stay UTF-8
        headers["Accept"] = "*/*" if call.form == "text" else call.accept
        body = None
        if call.body is not None:
            headers["Content-Type"] = call.content_type
            body = json.dumps(call.body).encode()
        transport = self._transport_of(credential)
        self.requests += 1
        try:
            response = transport.pool.urlopen(
                call.method,
                self.server + call.path,
                body=body,
                headers=headers,
                timeout=timeout,
                preload_content=preload,
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - http.client quotes headers that it does not like
            advice = "remove control characters from the namespace, from names, and from `as` of the kubeconfig"
            raise KubeconfigError(self.server, f"a request cannot be sent ({type(error).__name__})", advice) from None
        self._clock.heard(response.headers.get("Date"))
        return response

    def _greet(self, call: Call, credential: Credential, deadline: Deadline) -> "WebSocket | _Refused":
        """Return an open websocket, or what was answered instead."""
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

        base = urlsplit(self.server)
        url = f"{'wss' if base.scheme == 'https' else 'ws'}://{base.netloc}{base.path}{call.path}"
        websocket = WebSocket(skip_utf8_validation=True)
        transport = self._transport_of(credential)
        self.requests += 1
        redirect: _Refused | None = None
        try:
            opened = transport.open_socket(max(0.1, deadline.remaining_seconds()))
            websocket.sock = opened  # closed with it, whatever happens
            websocket.connect(
                url,
                socket=opened,
                header=[f"{name}: {value}" for name, value in self._headers(credential)],
                subprotocols=[_PORT_FORWARD_PROTOCOL],
                redirect_limit=0,  # the credentials would go along
            )
            redirect = _redirect_of(websocket)  # some versions of the library take it for a stream
        except ProxyRefusedError as error:
            websocket.close()
            return _Refused(error.status, by_proxy=True)
        except WebSocketBadStatusException as error:
            websocket.close()
            return _refusal_of(error)
        except WebSocketException as error:
            websocket.close()
            redirect = _redirect_of(websocket)
            if redirect is None:
                raise OSError(type(error).__name__) from None
        except BaseException:
            websocket.close()
            raise
        if redirect is not None:
            websocket.close()
            return redirect
        websocket.settimeout(None)
        return websocket

    def _headers(self, credential: Credential) -> list[tuple[str, str]]:
        """Return who calls; a name may come several times."""
        authorization = [("Authorization", credential.authorization)] if credential.authorization else []
        return [("User-Agent", _USER_AGENT), *authorization, *self._settings.user.impersonate]

    def _transport_of(self, credential: Credential) -> Transport:
        """Return connections with the certificate of some credentials; those with another one are given up."""
        wanted = (credential.certificate, credential.key)
        with self._lock:
            known = self._transport
            if known is not None and known[0] == wanted:
                return known[1]
            made = Transport(self._settings, self._proxy, credential)
            self._transport = (wanted, made)
        if known is not None:
            known[1].close()
        return made

    def _without_answer(self, error: Exception, *, is_first: bool) -> "_Unanswered":
        """Return what an error of the connection says.

        Raises:
            KubeconfigError: The server's certificate is not accepted.
        """
        why, status = distrust(error), proxy_refusal(error)
        if why is not None:
            if not (is_first and self._settings.ca_file):
                advice = "let certificate-authority of the kubeconfig name the CA that signed the server's certificate"
                raise KubeconfigError(self.server, f"its TLS certificate is not accepted: {why}", advice) from None
            with self._lock:  # the file may hold a new authority by now
                self._transport = None
        if status is not None:
            return _Unanswered(status, self._words_of_proxy(status), is_foreign=not is_transient(status))
        cause = error if isinstance(error, TimeoutError) else error.__cause__  # urllib3's texts name objects
        return _Unanswered(0, str(cause) if isinstance(cause, TimeoutError) else type(error).__name__)

    def _words_of_proxy(self, status: int) -> str:
        return f"{status} from the proxy {self._proxy.address if self._proxy is not None else ''}"

    def _stream_error(self, namespace: str, pod: str, refused: "_Refused") -> Exception:
        """Return the error for an answer that is no stream."""
        if is_transient(refused.status):
            return OSError(f"{refused.status} from {'the proxy' if refused.by_proxy else 'the API server'}")
        page = foreign_answer(refused.status, refused.body, location=refused.location)
        if refused.by_proxy:
            page = self._words_of_proxy(refused.status)
        if page is not None:
            return KubernetesAnswerError("create", _PORT_FORWARD.resource, namespace, pod, refused.status, page)
        return error_of("create", _PORT_FORWARD, namespace, pod, status=refused.status, body=refused.body)


class _Success(NamedTuple):
    """A body, and what it holds as JSON if it is no text."""

    body: bytes
    read: object


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """What came instead of an answer for good; the call may be sent again."""

    status: int
    words: str
    retry_after: str | None = None
    is_foreign: bool = False
    """Whether something else answered in the API server's place."""
    error: Exception | None = None
    """What is raised if it stays like this; None for an error about the server."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """What was answered to a websocket's greeting, instead of a stream."""

    status: int
    body: bytes = b""
    location: str | None = None
    by_proxy: bool = False


def _refusal_of(error: Any) -> _Refused:
    """Return what a WebSocketBadStatusException says."""
    body = getattr(error, "resp_body", None)  # older versions do not keep it, nor know 307 and 308 as redirects
    location = (error.resp_headers or {}).get("location")
    return _Refused(int(error.status_code or 0), body if isinstance(body, bytes) else b"", location)


def _redirect_of(websocket: "WebSocket") -> _Refused | None:
    """Return the redirect that answered a websocket's greeting; None if nothing did."""
    answer = websocket.handshake_response
    if answer is None or not 300 <= answer.status < 400:
        return None
    return _Refused(answer.status, location=answer.headers.get("location"))

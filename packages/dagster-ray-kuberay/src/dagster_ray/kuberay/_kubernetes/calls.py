"""Calls of the Kubernetes API, as the backend needs them."""

# urllib3's responses come untyped from the Kubernetes client.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from dagster_ray.core import DagsterRayError, Deadline, SocketLimit
from dagster_ray.kuberay._kubernetes.answers import Listing, error_of, foreign_answer, is_transient, message_of
from dagster_ray.kuberay._kubernetes.connection import CONNECT_SECONDS, KubernetesConnection
from dagster_ray.kuberay._kubernetes.errors import CredentialsError, ExecPluginError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._kubernetes.kinds import ACCESS_REVIEWS, PODS, RULES_REVIEWS, Call, Kind
from dagster_ray.kuberay._kubernetes.watch import WatchUnavailableError
from dagster_ray.kuberay._kubernetes.watch_stream import Selection, WatchStream, socket_of

if TYPE_CHECKING:
    from websocket import WebSocket

Deletion: TypeAlias = Literal["deleted", "going", "gone"]
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
# A watch ends by itself after this time; a silence that is longer is a dead connection.
_WATCH_SECONDS = 240
_SILENCE_SECONDS = 300.0
# The API server sends the headers of a watch at once, whatever there is to report.
_WATCH_HEADERS_SECONDS = 10.0
# What container runtimes write of a line at once, and the kubelet counts as a line.
_LOG_LINE_BYTES = 16_384


class KubernetesApi:
    """One Kubernetes cluster, with one account.

    Every call takes a deadline. Answers that may change (429, 5xx, resets, timeouts) are tried again until then and
    end in `UnavailableError`; all others are a `KubernetesError` at once.
    """

    def __init__(self, connection: KubernetesConnection) -> None:
        """Take a connection, which nobody else uses."""
        self._connection = connection
        self.namespace = connection.namespace
        self.in_cluster = connection.in_cluster
        self.server = connection.server
        self.account = connection.account
        """What tells this account from others of this process: what is remembered of it belongs to it alone."""

    @classmethod
    def load(cls, kubeconfig_file: str | None = None, context: str | None = None) -> "KubernetesApi":
        """Return the cluster that the arguments, the pod or the environment name, in this order.

        Raises:
            KubeconfigError: There is none, or it cannot be read.
        """
        return cls(KubernetesConnection.load(kubeconfig_file, context))

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent."""
        return self._connection.requests

    @property
    def unanswered_writes(self) -> int:
        """How many attempts to write got no final answer. Each of them may have been carried out."""
        return self._connection.unanswered_writes

    def server_time(self) -> datetime:
        """Return the API server's time now, as its last answer and the seconds since tell it.

        Raises:
            ServerTimeUnknownError: No answer has told it yet.
        """
        return self._connection.server_time()

    def create(
        self,
        kind: Kind,
        namespace: str,
        body: Mapping[str, Any],
        deadline: Deadline,
        *,
        strict: bool = True,
        dry_run: bool = False,
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
            dry_run: Whether the server only tries it, admission included, and keeps nothing.
        """
        name = at(body, "metadata", "name")
        query = {"fieldValidation": "Strict" if strict else "Warn", **({"dryRun": "All"} if dry_run else {})}
        call = Call("create", "POST", kind, namespace, query=query, body=body)
        return dict(self._connection.request(call, deadline, str(name)))

    def review_rules(self, namespace: str, deadline: Deadline) -> Mapping[str, Any]:
        """Return what the server knows of the account's rules in a namespace: `status` of a SelfSubjectRulesReview."""
        body = {"kind": RULES_REVIEWS.kind, "apiVersion": "authorization.k8s.io/v1", "spec": {"namespace": namespace}}
        call = Call("create", "POST", RULES_REVIEWS, None, body=body)
        return mapping(self._connection.request(call, deadline).get("status"))

    def may(self, verb: str, group: str, resource: str, namespace: str, deadline: Deadline) -> bool:
        """Return whether the account has a right, by a SelfSubjectAccessReview; `resource` as in `pods/log`.

        Without a namespace: whether it has the right in all of them.
        """
        plural, _, part = resource.partition("/")
        wanted = {"verb": verb, "group": group, "resource": plural, "subresource": part, "namespace": namespace}
        spec = {"resourceAttributes": {key: value for key, value in wanted.items() if value}}
        body = {"kind": ACCESS_REVIEWS.kind, "apiVersion": "authorization.k8s.io/v1", "spec": spec}
        call = Call("create", "POST", ACCESS_REVIEWS, None, body=body)
        return at(self._connection.request(call, deadline), "status", "allowed") is True

    def read(self, path: str, deadline: Deadline) -> Mapping[str, Any]:
        """Return what the server says of itself at a path, such as `/version`.

        Raises:
            KindNotInstalledError: It has no such path.
        """
        call = Call("get", "GET", Kind("", "", path.strip("/"), ""), None, whole_path=path)
        return self._connection.request(call, deadline)

    def get(self, kind: Kind, namespace: str, name: str, deadline: Deadline) -> dict[str, Any]:
        """Return an object."""
        return dict(self._connection.request(Call("get", "GET", kind, namespace, name), deadline))

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
        items: list[dict[str, Any]] = []
        more: str | None = None
        while True:
            found = self.list_page(
                kind,
                namespace,
                deadline,
                label_selector=label_selector,
                field_selector=field_selector,
                page=page,
                more=more,
            )
            items += found.items
            more = found.more
            if more is None:
                return Listing(items, found.resource_version)

    def list_page(
        self,
        kind: Kind,
        namespace: str | None,
        deadline: Deadline,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page: int = 500,
        more: str | None = None,
        metadata_only: bool = False,
    ) -> Listing:
        """Return one page of a list.

        Args:
            kind: The kind of objects.
            namespace: Their namespace; None for all.
            deadline: Ends the attempts.
            label_selector: Only these objects.
            field_selector: Only these objects.
            page: Most objects of a page.
            more: What the page before said; None for the first.
            metadata_only: Whether the items may come without spec and status. A server that does not know how sends
                them whole.

        Raises:
            KubernetesError: Also if the server has forgotten the state that the first page showed (`is_expired`).
        """
        given = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(page),
            "continue": more,
        }
        query = {key: value for key, value in given.items() if value is not None}
        accept = _METADATA_ONLY if metadata_only else "application/json"
        call = Call("list", "GET", kind, namespace, query=query, accept=accept)
        answer = self._connection.request(call, deadline)
        items = [dict(item) for item in mappings(answer.get("items"))]
        version, go_on = at(answer, "metadata", "resourceVersion"), at(answer, "metadata", "continue")
        return Listing(items, str(version or ""), str(go_on) if go_on else None)

    def patch(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Send a merge patch; return the object. Sending one twice does the same as once."""
        call = Call("patch", "PATCH", kind, namespace, name, body=body, content_type="application/merge-patch+json")
        return dict(self._connection.request(call, deadline))

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
    ) -> Deletion:
        """Delete an object if it is the one that is meant.

        Returns:
            `deleted`: it is gone now. `going`: it goes once what holds it, such as a finalizer, lets it; perhaps
            somebody has deleted it before. `gone`: there was none.

        Raises:
            ConflictError: Another object has the name, or it has changed since `resource_version`.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        preconditions = {key: value for key, value in wanted.items() if value is not None}
        body: dict[str, Any] = {"propagationPolicy": propagation}
        if preconditions:
            body["preconditions"] = preconditions
        try:
            answer = self._connection.request(Call("delete", "DELETE", kind, namespace, name, body=body), deadline)
        except NotFoundError:
            return "gone"
        return "going" if at(answer, "metadata", "deletionTimestamp") else "deleted"

    def watch(
        self,
        kind: Kind,
        namespace: str,
        *,
        name: str | None = None,
        label_selector: str | None = None,
        resource_version: str | None = None,
        known: Iterable[Mapping[str, Any]] = (),
    ) -> WatchStream:
        """Watch one object or a selection, from a resourceVersion on or else beginning with a list.

        Args:
            kind: The kind of object.
            namespace: Its namespace.
            name: Only this object.
            label_selector: Only these objects.
            resource_version: Where to start, for example that of the answer to a POST.
            known: What is selected and existed then. If the watch must begin anew with a list, what is gone from it
                is told as deleted.
        """
        field_selector = None if name is None else f"metadata.name={name}"
        listed = partial(self.list, kind, namespace, label_selector=label_selector, field_selector=field_selector)
        opened = partial(self._open_watch, kind, namespace)
        selection = Selection(kind, namespace, label_selector, field_selector, listed, opened)
        return WatchStream(selection, resource_version, known)

    def listed(self, kind: Kind, namespace: str | None, name: str, deadline: Deadline) -> Manifest | None:
        """Return an object by a list, None if there is none, for those who may list and watch: `get` is another right.

        Args:
            kind: The kind.
            namespace: Its namespace; None for a kind without one.
            name: Its name.
            deadline: Ends the retries.

        Raises:
            KubernetesError: As for `list`.
        """
        found = self.list(kind, namespace, deadline, field_selector=f"metadata.name={name}").items
        return found[0] if found else None

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
        """Return the last lines of a container's log; of its previous run if asked.

        The kubelet counts bytes from the first of these lines on, so that those of long lines lack the end. Then
        as many are asked for as fit in any case.
        """
        query = {"limitBytes": str(limit_bytes)}
        if container is not None:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        call = Call("get", "GET", PODS, namespace, pod, "log", query)
        body, fewer = self._connection.request_text(call, deadline), limit_bytes // _LOG_LINE_BYTES
        if len(body) >= limit_bytes and tail_lines is not None and 0 < fewer < tail_lines:
            shorter = replace(call, query={**query, "tailLines": str(fewer)})
            with contextlib.suppress(DagsterRayError):  # lines without their end are better than none
                body = self._connection.request_text(shorter, deadline)
        return body.decode(errors="replace").rstrip()

    def _open_watch(self, kind: Kind, namespace: str, query: Mapping[str, str]) -> Any:
        """Send one watch request; return the open response of urllib3, or raise as other calls do.

        OSError and urllib3's HTTPError mean that it may be tried again.
        """
        import urllib3

        full = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        call = Call("watch", "GET", kind, namespace, query=full)
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=_WATCH_HEADERS_SECONDS)
        try:
            with SocketLimit(CONNECT_SECONDS + _WATCH_HEADERS_SECONDS):
                response = self._connection.send(call, timeout, preload=False)
                if response.status == 200:
                    if (sock := socket_of(response)) is not None:
                        sock.settimeout(_SILENCE_SECONDS)
                    return response
                body = response.read(65536)
                response.close()
        except (CredentialsError, ExecPluginError) as error:
            raise WatchUnavailableError(error.problem) from None
        page = foreign_answer(response.status, body, location=response.headers.get("Location"))
        if page is not None or is_transient(response.status):
            said = page or f"{response.status} {message_of(body)}"
            raise WatchUnavailableError(said, response.headers.get("Retry-After"))
        raise error_of("watch", kind, namespace, None, status=response.status, body=body)

    def open_stream(self, namespace: str, pod: str, port: int, timeout_seconds: float) -> "WebSocket":
        """Return a websocket that carries one port of a pod (subprotocol v4.channel.k8s.io).

        Raises:
            KubernetesError: The API server refused.
            OSError: It could not be reached, or the pod has no such stream now.
        """
        return self._connection.open_stream(namespace, pod, port, timeout_seconds)

    def token(self, deadline: Deadline) -> str:
        """Return the token that proves the account to others than the API server; raises as `Credentials.token`."""
        return self._connection.credentials.token(deadline)

    def close(self) -> None:
        """Close all idle connections."""
        self._connection.close()

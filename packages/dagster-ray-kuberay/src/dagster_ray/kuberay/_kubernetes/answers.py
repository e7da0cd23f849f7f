"""What an answer of the Kubernetes API means, and which answers come from something else. Pure.

Bodies as kube-apiserver 1.36 sends them. Login pages, redirects and pages of proxies are none of its own.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    InvalidObjectError,
    KindNotInstalledError,
    KubernetesError,
    NotFoundError,
    UnauthorizedError,
)
from dagster_ray.kuberay._kubernetes.fields import at, json_of, mapping, mappings
from dagster_ray.kuberay._kubernetes.kinds import Kind

_TRANSIENT = {408, 429, 500, 502, 503, 504}
_FIRST_SECONDS, _CAP_SECONDS = 0.2, 3.0
_TEXT_LIMIT = 2000
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
_KINDS: Mapping[int, type[KubernetesError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
}


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects that a selection matches, or one page of them."""

    items: list[dict[str, Any]]
    resource_version: str
    more: str | None = None
    """Where the next page goes on; None after the last."""


def is_transient(status: int) -> bool:
    """Return whether the same call may succeed later."""
    return status in _TRANSIENT


def retry_seconds(attempt: int, retry_after: str | None, rng: random.Random) -> float:
    """Return how long to wait before the next attempt.

    Args:
        attempt: How many attempts there were, from 1.
        retry_after: The header Retry-After in seconds, if the answer had one; it is a lower bound.
        rng: Source of the jitter, which keeps many steps from coming back in the same instant.
    """
    bound = min(_CAP_SECONDS, _FIRST_SECONDS * 2 ** min(attempt - 1, 10))
    wait = rng.uniform(bound / 2, bound)
    return max(wait, float(retry_after)) if retry_after is not None and retry_after.isdecimal() else wait


def parsed(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body; an empty one if it is something else."""
    return mapping(json_of(body))


def _is_about(status: Mapping[str, Any], name: str | None, verb: str) -> bool:
    """Return whether a 404 is the API server's own, about the object: anything in between can answer 404 as well.

    A POST's is about the namespace, since its object cannot be missing.
    """
    named = at(status, "details", "name")
    return status.get("kind") == "Status" and (name is None or verb == "create" or named == name)


def proves_gone(error: Exception) -> bool:
    """Return whether a refusal proves that the object, as a call named it by name and uid, does not exist.

    A 400 or 422 for any other cause says that the server, or a webhook or policy behind it, denies this write.
    """
    if isinstance(error, InvalidObjectError):
        return any(field == "metadata.uid" for field, _ in error.causes)
    return isinstance(error, NotFoundError)


def message_of(body: bytes) -> str:
    """Return what the server says: the message of its Status, or the text."""
    message = parsed(body).get("message")
    return (message if isinstance(message, str) else body.decode(errors="replace").strip())[:_TEXT_LIMIT]


def error_of(
    verb: str, kind: Kind, namespace: str | None, name: str | None, *, status: int, body: bytes
) -> KubernetesError:
    """Return the error for an answer that is no success."""
    message = message_of(body)
    call = (verb, kind.resource, namespace, name, status, message)
    if status == 404 and not parsed(body):  # the text "404 page not found": no such path, so no such kind
        return KindNotInstalledError(*call)
    if status == 404 and not _is_about(parsed(body), name, verb):
        return KubernetesError(*call)
    if status in {400, 422}:
        causes = tuple(
            (str(c.get("field")), str(c.get("message"))) for c in mappings(at(parsed(body), "details", "causes"))
        )
        return InvalidObjectError(*call, causes, tuple(_UNKNOWN_FIELD.findall(message)))
    return _KINDS.get(status, KubernetesError)(*call)


_WORDS_LIMIT = 200
_READ_LIMIT = 65536
# What a browser does not show.
_UNSHOWN = re.compile(r"<!--.*?(?:-->|$)|<(script|style|head)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*(?:>|$)")


def foreign_answer(
    status: int,
    body: bytes,
    *,
    content_type: str = "",
    location: str | None = None,
    form: str = "object",
    read: object = None,
) -> str | None:
    """Return what has answered in the place of the API server, in words; None if it may be the server itself.

    Args:
        status: The HTTP status.
        body: The body.
        content_type: The header Content-Type.
        location: The header Location.
        form: What a success holds: `object` (of Kubernetes, with `kind` or `metadata`), `json` or `text`.
        read: What the body of a success holds as JSON, where that is known already.
    """
    if 300 <= status < 400:
        # The rest of the address may hold secrets of a login.
        return f"{status}, a redirect to {host_of_url(location)}, which is not followed"
    if status == 407:
        return "407, a proxy that wants credentials"
    succeeded = 200 <= status < 300
    is_page = content_type.lower().startswith("text/html")
    if not (succeeded and form == "text"):  # a log may begin with anything
        is_page = is_page or body[:_WORDS_LIMIT].lstrip().startswith(b"<")
    if is_page or (succeeded and not _has(form, body, read)):
        return f"{status} {words_of(body) or '(an empty answer)'}"
    return None


def host_of_url(url: str | None) -> str:
    """Return the host and port of a URL, without all else."""
    try:
        parts = urlsplit(url or "")
        host, port = parts.hostname, parts.port
    except ValueError:
        return "(no readable address)"
    if host is None:
        return "(a path of the same host)" if url else "(no address)"
    return host if port is None else f"{host}:{port}"


def words_of(body: bytes) -> str:
    """Return the first words that a body shows its reader: without markup, in one line."""
    text = body[:_READ_LIMIT].decode(errors="replace")
    if "<" in text:
        title = _TITLE.search(text)
        shown = _TAG.sub(" ", _UNSHOWN.sub(" ", text))
        text = f"{title.group(1)} {shown}" if title is not None else shown
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_WORDS_LIMIT]


def _has(form: str, body: bytes, read: object) -> bool:
    if form == "text":
        return True
    found = json_of(body) if read is None else read
    if form == "json":
        return isinstance(found, dict)
    return bool({"kind", "metadata"} & mapping(found).keys())

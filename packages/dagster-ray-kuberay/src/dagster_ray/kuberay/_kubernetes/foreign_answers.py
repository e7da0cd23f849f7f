"""Answers that no Kubernetes API server gives: login pages, redirects, pages of proxies. Pure."""

import re
from urllib.parse import urlsplit

from dagster_ray.kuberay._kubernetes.fields import json_of, mapping

_WORDS_LIMIT = 200
_READ_LIMIT = 65536
# What a browser does not show.
_UNSHOWN = re.compile(r"<!--.*?(?:-->|$)|<(script|style|head)\b.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*(?:>|$)")


def foreign_answer(
    status: int, body: bytes, *, content_type: str = "", location: str | None = None, form: str = "object"
) -> str | None:
    """Return what has answered in the place of the API server, in words; None if it may be the server itself.

    Args:
        status: The HTTP status.
        body: The body.
        content_type: The header Content-Type.
        location: The header Location.
        form: What a success holds: `object` (of Kubernetes, with `kind` or `metadata`), `json` or `text`.
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
    if is_page or (succeeded and not _has(form, body)):
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


def _has(form: str, body: bytes) -> bool:
    if form == "text":
        return True
    found = json_of(body)
    if form == "json":
        return isinstance(found, dict)
    return bool({"kind", "metadata"} & mapping(found).keys())

"""Lists: which version, which page, and what a client must do when its page token is too old. Pure."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.simulator._api.bodies import go_text
from dagster_ray.simulator._api.statuses import Refused, bad_request, expired, from_the_future

_TOO_OLD = "The resourceVersion for the provided list is too old."
_CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_NOW = -1


@dataclass(frozen=True, slots=True)
class Page:
    """What part of which list is asked for.

    Attributes:
        version: The version to show; None for the newest.
        start: The key after which the page begins; "" for the first page.
        limit: How many objects; 0 for all.
        is_continued: Whether a page went before.
    """

    version: int | None
    start: str
    limit: int
    is_continued: bool


def page_of(query: Mapping[str, str], current: int) -> Page:
    """Return what a query asks for.

    Raises:
        Refused: 400 for what cannot be read, 504 for a version of the future.
    """
    limit = query.get("limit") or "0"
    if not limit.lstrip("-").isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{limit}": invalid syntax')
    if token := query.get("continue"):
        version, start = _read_token(token)
        return Page(None if version == _NOW else version, start, int(limit), is_continued=True)
    wanted = query.get("resourceVersion") or "0"
    if not wanted.isdecimal():
        text = f'Invalid value: "{wanted}": strconv.ParseUint: parsing "{wanted}": invalid syntax'
        raise bad_request(f"invalid resource version: resourceVersion: {text}")
    if int(wanted) > current:
        raise from_the_future(int(wanted), current)
    exact = query.get("resourceVersionMatch") == "Exact"
    return Page(int(wanted) if exact else None, "", int(limit), is_continued=False)


def too_old(page: Page) -> Refused:
    """Return the refusal of a page whose version is forgotten; a token for the rest of now comes with it."""
    if not page.is_continued:
        return expired(_TOO_OLD)
    return expired(_CONTINUE_TOO_OLD, **{"continue": _token(_NOW, page.start)})


def cut(
    objects: Sequence[Mapping[str, Any]], page: Page, version: int, namespace: str | None, *, selected: bool
) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """Return the objects of a page and the metadata of its list; `objects` are all that match."""
    ordered = objects if namespace is not None else sorted(objects, key=lambda obj: _key(obj, None))
    left = [obj for obj in ordered if _key(obj, namespace) > page.start] if page.start else ordered
    metadata: dict[str, Any] = {"continue": "", "resourceVersion": str(version)}
    if page.limit <= 0 or len(left) <= page.limit:
        return left, metadata
    shown = left[: page.limit]
    metadata["continue"] = _token(version, f"{_key(shown[-1], namespace)}\0")
    if not selected:
        metadata["remainingItemCount"] = len(left) - page.limit
    return shown, metadata


def _key(obj: Mapping[str, Any], namespace: str | None) -> str:
    name = str(at(obj, "metadata", "name"))
    return name if namespace is not None else f"{at(obj, 'metadata', 'namespace') or ''}/{name}"


def _token(version: int, start: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        read = json.loads(raw.decode("latin-1"))
        return int(read["rv"]), str(read["start"])
    except binascii.Error as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    except ValueError as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {go_text(error)}") from error
    except (KeyError, TypeError) as error:
        raise bad_request("invalid continue token: continue key is not valid: unknown version") from error

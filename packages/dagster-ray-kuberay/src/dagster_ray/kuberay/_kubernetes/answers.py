"""What an answer of the Kubernetes API means. Pure.

Bodies as kube-apiserver 1.36 sends them.
"""

import random
import re
from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
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
    410: GoneError,
}


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

"""What the API server says when it refuses. Texts as kube-apiserver 1.36 wrote them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_ray.simulator._kubelet.resources import Resource


class Refused(Exception):  # noqa: N818 - an answer, seen from the server
    """The API server refuses a request."""

    def __init__(
        self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None, **metadata: str
    ) -> None:
        """Take the HTTP status, the reason's word, the text, its details, and metadata of the Status."""
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details, self.metadata = details, metadata

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> "Refused":
        """Return the refusal that a Status object tells."""
        return cls(int(status["code"]), str(status.get("reason", "")), str(status["message"]), status.get("details"))

    def body(self) -> dict[str, Any]:
        """Return the Status object."""
        details = {} if self.details is None else {"details": dict(self.details)}
        reason = {"reason": self.reason} if self.reason else {}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(self.metadata),
            "status": "Failure",
            "message": self.message,
            **reason,
            **details,
            "code": self.code,
        }


def _details(resource: Resource, name: str | None, kind: str | None = None, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {} if name is None else {"name": name}
    if resource.group:
        details["group"] = resource.group
    return {**details, "kind": kind or resource.plural, **more}


def not_found(resource: Resource, name: str) -> Refused:
    """Return the refusal of a request for an object that does not exist."""
    return Refused(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def already_exists(resource: Resource, name: str, *, terminating: bool) -> Refused:
    """Return the refusal of a POST under a name that is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    if terminating:
        message = f"object is being deleted: {message}"
    return Refused(409, "AlreadyExists", message, _details(resource, name))


def has_changed(resource: Resource, name: str) -> Refused:
    """Return the refusal of a write that names an old resourceVersion."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", message, _details(resource, name))


def wrong_precondition(resource: Resource, name: str, what: str, wanted: str, found: str) -> Refused:
    """Return the refusal of a DELETE whose precondition does not hold; `what` is UID or ResourceVersion."""
    why = "deleted and then recreated" if what == "UID" else "modified"
    message = (
        f'Operation cannot be fulfilled on {resource.qualified_kind} "{name}": the {what} in the precondition '
        f"({wanted}) does not match the {what} in record ({found}). The object might have been {why}"
    )
    return Refused(409, "Conflict", message, _details(resource, name, resource.kind))


def invalid(resource: Resource, name: str, reason: str, field: str, text: str) -> Refused:
    """Return the refusal of an object for one field."""
    cause = {"reason": reason, "message": text, "field": field}
    message = f'{resource.qualified_kind} "{name}" is invalid: {field}: {text}'
    return Refused(422, "Invalid", message, _details(resource, name, resource.kind, causes=[cause]))


def immutable_uid(resource: Resource, name: str, uid: Any) -> Refused:
    """Return the refusal of a patch that names another uid; custom resources list it twice."""
    message = f'Invalid value: "{uid}": field is immutable'
    return _repeated(resource, name, "FieldValueInvalid", "metadata.uid", message)


def finalizers_frozen(resource: Resource, name: str, added: Sequence[str]) -> Refused:
    """Return the refusal of a write that adds finalizers to an object that is being deleted."""
    listed = ", ".join(f'"{finalizer}"' for finalizer in added)
    message = (
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        f"[]string{{{listed}}}"
    )
    return _repeated(resource, name, "FieldValueForbidden", "metadata.finalizers", message)


def _repeated(resource: Resource, name: str, reason: str, field: str, message: str) -> Refused:
    refused = invalid(resource, name, reason, field, message)
    details = dict(refused.details or {})
    details["causes"] = details["causes"] * (2 if resource.group == "ray.io" else 1)
    return Refused(refused.code, refused.reason, refused.message, details)


def other_uid(resource: Resource, name: str, wanted: str, found: str) -> Refused:
    """Return the refusal of a PUT that names another uid (k8s.io/apiserver, storage/errors.go)."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": Precondition failed: UID in precondition: '
        f"{wanted}, UID in object meta: {found}"
    )
    return Refused(409, "Conflict", message, _details(resource, name))


def without_version(resource: Resource, name: str) -> Refused:
    """Return the refusal of a PUT that names no resourceVersion where one must be named."""
    text = "Invalid value: 0: must be specified for an update"
    cause = {"reason": "FieldValueInvalid", "message": text, "field": "metadata.resourceVersion"}
    message = f'{resource.qualified} "{name}" is invalid: metadata.resourceVersion: {text}'
    return Refused(422, "Invalid", message, _details(resource, name, causes=[cause]))


def bad_request(message: str) -> Refused:
    """Return the refusal of a request that cannot be read."""
    return Refused(400, "BadRequest", message)


def media_type_refused(accepted: Sequence[str]) -> Refused:
    """Return the refusal of a body in a format that is not read."""
    listed = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return Refused(415, "UnsupportedMediaType", message)


def from_the_future(wanted: int, current: int) -> Refused:
    """Return the refusal to list a version that does not exist yet."""
    text = "Too large resource version"
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": text}], "retryAfterSeconds": 1}
    return Refused(504, "Timeout", f"Timeout: {text}: {wanted}, current: {current}", details)


def bad_patch() -> Refused:
    """Return the refusal of a JSON Patch that cannot be applied, whatever the cause."""
    return Refused(422, "Invalid", "the server rejected our request due to an error in our request", {})


def expired(message: str, **metadata: str) -> Refused:
    """Return the refusal to go on from a state that is forgotten."""
    return Refused(410, "Expired", message, None, **metadata)

"""What clients send, and what the API server says of what it cannot read (kube-apiserver 1.36). Pure."""

import json
from collections.abc import Mapping
from typing import Any, cast

import yaml

from dagster_ray.simulator._api.patches import JSON, MERGE, STRATEGIC
from dagster_ray.simulator._api.statuses import bad_request, media_type_refused
from dagster_ray.simulator._kubelet.resources import Resource

APPLY = "application/apply-patch+yaml"
# What the real one takes. Protobuf, which kubectl sends for kinds that it has compiled in, is refused here.
_OBJECT_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_SUMMARY_BYTES = 30
_NOT_AN_OBJECT = (
    "json: cannot unmarshal {kind} into Go value of type struct {{ APIVersion string "
    '"json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }}'
)


def media_type(header: str | None) -> str:
    """Return the media type of a header Content-Type; JSON if there is none."""
    return (header or "application/json").partition(";")[0].strip().lower()


def sent_object(resource: Resource, raw: bytes, content_type: str) -> dict[str, Any]:
    """Return the object of a POST or PUT.

    Raises:
        Refused: 415, 400.
    """
    if content_type not in _OBJECT_TYPES[:2]:
        raise media_type_refused(_OBJECT_TYPES)
    try:
        body = json.loads(raw) if content_type == "application/json" else yaml.safe_load(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise _unrecognized(resource, raw, f"json parse error: {go_text(error)}") from error
    if not isinstance(body, dict):
        text = _NOT_AN_OBJECT.format(kind="array" if isinstance(body, list) else _go_kind(body))
        raise _unrecognized(resource, raw, f"json parse error: {text}")
    found = cast("dict[str, Any]", body)
    if found.get("apiVersion", resource.api_version) != resource.api_version:
        raise bad_request(
            f"the API version in the data ({found['apiVersion']}) does not match the expected API version "
            f"({resource.api_version})"
        )
    return found


def sent_patch(resource: Resource, raw: bytes, content_type: str) -> Any:
    """Return the patch of a PATCH.

    Raises:
        Refused: 415, 400.
    """
    accepted = [JSON, MERGE, APPLY] if resource.is_custom else [JSON, MERGE, STRATEGIC, APPLY]
    if content_type not in accepted:
        raise media_type_refused(accepted)
    try:
        patch = yaml.safe_load(raw) if content_type == APPLY else json.loads(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"error decoding patch: {go_text(error)}") from error
    if not isinstance(patch, list if content_type == JSON else dict):
        kind, wanted = ("object", "jsonpatch.Patch") if content_type == JSON else ("array", "map[string]interface {}")
        raise bad_request(f"error decoding patch: json: cannot unmarshal {kind} into Go value of type {wanted}")
    return cast("Any", patch)


def sent_options(raw: bytes) -> Mapping[str, Any]:
    """Return the DeleteOptions of a DELETE, which may be absent.

    Raises:
        Refused: 400.
    """
    if not raw.strip():
        return {}
    try:
        options = json.loads(raw)
    except ValueError as error:
        raise bad_request(f"error decoding the delete options: {go_text(error)}") from error
    return cast("Mapping[str, Any]", options) if isinstance(options, dict) else {}


def sent_review(raw: bytes, content_type: str) -> Mapping[str, Any]:
    """Return the SelfSubjectAccessReview of a POST.

    Raises:
        Refused: 415, 400.
    """
    if content_type != "application/json":
        raise media_type_refused(_OBJECT_TYPES)
    try:
        review = json.loads(raw)
    except ValueError as error:
        raise bad_request(f"error decoding the review: {go_text(error)}") from error
    return cast("Mapping[str, Any]", review) if isinstance(review, dict) else {}


def sent_number(query: Mapping[str, str], name: str) -> int | None:
    """Return a number of a query; None if it is not there.

    Raises:
        Refused: 400, it is none, or is negative.
    """
    value = query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal()):
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    return int(value)


def go_text(error: Exception) -> str:
    """Return what Go's encoding/json says where Python's json says `error`."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    text = error.doc
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    where = {
        "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
        "Expecting ':' delimiter": "after object key",
        "Expecting ',' delimiter": "after object key:value pair",
        "Extra data": "after top-level value",
    }.get(error.msg, "looking for beginning of value")
    shown = repr(text[error.pos]).replace("\\x", "\\u00")
    return f"invalid character {shown} {where}"


def _unrecognized(resource: Resource, raw: bytes, text: str) -> Exception:
    message = (
        f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; {text}"
    )
    return bad_request(f"{message} ({_summary(raw)})")


def _summary(raw: bytes) -> str:
    """What of a body is shown (k8s.io/apiserver, endpoints/handlers/create.go)."""
    if not raw:
        return "<empty>"
    shown = raw[:_SUMMARY_BYTES]
    text = shown.decode(errors="replace") if raw[:1] == b"{" else shown.hex()
    return text if len(raw) <= _SUMMARY_BYTES else f"{text} ..."


def _go_kind(value: object) -> str:
    names: dict[type[object], str] = {bool: "bool", int: "number", float: "number", str: "string"}
    return names.get(type(value), "null")

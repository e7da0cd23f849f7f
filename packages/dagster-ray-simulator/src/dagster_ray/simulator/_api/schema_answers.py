"""The answers of an API server that refuses an object, or warns of one (kube-apiserver 1.36). Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from dagster_ray.simulator._api.schema_causes import Cause


def invalid_status(kind: str, group: str, name: str, causes: Sequence[Cause]) -> dict[str, Any]:
    """The body of the 422 for an object with these causes."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    details |= {"group": group, "kind": kind} if group else {"kind": kind}
    details["causes"] = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return _failure(422, "Invalid", f'{kind}{"." if group else ""}{group} "{name}" is invalid: {listed}', details)


def strict_status(kind: str, unknown_fields: Iterable[str]) -> dict[str, Any]:
    """The body of the 400 for a POST or PUT with unknown fields and `fieldValidation=Strict`."""
    return _failure(
        400, "BadRequest", f'{kind} in version "v1" cannot be handled as a {kind}: {_strict_text(unknown_fields)}'
    )


def strict_patch_status(patched: str, unknown_fields: Iterable[str]) -> dict[str, Any]:
    """The body of the 422 for a PATCH whose outcome has unknown fields, with `fieldValidation=Strict`.

    Args:
        patched: The patched object as JSON.
        unknown_fields: The paths that are not known.
    """
    # From the source of kube-apiserver (endpoints/handlers/patch.go), not from a recording.
    shown = patched.replace("\\", "\\\\").replace('"', '\\"')
    message = f'Invalid value: "{shown}": {_strict_text(unknown_fields)}'
    cause = {"reason": "FieldValueInvalid", "message": message, "field": "patch"}
    return _failure(422, "Invalid", f' "" is invalid: patch: {message}', {"causes": [cause]})


def warnings(unknown_fields: Iterable[str]) -> tuple[str, ...]:
    """The values of the Warning headers for an object with unknown fields and `fieldValidation=Warn`."""
    return tuple(f'299 - "unknown field \\"{path}\\""' for path in unknown_fields)


def _strict_text(unknown_fields: Iterable[str]) -> str:
    return "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown_fields)


def _failure(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details is not None:
        status["details"] = details
    return {**status, "code": code}

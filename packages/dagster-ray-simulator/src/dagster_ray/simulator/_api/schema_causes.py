"""Why an API server refuses an object: the causes of its 422, in its words (kube-apiserver 1.36). Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Reason = Literal[
    "FieldValueInvalid",
    "FieldValueRequired",
    "FieldValueTypeInvalid",
    "FieldValueNotSupported",
    "FieldValueDuplicate",
    "FieldValueTooLong",
    "FieldValueForbidden",
]

# After one of these the server does not look at the CEL rules.
_BLOCKING: tuple[Reason, ...] = (
    "FieldValueRequired",
    "FieldValueTypeInvalid",
    "FieldValueNotSupported",
    "FieldValueTooLong",
)
NO_FIELD = "<nil>"


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of a Status' `details.causes`.

    Attributes:
        reason: What is wrong, one of the API's reasons.
        message: The text, without the field.
        field: The path, or `<nil>`.
    """

    reason: Reason
    message: str
    field: str

    @property
    def blocking(self) -> bool:
        """Whether the rest of the object's rules is not looked at."""
        return self.reason in _BLOCKING


UNCHECKED_RULES = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    NO_FIELD,
)


def required(path: str, detail: str = "") -> Cause:
    """Something that must be there is not."""
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", path)


def invalid(path: str, value: Any, detail: str) -> Cause:
    """A value of the right type that is not allowed; objects and lists are not shown."""
    shown = "" if isinstance(value, (Mapping, list)) else f"{quoted(value)}: "
    return Cause("FieldValueInvalid", f"Invalid value: {shown}{detail}", path)


def wrong_type(path: str, value: Any, wanted: str) -> Cause:
    """A value of another JSON type."""
    name = type_name(value)
    return Cause(
        "FieldValueTypeInvalid", f'Invalid value: "{name}": {path} in body must be of type {wanted}: "{name}"', path
    )


def unsupported(path: str, value: Any, enum: tuple[str, ...]) -> Cause:
    """A value that is none of those that are listed."""
    listed = ", ".join(quoted(item) for item in enum)
    return Cause("FieldValueNotSupported", f"Unsupported value: {quoted(value)}: supported values: {listed}", path)


def duplicate(path: str, value: Any) -> Cause:
    """A second item with the same key."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {quoted(value)}", path)


def too_long(path: str, most: int) -> Cause:
    """A text that is too long."""
    return Cause("FieldValueTooLong", f"Too long: may not be more than {most} bytes", path)


def quoted(value: Any) -> str:
    """A value as the API server prints it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def type_name(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for types, name in (((str,), "string"), ((int,), "integer"), ((float,), "number"), ((list, tuple), "array")):
        if isinstance(value, types):
            return name
    return "object"

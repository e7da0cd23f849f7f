"""What an API server checks of an object against the CRD: types, enums, bounds, lists and CEL rules. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dagster_ray.kuberay._operator_rules.crd_fields import Field
from dagster_ray.simulator._api.schema_causes import (
    NO_FIELD,
    Cause,
    duplicate,
    invalid,
    quoted,
    required,
    too_long,
    type_name,
    unsupported,
    wrong_type,
)

_BITS = {"int32": 31, "int64": 63}
_MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
_POLICIES = ("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")


def structure_causes(value: Any, field: Field, path: str) -> Iterator[Cause]:
    """What is wrong with the types and bounds of a value and of all inside it."""
    if value is None and field.nullable:
        return
    yield from _type_causes(value, field, path)
    if isinstance(value, str):
        yield from _text_causes(value, field, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number_causes(value, field, path)
    elif isinstance(value, list) and field.items is not None:
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        if field.min_items is not None and len(items) < field.min_items:
            # The API server shows the number of items as the value.
            yield invalid(path, len(items), f"{path} in body should have at least {field.min_items} items")
        for number, item in enumerate(items):
            yield from structure_causes(item, field.items, f"{path}[{number}]")
    if field.enum and value not in field.enum:
        yield unsupported(path, value, field.enum)
    if isinstance(value, Mapping) and (field.type == "object" or not field.type):
        yield from _object_causes(value, field, path)  # pyright: ignore[reportUnknownArgumentType]  # JSON


def _object_causes(value: Mapping[str, Any], field: Field, path: str) -> Iterator[Cause]:
    if field.values is not None:
        for name in value.keys() - field.properties.keys():
            yield from structure_causes(value[name], field.values, inside(path, name))
    for name, inner in field.properties.items():
        if name in value:
            yield from structure_causes(value[name], inner, inside(path, name))
    for name in field.required:
        if name not in value:
            yield required(inside(path, name))


def _type_causes(value: Any, field: Field, path: str) -> Iterator[Cause]:
    name = type_name(value)
    if field.int_or_string:
        if name not in ("integer", "string"):
            yield wrong_type(path, value, "integer,string")
            yield Cause(
                "FieldValueInvalid",
                f'Invalid value: "": "{path}" must validate at least one schema (anyOf)',
                NO_FIELD,
            )
            yield wrong_type(path, value, "integer")
        return
    whole = name == "number" and float(value).is_integer()
    fits = name == field.type or (name == "integer" and field.type == "number") or (whole and field.type == "integer")
    if field.type and not fits:
        yield wrong_type(path, value, field.type)


def _text_causes(value: str, field: Field, path: str) -> Iterator[Cause]:
    if field.max_length is not None and len(value) > field.max_length:
        yield too_long(path, field.max_length)
    if field.min_length is not None and len(value) < field.min_length:
        yield invalid(path, value, f"{path} in body should be at least {field.min_length} chars long")
    if field.pattern and re.search(field.pattern, value) is None:
        yield invalid(path, value, f"{path} in body should match '{field.pattern}'")


def _number_causes(value: float, field: Field, path: str) -> Iterator[Cause]:
    if (bits := _BITS.get(field.format)) and not -(2**bits) <= value < 2**bits:
        yield invalid(path, value, f"Checked value must be of type {field.type} with format {field.format} in {path}")
    if field.maximum is not None and value > field.maximum:
        yield invalid(path, value, f"{path} in body should be less than or equal to {field.maximum}")
    if field.minimum is not None and value < field.minimum:
        yield invalid(path, value, f"{path} in body should be greater than or equal to {field.minimum}")


def list_causes(value: Any, field: Field, path: str) -> Iterator[Cause]:
    """The items of lists that have the key of an earlier item."""
    if isinstance(value, list) and field.list_keys is not None:
        seen: set[str] = set()
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        for number, item in enumerate(items):
            key = {name: item[name] for name in field.list_keys if name in item} if field.list_keys else item
            if quoted(key) in seen:
                yield duplicate(f"{path}[{number}]", key)
            seen.add(quoted(key))
    for name, inner, part in _parts(value, field, path):
        yield from list_causes(part, inner, name)


def rule_causes(value: Any, old: Any, field: Field, path: str) -> Iterator[Cause]:
    """The CEL rules that do not hold; `old` is the value that the object had, None when it had none."""
    for name in field.rules:
        if name in _IMMUTABLE:
            if old is not None and value != old:
                yield invalid(path, value, _IMMUTABLE[name])
        elif not _RULES[name][1](value):
            yield invalid(path, value, _RULES[name][0])
    for name, inner, part in _parts(value, field, path):
        before = old.get(name.rpartition(".")[2]) if isinstance(old, dict) and not name.endswith("]") else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]  # JSON
        yield from rule_causes(part, before, inner, name)


def _parts(value: Any, field: Field, path: str) -> Iterator[tuple[str, Field, Any]]:
    """What is inside a value that the CRD describes: path, description, value."""
    if isinstance(value, Mapping):
        for name, inner in field.properties.items():
            if name in value:
                yield inside(path, name), inner, value[name]
    elif isinstance(value, list) and field.items is not None:
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        for number, item in enumerate(items):
            yield f"{path}[{number}]", field.items, item


def inside(path: str, name: str) -> str:
    """The path of a field inside another."""
    return f"{path}.{name}" if path else name


def _one_form(strategy: Mapping[str, Any]) -> bool:
    return not (("onSuccess" in strategy or "onFailure" in strategy) and "deletionRules" in strategy)


def _complete(strategy: Mapping[str, Any]) -> bool:
    return ("onSuccess" in strategy and "onFailure" in strategy) or "deletionRules" in strategy


# Rules that compare with the stored object, and rules that do not.
_IMMUTABLE: Mapping[str, str] = {
    "managed-by-immutable": "the managedBy field is immutable",
    "gcs-backend-immutable": "gcsFaultToleranceOptions.backend is immutable",
}
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "managed-by": (
        "the managedBy field value must be either 'ray.io/kuberay-operator' or 'kueue.x-k8s.io/multikueue'",
        lambda value: value in _MANAGERS,
    ),
    "deletion-policy": (
        "the deletionPolicy field value must be either 'DeleteCluster', 'DeleteWorkers', 'DeleteSelf', or 'DeleteNone'",
        lambda value: value in _POLICIES,
    ),
    "deletion-strategy-one-form": (
        "legacy policies (onSuccess/onFailure) and deletionRules cannot be used together within the same "
        "deletionStrategy",
        _one_form,
    ),
    "deletion-strategy-complete": (
        "deletionStrategy requires either BOTH onSuccess and onFailure, OR the deletionRules field (cannot be empty)",
        _complete,
    ),
    "deletion-condition-one-status": (
        "JobStatus and JobDeploymentStatus cannot be used together within the same deletion condition.",
        lambda value: not ("jobStatus" in value and "jobDeploymentStatus" in value),
    ),
    "deletion-condition-some-status": (
        "the deletion condition requires either the JobStatus or the JobDeploymentStatus field.",
        lambda value: "jobStatus" in value or "jobDeploymentStatus" in value,
    ),
}

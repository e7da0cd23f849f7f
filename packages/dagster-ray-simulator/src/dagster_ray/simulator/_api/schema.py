"""What an API server makes of a RayJob or RayCluster: pruned, defaulted, and why it is refused. Pure.

The CRD's structural schema of the chosen KubeRay release decides; the order of the steps is that of kube-apiserver
1.36: unknown fields go, defaults come, nulls that mean nothing go, then everything is checked. CEL rules are looked
at only when nothing structural is wrong.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Field, root
from dagster_ray.simulator._api.object_meta import META_FIELDS, metadata_causes
from dagster_ray.simulator._api.schema_causes import UNCHECKED_RULES, Cause, invalid
from dagster_ray.simulator._api.schema_checks import inside, list_causes, rule_causes, structure_causes


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of an object.

    Attributes:
        object: A copy of it, pruned and with the CRD's defaults. Nothing in it is shared with what was sent.
        unknown_fields: The paths of the fields that were pruned, sorted, as the API server prints them.
        causes: Why it is refused, in the API server's order; empty when it is accepted.
    """

    object: dict[str, Any]
    unknown_fields: tuple[str, ...]
    causes: tuple[Cause, ...]


def admit(kind: CrdKind, obj: Mapping[str, Any], version: str, old: Mapping[str, Any] | None = None) -> Admission:
    """What the API server makes of an object.

    Args:
        kind: The kind of the collection that the object was sent to.
        obj: The whole object. A write to the main resource carries no status: take it away before.
        version: The KubeRay release whose CRDs are installed, such as "1.7.0".
        old: The stored object, when this is an update: some rules compare.
    """
    crd = root(kind, version)
    unknown: list[str] = []
    admitted = _pruned({"metadata": {}, **obj}, crd, "", unknown)
    _default(admitted, crd)
    _drop_nulls(admitted, crd)
    return Admission(admitted, tuple(sorted(unknown)), tuple(_causes(kind, admitted, crd, old)))


def _causes(kind: CrdKind, obj: dict[str, Any], crd: Field, old: Mapping[str, Any] | None) -> list[Cause]:
    found: list[Cause] = []
    if obj.get("kind") not in (None, kind):
        found.append(invalid("kind", obj["kind"], f"must be {kind}"))
    found.extend(metadata_causes(obj["metadata"], None if old is None else mapping(old.get("metadata"))))
    found.extend(structure_causes(obj, crd, ""))
    found.extend(list_causes(obj, crd, ""))
    if any(cause.blocking for cause in found):
        return [*found, UNCHECKED_RULES]
    found.extend(rule_causes(obj, old, crd, ""))
    return found


def _pruned(value: Any, field: Field, path: str, unknown: list[str]) -> Any:
    """A deep copy without what the CRD does not know."""
    if isinstance(value, Mapping):
        if field.keeps_unknown:
            return copy.deepcopy(dict(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # JSON
        return _pruned_object(value, field, path, unknown)  # pyright: ignore[reportUnknownArgumentType]  # JSON
    if isinstance(value, (list, tuple)):
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]  # JSON
        item_field = field.items or Field()
        return [_pruned(item, item_field, f"{path}[{number}]", unknown) for number, item in enumerate(items)]
    return value


def _pruned_object(value: Mapping[str, Any], field: Field, path: str, unknown: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, part in value.items():
        where = inside(path, name)
        if where == "metadata":
            kept[name] = _pruned_metadata(part, unknown)
        elif name in field.properties:
            kept[name] = _pruned(part, field.properties[name], where, unknown)
        elif field.values is not None:
            kept[name] = _pruned(part, field.values, where, unknown)
        else:
            unknown.append(where)
    return kept


def _pruned_metadata(metadata: Any, unknown: list[str]) -> dict[str, Any]:
    given = mapping(metadata)
    unknown.extend(f"metadata.{name}" for name in given if name not in META_FIELDS)
    return {name: copy.deepcopy(part) for name, part in given.items() if name in META_FIELDS and part is not None}


def _default(value: Any, field: Field) -> None:
    """Put the CRD's defaults where nothing is, in place."""
    if isinstance(value, dict):
        obj: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        for name, inner in field.properties.items():
            if inner.has_default and (name not in obj or (obj[name] is None and not inner.nullable)):
                obj[name] = copy.deepcopy(inner.default)
            if name in obj:
                _default(obj[name], inner)
        if field.values is not None:
            for name in obj.keys() - field.properties.keys():
                _default(obj[name], field.values)
    elif isinstance(value, list) and field.items is not None:
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        for item in items:
            _default(item, field.items)


def _drop_nulls(value: Any, field: Field) -> None:
    """Take away the nulls of fields that cannot be null, in place: they mean that nothing was given."""
    if isinstance(value, dict):
        obj: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        for name in list(obj):
            inner = field.properties.get(name, field.values)
            if inner is None:
                continue
            if obj[name] is None and not inner.nullable:
                del obj[name]
            else:
                _drop_nulls(obj[name], inner)
    elif isinstance(value, list) and field.items is not None:
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]  # JSON
        for item in items:
            _drop_nulls(item, field.items)

"""Which fields of RayJob and RayCluster an operator's release knows, and what the API server checks of them.

The facts are those of KubeRay's CRD files (v1 of 1.3, 1.4 and 1.7), which `scripts/crd_fields.py` makes into the table
beside this module. 1.5 and 1.6 are 1.7 without the fields that came later: their pod templates may know a little less.
Paths are written as `spec.rayClusterSpec.workerGroupSpecs[].template`; an index such as `[0]` means the same as `[]`,
and any word may stand for the key of a map.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Any, Literal

CrdKind = Literal["RayJob", "RayCluster"]
KINDS: tuple[CrdKind, ...] = ("RayJob", "RayCluster")
Release = tuple[int, int, int]
OLDEST: Release = (1, 3, 0)
NEWEST: Release = (1, 7, 0)
"""The oldest and the newest KubeRay whose rules are known. Nothing in its CRDs tells the oldest from those before."""

_VERSIONS = ("1.3", "1.4", "1.5", "1.6", "1.7")
_NEWEST_PATCH = 99

# The first release of a field that is not in every CRD since 1.3 (release notes and CRDs of KubeRay).
_CLUSTER_FIELDS_SINCE: Mapping[str, Release] = {
    "autoscalerOptions.version": (1, 4, 0),
    "headGroupSpec.resources": (1, 5, 0),
    "headGroupSpec.labels": (1, 5, 0),
    "workerGroupSpecs[].resources": (1, 5, 0),
    "workerGroupSpecs[].labels": (1, 5, 0),
    "authOptions": (1, 5, 1),
    "authOptions.secretName": (1, 6, 0),
    "authOptions.enableK8sTokenAuth": (1, 6, 0),
    "upgradeStrategy": (1, 6, 0),
    "autoscalerOptions.args": (1, 7, 0),
    "autoscalerOptions.command": (1, 7, 0),
    "gcsFaultToleranceOptions.backend": (1, 7, 0),
    "gcsFaultToleranceOptions.storage": (1, 7, 0),
    "headGroupSpec.ingressOptions": (1, 7, 0),
    "historyServerOptions": (1, 7, 0),
    "networkPolicy": (1, 7, 0),
    "tlsOptions": (1, 7, 0),
    "workerGroupSpecs[].priority": (1, 7, 0),
}
_JOB_FIELDS_SINCE: Mapping[str, Release] = {
    "spec.deletionStrategy": (1, 5, 0),
    "spec.deletionStrategy.deletionRules[].condition.jobDeploymentStatus": (1, 6, 0),
    "spec.preRunningDeadlineSeconds": (1, 6, 0),
    "status.rayJobInfo": (1, 4, 0),
    "status.jobStatusCheckFailureStartTime": (1, 7, 0),
}
FIELDS_SINCE: Mapping[CrdKind, Mapping[str, Release]] = {
    "RayJob": _JOB_FIELDS_SINCE | {f"spec.rayClusterSpec.{path}": at for path, at in _CLUSTER_FIELDS_SINCE.items()},
    "RayCluster": {f"spec.{path}": at for path, at in _CLUSTER_FIELDS_SINCE.items()},
}

_CONDITION = "spec.deletionStrategy.deletionRules[].condition"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What a CRD says of one field.

    Attributes:
        type: The JSON type, or "" for `int_or_string`.
        properties: The fields inside, by name, in the order of the alphabet.
        required: Names of fields inside that must be there.
        items: What an array holds.
        values: What a map holds.
        default: The default, where `has_default`.
        list_keys: The fields that tell the items of a list apart; () for a set; None for a plain list.
        rules: The names of the CEL rules, in the CRD's order.
    """

    type: str = ""
    properties: Mapping[str, "Field"] = dataclasses.field(default_factory=dict[str, "Field"])
    required: tuple[str, ...] = ()
    items: "Field | None" = None
    values: "Field | None" = None
    enum: tuple[str, ...] = ()
    has_default: bool = False
    default: Any = None
    nullable: bool = False
    int_or_string: bool = False
    keeps_unknown: bool = False
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    pattern: str | None = None
    format: str = ""
    list_keys: tuple[str, ...] | None = None
    rules: tuple[str, ...] = ()


def versions() -> tuple[str, ...]:
    """The releases that are known, oldest first."""
    return _VERSIONS


def release(version: str) -> Release:
    """A version as numbers that compare; "1.5" means the newest patch of 1.5.

    Raises:
        ValueError: The text is not a version such as "1.7.0", "v1.7.0" or "1.7".
    """
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if match is None:
        raise ValueError(f"{version!r} is not a version of KubeRay such as 1.7.0")
    return int(match[1]), int(match[2]), _NEWEST_PATCH if match[3] is None else int(match[3])


def root(kind: CrdKind, version: str) -> Field:
    """The whole object in this version. Older than the oldest known one means that one; newer, the newest."""
    wanted = release(version)
    if wanted < (1, 4, 0):
        return _tables()["1.3"][kind]
    if wanted < (1, 5, 0):
        return _tables()["1.4"][kind]
    if wanted >= (1, 7, 0):
        return _tables()["1.7"][kind]
    return _older(kind, wanted)


def field_at(kind: CrdKind, version: str, path: str) -> Field | None:
    """What the CRD says of this field; None when it has no such field."""
    found: Field | None = root(kind, version)
    for step in _steps(path):
        if found is None:
            return None
        found = found.items if step == "[]" else found.properties.get(step, found.values)
    return found


def field_exists(kind: CrdKind, version: str, path: str) -> bool:
    """Whether the CRD of this version has the field."""
    return field_at(kind, version, path) is not None


def which_versions_have(kind: CrdKind, path: str) -> tuple[str, ...]:
    """The releases whose CRD has the field, oldest first."""
    return tuple(version for version in _VERSIONS if field_exists(kind, version, path))


def first_version(kind: CrdKind, path: str) -> str | None:
    """The first release that has the field, such as "1.5.1"; None when no release that we know has it.

    "1.3" also stands for every release before it.
    """
    having = which_versions_have(kind, path)
    if not having:
        return None
    known = [since for start, since in FIELDS_SINCE[kind].items() if _is_inside(path, start)]
    if not known:
        return having[0]
    major, minor, patch = max(known)
    return f"{major}.{minor}" if patch == 0 else f"{major}.{minor}.{patch}"


def field_paths(kind: CrdKind, version: str, under: str = "spec") -> Iterator[tuple[str, Field]]:
    """Every field under this one with its path, parents first; a map's value has the key `*`."""
    start = field_at(kind, version, under)
    if start is not None:
        yield from _walk(start, under)


def _walk(field: Field, path: str) -> Iterator[tuple[str, Field]]:
    yield path, field
    for name, inner in field.properties.items():
        yield from _walk(inner, f"{path}.{name}")
    if field.items is not None:
        yield from _walk(field.items, f"{path}[]")
    if field.values is not None:
        yield from _walk(field.values, f"{path}.*")


def _steps(path: str) -> list[str]:
    """`a.b[0].c` as ["a", "b", "[]", "c"]."""
    return ["[]" if step.startswith("[") else step for step in re.findall(r"\[\d*\]|[^.\[\]]+", path)]


def _is_inside(path: str, start: str) -> bool:
    steps, wanted = _steps(path), _steps(start)
    return steps[: len(wanted)] == wanted


@cache
def _older(kind: CrdKind, wanted: Release) -> Field:
    """1.7 without what came after this release."""
    found = _tables()["1.7"][kind]
    for path, since in FIELDS_SINCE[kind].items():
        if since > wanted:
            *parents, name = _steps(path)
            found = _changed(found, parents, partial(_without, name))
    cluster = "spec.rayClusterSpec" if kind == "RayJob" else "spec"
    found = _changed(found, _steps(f"{cluster}.gcsFaultToleranceOptions"), partial(_requiring, "redisAddress"))
    if kind == "RayJob" and wanted < (1, 6, 0):
        found = _changed(found, _steps(_CONDITION), partial(_requiring, "jobStatus"))
        found = _changed(found, _steps(_CONDITION), partial(dataclasses.replace, rules=()))
    return found


def _requiring(name: str, field: Field) -> Field:
    return dataclasses.replace(field, required=tuple(sorted({*field.required, name})))


def _without(name: str, field: Field) -> Field:
    kept = {key: inner for key, inner in field.properties.items() if key != name}
    return dataclasses.replace(field, properties=kept)


def _changed(field: Field, steps: list[str], change: Callable[[Field], Field]) -> Field:
    """A copy in which the field at the end of the steps is what `change` makes of it."""
    if not steps:
        return change(field)
    step, rest = steps[0], steps[1:]
    if step == "[]":
        return field if field.items is None else dataclasses.replace(field, items=_changed(field.items, rest, change))
    if step not in field.properties:
        return field
    inner = _changed(field.properties[step], rest, change)
    return dataclasses.replace(field, properties={**field.properties, step: inner})


@cache
def _tables() -> Mapping[str, Mapping[CrdKind, Field]]:
    text = resources.files("dagster_ray.kuberay._operator_rules").joinpath("crd_fields.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    numbers: Mapping[str, Mapping[CrdKind, int]] = table["versions"]
    fields: list[Field] = []
    for part in table["nodes"]:  # a part comes after those that it refers to
        fields.append(_field(part, fields))
    return {version: {kind: fields[number] for kind, number in kinds.items()} for version, kinds in numbers.items()}


def _field(part: Mapping[str, Any], known: list[Field]) -> Field:
    inner: Mapping[str, int] = part.get("p", {})
    items: int | None = part.get("i")
    values: int | None = part.get("a")
    return Field(
        type=part.get("t", ""),
        properties={name: known[number] for name, number in inner.items()},
        required=tuple(part.get("r", ())),
        items=None if items is None else known[items],
        values=None if values is None else known[values],
        enum=tuple(part.get("e", ())),
        has_default="d" in part,
        default=part.get("d"),
        nullable=part.get("n", False),
        int_or_string=part.get("s", False),
        keeps_unknown=part.get("u", False),
        minimum=part.get("lo"),
        maximum=part.get("hi"),
        min_length=part.get("ln"),
        max_length=part.get("hn"),
        min_items=part.get("c"),
        pattern=part.get("x"),
        format=part.get("f", ""),
        list_keys=tuple(part["l"]) if "l" in part else None,
        rules=tuple(part.get("v", ())),
    )

"""Which release of KubeRay an API server's CRDs are of, by their fields, and which fields a release lacks. Pure.

CRDs carry no version of KubeRay. Every account may read their schemas, in the API server's OpenAPI document, by the
role system:discovery. FIELDS_SINCE has what each release has added.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings
from dagster_ray.kuberay._operator_rules.crd_fields import FIELDS_SINCE, KINDS, OLDEST, CrdKind, Release

SCHEMA_PATH = "/openapi/v3/apis/ray.io/v1"


@dataclass(frozen=True, slots=True)
class CrdRelease:
    """What the fields tell.

    Attributes:
        since: The newest release of which all fields are there.
        before: The first release of which fields are missing; None if none is missing that is known.
        strange: Fields of later releases that are there all the same, as of a CRD that somebody has changed.
    """

    since: Release
    before: Release | None
    strange: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The range in words."""
        if self.before is None:
            return f"{_text(self.since)} or later"
        first = f"{_text(self.since)} or earlier" if self.since == OLDEST else _text(self.since)
        return f"{first}, before {_text(self.before)}"


def crd_release(document: Manifest) -> CrdRelease | None:
    """Return the release that an OpenAPI document of `ray.io/v1` tells of; None without schemas of both kinds."""
    schemas: dict[CrdKind, Manifest] = {kind: _schema(document, kind) for kind in KINDS}
    if any(not mapping(schema.get("properties")) for schema in schemas.values()):
        return None
    releases = sorted({since for fields in FIELDS_SINCE.values() for since in fields.values()})
    found, before = OLDEST, None
    for release in releases:
        if _missing(schemas, release):
            before = release
            break
        found = release
    later = [] if before is None else [release for release in releases if release > before]
    strange = tuple(
        f"{kind} {path}"
        for kind, fields in FIELDS_SINCE.items()
        for path, since in fields.items()
        if since in later and _has(schemas[kind], path)
    )
    return CrdRelease(found, before, strange)


def _missing(schemas: Mapping[CrdKind, Manifest], release: Release) -> bool:
    return any(
        since == release and not _has(schemas[kind], path)
        for kind, fields in FIELDS_SINCE.items()
        for path, since in fields.items()
    )


def _schema(document: Manifest, kind: CrdKind) -> Manifest:
    for schema in mapping(at(document, "components", "schemas")).values():
        found = mapping(schema)
        names = mappings(found.get("x-kubernetes-group-version-kind"))
        if any((one.get("group"), one.get("version"), one.get("kind")) == ("ray.io", "v1", kind) for one in names):
            return found
    return {}


def _has(schema: Manifest, path: str) -> bool:
    found = schema
    for part in path.split("."):
        name = part.removesuffix("[]")
        found = mapping(mapping(found.get("properties")).get(name))
        if part.endswith("[]"):
            found = mapping(found.get("items"))
        if not found:
            return False
    return True


def _text(release: Release) -> str:
    major, minor, patch = release
    return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"


def missing_fields(kind: CrdKind, manifest: Manifest, release: Release) -> Iterator[str]:
    """Yield the fields of a manifest that came after this release: its API server refuses them as unknown."""
    for path, since in FIELDS_SINCE[kind].items():
        if since > release and _holds(manifest, path.split(".")):
            yield path


def _holds(value: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    name = steps[0].removesuffix("[]")
    found = mapping(value)
    if found.get(name) is None:
        return False
    if not steps[0].endswith("[]"):
        return _holds(found[name], steps[1:])
    items = cast("list[object]", found[name]) if isinstance(found[name], list) else []
    return any(_holds(item, steps[1:]) for item in items)

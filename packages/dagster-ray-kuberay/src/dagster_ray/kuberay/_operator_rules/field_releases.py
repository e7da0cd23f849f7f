"""Which fields of an object a release's CRD does not have, where a later one has them. Pure."""

from collections.abc import Iterator
from typing import Any, cast

from dagster_ray.kuberay._kubernetes.fields import Manifest, mapping
from dagster_ray.kuberay._operator_rules.crd_fields import FIELDS_SINCE, CrdKind, Release


def missing_fields(kind: CrdKind, manifest: Manifest, release: Release) -> Iterator[str]:
    """Yield the fields of a manifest that came after this release: its API server refuses them as unknown."""
    for path, since in FIELDS_SINCE[kind].items():
        if since > release and _has(manifest, path.split(".")):
            yield path


def _has(value: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    name = steps[0].removesuffix("[]")
    found = mapping(value)
    if found.get(name) is None:
        return False
    if not steps[0].endswith("[]"):
        return _has(found[name], steps[1:])
    items = cast("list[object]", found[name]) if isinstance(found[name], list) else []
    return any(_has(item, steps[1:]) for item in items)

"""Which parts of a specification are completed with defaults of ours, and which mean what `kubectl apply` takes. Pure.

A whole manifest is complete: what it leaves out has KubeRay's default. Defaults of ours complete only what
`head_group()`, `worker_group()` or nothing at all has said. The builders leave a mark in the pod template, an
annotation that rendering removes, so that their dictionaries are known after a way through YAML or run config.
"""

from collections.abc import Mapping
from typing import Any, cast

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, mappings, text
from dagster_ray.kuberay._spec.plain_json import Json

MARK = "dagster/completion"
"""The annotation of a pod template that says what defaults of ours complete."""
_ALL, _GROUP, _NOTHING = "all", "group", "nothing"


def with_defaults(template: Mapping[str, Any]) -> Json:
    """Return the pod template of a builder: its group is completed, and if it is the head's, the cluster as well."""
    return _marked(template, _ALL)


def as_manifest(cluster: Mapping[str, Any]) -> Json:
    """Return the spec of a cluster that comes from a file with a `kind`.

    Only the group of a builder that code has set over it is still completed.
    """
    head = mapping(cluster.get("headGroupSpec"))
    template: object = head.get("template") or {}
    if is_manifest(cluster) or not isinstance(template, Mapping):
        return dict(cluster)
    marked = _marked(mapping(cast("object", template)), _GROUP if is_built(head) else _NOTHING)
    return {**cluster, "headGroupSpec": {**head, "template": marked}}


def _marked(template: Mapping[str, Any], value: str) -> Json:
    metadata = mapping(template.get("metadata"))
    annotations = {**mapping(metadata.get("annotations")), MARK: value}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def is_manifest(cluster: Manifest) -> bool:
    """Return whether the spec of a cluster is a whole manifest: its head has a container that no builder has made."""
    head = mapping(cluster.get("headGroupSpec"))
    mark = _mark_of(head)
    return mark in {_GROUP, _NOTHING} or (mark != _ALL and bool(mappings(at(head, "template", "spec", "containers"))))


def is_built(group: Manifest) -> bool:
    """Return whether a builder made the group, which is completed then, in a whole manifest as well."""
    return _mark_of(group) in {_ALL, _GROUP}


def without_mark(metadata: Mapping[str, Any]) -> Json:
    """Return the metadata of a pod template as it is sent."""
    annotations = mapping(metadata.get("annotations"))
    if MARK not in annotations:
        return dict(metadata)
    kept = {key: value for key, value in annotations.items() if key != MARK}
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**rest, "annotations": kept} if kept else rest


def _mark_of(group: Manifest) -> str:
    return text(group, "template", "metadata", "annotations", MARK)

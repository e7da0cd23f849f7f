"""What an API server checks of an object's metadata, in its words (kube-apiserver 1.36). Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._operator_rules.names import label_value_faults, qualified_name_faults, subdomain_faults
from dagster_ray.simulator._api.schema_causes import Cause, invalid, required, too_long

META_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)

_ANNOTATIONS_BYTES = 256 * 1024
# An update is checked by the generic store, by its update check and by the strategy of custom resources: what is
# wrong is listed by each (run with kube-apiserver 1.36.1).
_CHECKS_OF_AN_UPDATE = 3


def metadata_causes(metadata: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> Iterator[Cause]:
    """What is wrong with the metadata of an object that is created, or updated when `old` is given."""
    if old is None:
        yield from _name_causes(metadata)
    elif (uid := metadata.get("uid")) and uid != old.get("uid"):
        cause = invalid("metadata.uid", uid, "field is immutable")
        yield from (cause, cause)
    for _ in range(1 if old is None else _CHECKS_OF_AN_UPDATE):
        yield from _pair_causes(metadata)


def _name_causes(metadata: Mapping[str, Any]) -> Iterator[Cause]:
    name = metadata.get("name") or ""
    if not name:
        if not metadata.get("generateName"):
            yield required("metadata.name", "name or generateName is required")
        return
    for text in subdomain_faults(name):
        yield invalid("metadata.name", name, text)


def _pair_causes(metadata: Mapping[str, Any]) -> Iterator[Cause]:
    labels = mapping(metadata.get("labels"))
    annotations = mapping(metadata.get("annotations"))
    for key, value in labels.items():
        for text in qualified_name_faults(key):
            yield invalid("metadata.labels", key, text)
        for text in label_value_faults(str(value)):
            yield invalid("metadata.labels", value, text)
    for key in annotations:
        for text in qualified_name_faults(key.lower()):
            yield invalid("metadata.annotations", key, text)
    if sum(len(key) + len(str(value).encode()) for key, value in annotations.items()) > _ANNOTATIONS_BYTES:
        yield too_long("metadata.annotations", _ANNOTATIONS_BYTES)

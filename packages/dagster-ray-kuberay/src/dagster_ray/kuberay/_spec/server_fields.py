"""What only a server writes into an object, and `kubectl get -o yaml` prints. A new object does not have it. Pure."""

from collections.abc import Mapping
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import mapping
from dagster_ray.kuberay._spec.plain_json import Json

_METADATA = frozenset({
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
})  # fmt: skip
# The whole object as `kubectl apply` sent it last, which the next apply would compare with ours.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def without_server_fields(metadata: Mapping[str, Any]) -> Json:
    """Return the metadata of an object as its author wrote it, without empty keys."""
    kept = {key: value for key, value in metadata.items() if key not in _METADATA and value is not None}
    annotations = mapping(kept.get("annotations"))
    if _LAST_APPLIED in annotations:
        kept["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    return kept

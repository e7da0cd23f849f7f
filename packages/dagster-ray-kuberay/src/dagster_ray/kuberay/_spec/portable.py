"""What to send instead when an API server does not know a field, or an operator refuses it. Pure."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping

STRATEGY = "spec.deletionStrategy"
PRE_RUNNING_DEADLINE = "spec.preRunningDeadlineSeconds"


def portable_spec(spec: Manifest) -> dict[str, Any] | None:
    """Return a spec that means the same to operators which do not know `deletionStrategy`; None if there is none.

    KubeRay 1.3 and 1.4 do not know the field, 1.5 refuses it unless a feature gate is on. When success and failure
    both delete the cluster, `shutdownAfterJobFinishes` does the same after the same time; with DeleteSelf only the
    RayJob object stays behind, without cluster or cost.
    """
    strategy = mapping(spec.get("deletionStrategy"))
    policies = {at(strategy, "onSuccess", "policy"), at(strategy, "onFailure", "policy")}
    if not policies <= {"DeleteCluster", "DeleteSelf"}:
        return None
    kept = {key: deepcopy(value) for key, value in spec.items() if key != "deletionStrategy"}
    return {**kept, "shutdownAfterJobFinishes": True}


def without_fields(rayjob: Manifest, unknown: Collection[str], ours: Collection[str]) -> dict[str, Any] | None:
    """Return the RayJob without the fields that the server does not know; None if that would change its meaning.

    Args:
        rayjob: The manifest.
        unknown: Paths that the server does not know, as it prints them: `spec.deletionStrategy`.
        ours: Paths of fields that the user did not ask for, which may be left out.
    """
    spec = dict(mapping(rayjob.get("spec")))
    for path in unknown:
        if path == STRATEGY:
            portable = portable_spec(spec)
            if portable is None:
                return None
            spec = portable
        elif path in ours and path.count(".") == 1:
            spec.pop(path.removeprefix("spec."), None)
        else:
            return None
    return {**deepcopy(dict(rayjob)), "spec": deepcopy(spec)}

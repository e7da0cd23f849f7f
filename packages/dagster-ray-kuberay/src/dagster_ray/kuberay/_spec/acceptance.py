"""What KubeRay would refuse of a configuration or an object, by release, and what to send instead. Pure.

Loads with the first configuration that is made: the operator's rules take long to load.
"""

import json
from collections.abc import Collection
from copy import deepcopy
from functools import lru_cache
from typing import Any

from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping
from dagster_ray.kuberay._labels import LOCK_PREFIX
from dagster_ray.kuberay._operator_rules.crd_fields import CrdKind, Release, release, versions
from dagster_ray.kuberay._operator_rules.crd_release import missing_fields
from dagster_ray.kuberay._spec.errors import InvalidSpecError
from dagster_ray.kuberay._spec.manifests import RenderInput, render_raycluster, render_rayjob
from dagster_ray.kuberay._spec.plain_json import Json, references
from dagster_ray.kuberay._spec.rules import check_object, selected_cluster
from dagster_ray.kuberay._spec.typed_values import typed
from dagster_ray.kuberay._spec.unknown_keys import unknown_keys, unknown_values

# Stands for the facts of a step while a code location loads.
_ANY_STEP = RenderInput(name="a", namespace="default", image="a", ray_version="2.60.0")


def check_written(kind: CrdKind, written: Json) -> tuple[str, ...]:
    """Raise if every release of KubeRay would refuse an object; return what only some refuse, in sentences.

    Args:
        kind: RayJob, of an interactive job, or RayCluster.
        written: What the configuration says: `metadata` and `spec`.

    Raises:
        InvalidSpecError: All would; it names the field.
    """
    return _sentences(kind, json.dumps(written))


@lru_cache(maxsize=32)  # Dagster builds a configuration several times for each step.
def _sentences(kind: CrdKind, text: str) -> tuple[str, ...]:
    written: Json = json.loads(text)
    if kind == "RayCluster" and selected_cluster(written["spec"]) is not None:
        return ()
    plain = typed(written, kind, {})
    render = render_rayjob if kind == "RayJob" else render_raycluster
    # What comes from the environment is known in the step only.
    return _judged(kind, plain, None if any(references(plain)) else render(written, _ANY_STEP))


def _judged(kind: CrdKind, plain: Json, rendered: Manifest | None) -> tuple[str, ...]:
    for key in mapping(plain["metadata"].get("annotations")):
        if key.startswith(LOCK_PREFIX):
            reason = "is the lock of another step, which would keep the new cluster"
            raise InvalidSpecError(f"metadata.annotations.{key}", reason, "remove it")
    unknown = (
        *(
            f"`{path}` is not a field of KubeRay up to 1.7; it is sent as it is."
            for path in unknown_keys(kind, plain["spec"])
        ),
        *(value.sentence for value in unknown_values(plain["spec"])),
    )
    refused = refusals(kind, plain, rendered)
    if not refused:
        return unknown
    newest = refused[max(refused, key=release)]
    if all(version in refused or _lacks_fields(kind, plain, release(version)) for version in versions()):
        raise newest
    accepting = " and ".join(version for version in versions() if version not in refused)
    return (*unknown, f"{newest.problem} KubeRay {accepting} would accept it. For every release: {newest.remedy}")


def _lacks_fields(kind: CrdKind, plain: Json, older: Release) -> bool:
    """Return whether a release's API server does not know a field, and nothing else could be sent instead."""
    portable = portable_spec(plain["spec"]) is not None
    return any(path != STRATEGY or not portable for path in missing_fields(kind, plain, older))


def refusals(kind: CrdKind, written: Manifest | None, rendered: Manifest | None) -> dict[str, InvalidSpecError]:
    """Return why releases refuse an object, by release; those that accept it are missing.

    Args:
        kind: RayJob or RayCluster.
        written: Its `metadata` and `spec`, perhaps with references to the environment; None where the finished object
            alone is looked at.
        rendered: The finished object, which the operator's own rules need; None while it is not known.
    """
    found = {version: _refusal(kind, written, rendered, version) for version in versions()}
    return {version: error for version, error in found.items() if error is not None}


def _refusal(
    kind: CrdKind, written: Manifest | None, rendered: Manifest | None, version: str
) -> InvalidSpecError | None:
    try:
        for obj, is_whole in ((written, False), (rendered, True)):
            if obj is None:
                continue
            metadata, spec = mapping(obj.get("metadata")), mapping(obj.get("spec"))
            check_object(kind, metadata, spec, release(version), is_whole=is_whole)
    except InvalidSpecError as error:
        return error
    return None


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

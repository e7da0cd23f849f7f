"""From a resource's fields and a step's context to the shared RayCluster that is wanted."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import logging
import os
from typing import TYPE_CHECKING, Any

from dagster_ray.core import DagsterContext, identity_of
from dagster_ray.kuberay._labels import GENERATION_LABEL
from dagster_ray.kuberay._sharing.choice import selection_of, spec_hash
from dagster_ray.kuberay._sharing.config import ClusterSharing
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._sharing.steps import SharedWish, new_lock_id
from dagster_ray.kuberay._spec.manifests import metadata_text, named, render_raycluster
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION
from dagster_ray.kuberay._steps.wishes import Settings, render_input

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_PREFIX = "dagster"


def shared_wish(
    plain: Json,
    settings: Settings,
    sharing: ClusterSharing,
    context: DagsterContext,
    api: "KubernetesApi",
    *,
    log: logging.Logger,
) -> SharedWish:
    """Return the cluster that is wanted, to be shared with other steps.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    identity = identity_of(context)
    common = render_input(plain, settings, identity, context, api, log=log)
    anybodys = render_raycluster(plain, dataclasses.replace(common, name="any", labels={}, annotations={}))
    selection = selection_of(identity, sharing.rules(), spec_hash(anybodys))

    def render(name: str, generation: int, lock: Lock) -> dict[str, Any]:
        labels = {**common.labels, **selection.labels, GENERATION_LABEL: str(generation)}
        manifest = named(anybodys, name, labels, common.annotations)
        metadata = manifest["metadata"]
        return {
            **manifest,
            "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), lock.key: lock.text()}},
        }

    return SharedWish(
        namespace=common.namespace,
        selection=selection,
        prefix=metadata_text(plain, "name", os.environ) or _PREFIX,
        creation_id=common.annotations[CREATION_ANNOTATION],
        lock_id=new_lock_id(),
        run_id=identity.run_id,
        step_key=identity.step_key,
        ttl_seconds=sharing.ttl_seconds,
        render=render,
    )

"""From a resource's fields and a step's context to the pool whose clusters it claims."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dagster_ray.core import Identity, identity_of
from dagster_ray.kuberay._kubernetes.fields import time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import MANAGED_BY_LABEL, POOL_LABEL, POOL_NAME_LABEL, SLOT_LABEL
from dagster_ray.kuberay._pool.config import ClusterPool
from dagster_ray.kuberay._pool.members import SIZES_ANNOTATION, USED_ANNOTATION, Sizes
from dagster_ray.kuberay._sharing.choice import Selection, spec_hash
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._sharing.requests import lock_id_of
from dagster_ray.kuberay._spec.manifests import metadata_text, named, render_raycluster
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, ClusterRequest
from dagster_ray.kuberay._steps.requests import Settings, render_input
from dagster_ray.kuberay._steps.step_cluster import StepCluster

CLAIM_SECONDS = 600.0
"""How long a claim lives after the last sign of its step."""
RENEWAL_SECONDS = CLAIM_SECONDS / 3

_PREFIX = "dagster"
# What is the same for all who use a pool; a member outlives runs, and has no label of one.
_KEPT_LABELS = ("dagster/code-location", "dagster/git-sha", "dagster/deployment", "dagster/instance-id")


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """The pool whose clusters are wanted."""

    namespace: str
    selection: Selection
    """Its members."""
    prefix: str
    """What the names of its members begin with."""
    claim_id: str
    """What the claim and the ticket of this step are called."""
    ended_ids: frozenset[str]
    """What the claims of attempts of this step are called that its run's log knows as ended."""
    run_id: str | None
    step_key: str | None
    sizes: Sizes
    render: Callable[[str, int, Lock], dict[str, Any]]
    """Returns the manifest of a member under a name, in a slot, with a claim."""

    def one(self, slot: int, claim: Lock) -> ClusterRequest:
        """Return the request for the member of a slot."""
        name = self.selection.name(self.prefix, slot)
        return ClusterRequest(RAYCLUSTERS, (name,), self.render(name, slot, claim))

    def sample(self) -> ClusterRequest:
        """Return what a new member would be, to be looked at before anything is asked for."""
        return self.one(1, self.claim(datetime.fromtimestamp(0, UTC)))

    def claim(self, now: datetime) -> Lock:
        """Return the claim that this step puts on a cluster now."""
        return Lock(self.claim_id, self.run_id, self.step_key, now, now, CLAIM_SECONDS)


def pool_of(identity: Identity, name: str | None, hash_of_spec: str) -> Selection:
    """Return the members of the pool that a step may use.

    A pool is one specification, image and versions included, under one name in one code location. What is unknown of
    the step, such as the commit outside of Dagster+, must be unknown of the pool too.
    """
    values = identity.labels
    called = Identity.label_value(name or identity.resource_key or "pool")
    facts = {POOL_NAME_LABEL: called, **{key: values.get(key) for key in _KEPT_LABELS}}
    digest = Selection({**facts, "spec": hash_of_spec}).key
    return Selection({POOL_LABEL: digest, MANAGED_BY_LABEL: values[MANAGED_BY_LABEL], **facts})


def pool_request(
    plain: Json, settings: Settings, pool: ClusterPool, cluster: StepCluster, number: int | None = None
) -> PoolRequest:
    """Return the pool whose clusters are wanted.

    Args:
        plain: The RayCluster's configuration.
        settings: The resource's other fields.
        pool: The pool.
        cluster: What will hold the cluster.
        number: The first of the step's jobs that this attempt is about; None if its body is in no job.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    identity = identity_of(cluster.context)
    common = render_input(plain, settings, cluster, identity)
    anybodys = render_raycluster(plain, dataclasses.replace(common, name="any", labels={}, annotations={}))
    selection, sizes = pool_of(identity, pool.name, spec_hash(anybodys)), pool.sizes()
    full = {key: value for key, value in common.annotations.items() if key in _KEPT_LABELS}

    def render(name: str, slot: int, claim: Lock) -> dict[str, Any]:
        manifest = named(anybodys, name, {**selection.labels, SLOT_LABEL: str(slot)}, full)
        metadata = manifest["metadata"]
        ours = {
            SIZES_ANNOTATION: sizes.text(),
            USED_ANNOTATION: time_text(claim.applied_at),
            CREATION_ANNOTATION: common.annotations[CREATION_ANNOTATION],
            claim.key: claim.text(),
        }
        return {**manifest, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **ours}}}

    return PoolRequest(
        namespace=common.namespace,
        selection=selection,
        prefix=metadata_text(plain, "name", os.environ) or _PREFIX,
        claim_id=lock_id_of(identity, driver_in_cluster=settings.driver_in_cluster, number=number),
        ended_ids=frozenset(lock_id_of(identity, driver_in_cluster=True, number=one) for one in range(number or 0)),
        run_id=identity.run_id,
        step_key=identity.step_key,
        sizes=sizes,
        render=render,
    )

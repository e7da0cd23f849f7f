"""From a resource's fields and a step's context to the shared RayCluster that is wanted."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dagster_ray.core import Identity, identity_of
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import GENERATION_LABEL
from dagster_ray.kuberay._sharing.choice import Selection, selection_of, spec_hash
from dagster_ray.kuberay._sharing.config import ClusterSharing
from dagster_ray.kuberay._sharing.locks import Lock
from dagster_ray.kuberay._spec.manifests import metadata_text, named, render_raycluster
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._steps.creation import CREATION_ANNOTATION, ClusterRequest
from dagster_ray.kuberay._steps.requests import Settings, render_input
from dagster_ray.kuberay._steps.step_cluster import StepCluster

_PREFIX = "dagster"
_LOCK_ID_CHARACTERS = 12


def lock_id_of(identity: Identity, *, driver_in_cluster: bool, number: int | None = None) -> str:
    """Return what the lock of a step is called: in each process another one.

    If the body runs in the cluster it has one name for all attempts of the step in its run. So an attempt after a crash
    goes to the cluster on which the body may still run, and takes the lock over. The same holds for the worker of a run
    that has a cluster for all steps, and for the worker that resumes the run.

    Args:
        identity: Whose lock it is.
        driver_in_cluster: Whether the body runs in the cluster.
        number: The first of the step's jobs that its attempt is about, where attempts that have ended and those that
            have not must differ.
    """
    if not driver_in_cluster or identity.run_id is None:
        return uuid.uuid4().hex[:_LOCK_ID_CHARACTERS]
    whose = [identity.run_id, identity.step_key, identity.resource_key, *([] if number is None else [number])]
    return hashlib.sha256(json.dumps(whose).encode()).hexdigest()[:_LOCK_ID_CHARACTERS]


@dataclass(frozen=True, slots=True)
class SharedRequest:
    """The shared cluster that is wanted."""

    namespace: str
    selection: Selection
    prefix: str
    """What the names of new clusters begin with."""
    creation_id: str
    """The annotation by which a lost POST finds its object."""
    lock_id: str
    """What the lock of this step is called."""
    run_id: str | None
    step_key: str | None
    ttl_seconds: float
    render: Callable[[str, int, Lock], dict[str, Any]]
    """Returns the manifest under a name, as a generation, with a lock."""

    def one(self, name: str, generation: int, lock: Lock) -> ClusterRequest:
        """Return the request for one object of this kind."""
        return ClusterRequest(RAYCLUSTERS, (name,), self.render(name, generation, lock))

    def sample(self) -> ClusterRequest:
        """Return what a new cluster would be, to be looked at before anything is asked for."""
        return self.one(self.selection.name(self.prefix, 1), 1, self.lock(datetime.fromtimestamp(0, UTC)))

    def lock(self, now: datetime) -> Lock:
        """Return the lock that this step puts on a cluster now."""
        return Lock(self.lock_id, self.run_id, self.step_key, now, now, self.ttl_seconds)


def shared_request(plain: Json, settings: Settings, sharing: ClusterSharing, cluster: StepCluster) -> SharedRequest:
    """Return the cluster that is wanted, to be shared with other steps.

    Raises:
        InvalidSpecError, MissingVariableError: The spec cannot be rendered.
    """
    identity = identity_of(cluster.context)
    common = render_input(plain, settings, cluster, identity)
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

    return SharedRequest(
        namespace=common.namespace,
        selection=selection,
        prefix=metadata_text(plain, "name", os.environ) or _PREFIX,
        creation_id=common.annotations[CREATION_ANNOTATION],
        lock_id=lock_id_of(identity, driver_in_cluster=settings.driver_in_cluster),
        run_id=identity.run_id,
        step_key=identity.step_key,
        ttl_seconds=sharing.ttl_seconds,
        render=render,
    )

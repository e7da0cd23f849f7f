"""Labels and annotations by which objects are found again, beside those of the identity. Pure.

They are a contract: other tools may read them, and a later version finds what an earlier one has made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dagster_ray.core import CleanupPolicy

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "dagster-ray"
"""The label's value on all that dagster-ray makes. What lacks it is never changed, except for a lock, nor deleted."""

RUN_LABEL = "dagster/run-id"
STEP_LABEL = "dagster/step-key"
BACKFILL_LABEL = "dagster/backfill"
"""The backfill of the run. Dagster's tag on the run has the same name."""
RESOURCE_LABEL = "dagster/resource-key"
INSTANCE_LABEL = "dagster/instance-id"
"""The id of the Dagster instance: its own if it was given one, otherwise that of its run storage."""

ALIVE_ANNOTATION = "dagster/alive-at"
"""When a step that has the object for itself last showed that it lives, by the API server's clock."""
ALIVE_SECONDS = 600.0
"""How often a step renews that annotation on a RayCluster, and on a RayJob whose Ray job it follows.

On the RayJob of a driver in the step it is written once, with its job id: the status says whether the driver lives.
"""

HELD_ANNOTATION = "dagster/held-until"
"""Until when a RayJob is held after its step failed, by the API server's clock."""

CLEANUP_LABEL = "dagster/cleanup"
"""The lifecycle's cleanup policy of an object that one step has for itself: always, on_exception or never."""

DRIVER_LABEL = "dagster/driver"
DRIVER_IN_CLUSTER = "cluster"
"""The label's value on what a step with `driver="cluster"` has for itself: its body runs there as a Ray job."""

SHARING_LABEL = "dagster/cluster-sharing"
SHARED = "true"
GENERATION_LABEL = "dagster/sharing-generation"
"""Which cluster of its sharing key this is, from 1 on: a broken one is followed by the next."""
SCOPE_LABEL = "dagster/sharing-scope"
RUN_SCOPE = "run"
"""The scope of a shared cluster that ends with its run; without the label it outlives runs."""
BACKFILL_SCOPE = "backfill"
"""The scope of a shared cluster that ends with its backfill."""
SPEC_LABEL = "dagster/spec-hash"
"""The hash of the specification that a shared cluster was made from."""

POOL_LABEL = "dagster/pool"
"""Which pool a RayCluster belongs to: a digest of its specification and of who uses it."""
POOL_NAME_LABEL = "dagster/pool-name"
"""What its configuration calls the pool."""
SLOT_LABEL = "dagster/pool-slot"
"""Which of the pool's names the cluster has, from 1 to its largest size."""

OPERATOR_SELECTOR = "app.kubernetes.io/name=kuberay-operator"
"""Selects the pods of KubeRay's operator, as its Helm chart labels them."""

LOCK_PREFIX = "dagster/lock-"
"""What the names of lock annotations begin with; each step adds one of its own."""


def cleanup_labels(policy: CleanupPolicy) -> dict[str, str]:
    """Return the label that tells what the end of the step means for an object."""
    return {CLEANUP_LABEL: policy}


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingRules:
    """With whom a step shares.

    Attributes:
        code_location, git_sha, resource_key, job: Facts of Dagster that must be the same.
        run: Whether only steps of one run share; the cluster then ends with the run.
        backfill: Whether only runs of one backfill share; the cluster then ends with the backfill. Outside of a
            backfill, `run` decides.
        spec: Whether the specification must be the same.
        labels: Labels that a cluster must have beside.
    """

    code_location: bool = True
    git_sha: bool = True
    resource_key: bool = True
    job: bool = False
    run: bool = False
    backfill: bool = False
    spec: bool = True
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

"""Which shared cluster a step takes, and what it does with its lock at the end. Pure.

docs/kuberay-sharing.md has the protocol as a state machine, with its invariants.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from dagster_ray.core import Identity, StepOutcome
from dagster_ray.kuberay._diagnosis.containers import ray_container_of
from dagster_ray.kuberay._diagnosis.diagnosis import explain_head
from dagster_ray.kuberay._diagnosis.patience import is_proven
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, time_of
from dagster_ray.kuberay._labels import (
    BACKFILL_LABEL,
    BACKFILL_SCOPE,
    GENERATION_LABEL,
    RUN_LABEL,
    RUN_SCOPE,
    SCOPE_LABEL,
    SHARED,
    SHARING_LABEL,
    SPEC_LABEL,
    SharingRules,
)
from dagster_ray.kuberay._sharing.locks import holders, live_locks, locks_of
from dagster_ray.kuberay._status.cluster_state import Queued, head_of_raycluster, is_ready, read_raycluster

_HASH_CHARACTERS = 10
_GENERATION_DIGITS = 9
NAME_LIMIT = 53
"""Characters of a RayCluster's name (KubeRay 1.4, ray-operator/controllers/ray/utils/constant.go)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The clusters that a step may take.

    Attributes:
        required: Labels and their values; None where a cluster must not have the label.
    """

    required: Mapping[str, str | None]

    @property
    def has_scope(self) -> bool:
        """Whether a run or a backfill, not the locks, keeps a cluster between its steps."""
        return self.required.get(SCOPE_LABEL) is not None

    @property
    def selector(self) -> str:
        """The label selector."""
        return ",".join(
            f"!{key}" if value is None else f"{key}={value}" for key, value in sorted(self.required.items())
        )

    @property
    def labels(self) -> dict[str, str]:
        """The labels of a new cluster."""
        return {key: value for key, value in self.required.items() if value is not None}

    @property
    def key(self) -> str:
        """The sharing key: equal for all steps that may share, and for no others."""
        return _hash(dict(self.required))

    def matches(self, cluster: Manifest) -> bool:
        """Return whether the API server would select the cluster."""
        return all(at(cluster, "metadata", "labels", key) == value for key, value in self.required.items())

    def name(self, prefix: str, generation: int) -> str:
        """Return the name of the cluster of a generation; of N steps that create it, one succeeds."""
        tail = f"{self.key}-{generation}"
        return f"{prefix[: NAME_LIMIT - len(tail) - 1].rstrip('-')}-{tail}"


def spec_hash(manifest: Manifest) -> str:
    """Return the hash of a rendered RayCluster, made without the identity of a step."""
    return _hash({"labels": at(manifest, "metadata", "labels"), "spec": manifest.get("spec")})


def selection_of(identity: Identity, rules: SharingRules, hash_of_spec: str) -> Selection:
    """Return the clusters that a step may take.

    What is unknown, such as the commit outside of Dagster+ or the code location of a run from the command line, must
    be unknown of the cluster too.
    """
    values = identity.labels
    backfill = values.get(BACKFILL_LABEL) if rules.backfill else None
    of_run = rules.run and backfill is None
    wanted = {
        "dagster/code-location": rules.code_location,
        "dagster/git-sha": rules.git_sha,
        "dagster/resource-key": rules.resource_key,
        "dagster/job": rules.job,
        RUN_LABEL: of_run,
        BACKFILL_LABEL: rules.backfill,
    }
    required: dict[str, str | None] = {key: Identity.label_value(value) for key, value in rules.labels.items()}
    required |= {key: values.get(key) for key, on in wanted.items() if on}
    scope = BACKFILL_SCOPE if backfill is not None else RUN_SCOPE if of_run else None
    required |= {SHARING_LABEL: SHARED, SCOPE_LABEL: scope}
    return Selection(required | ({SPEC_LABEL: hash_of_spec} if rules.spec else {}))


@dataclass(frozen=True, slots=True)
class Take:
    """Lock this cluster and use it."""

    cluster: Manifest


@dataclass(frozen=True, slots=True)
class Make:
    """Create the cluster of this generation."""

    generation: int


Choice: TypeAlias = Take | Make


def choose(
    clusters: Sequence[Manifest], now: datetime, barred: Collection[str], floor: int, lock_id: str = ""
) -> Choice:
    """Return what a step does, given all clusters that its selection matches.

    A cluster with the step's own lock comes first: an earlier attempt has used it. Then one whose head serves, then one
    that starts, then one that a queue holds; among these the least locked. One that is being deleted, or whose head
    cannot run, is followed by the next generation.

    Args:
        clusters: The clusters, terminating and broken ones too.
        now: The API server's time.
        barred: Uids of clusters that this step has found unusable.
        floor: The highest generation whose name this step has found taken by something else.
        lock_id: What the step's lock is called.
    """
    usable = [
        cluster for cluster in clusters if at(cluster, "metadata", "uid") not in barred and is_usable(cluster, now)
    ]
    if usable:
        return Take(min(usable, key=lambda cluster: _preference(cluster, now, lock_id)))
    return Make(1 + max((floor, *map(generation_of, clusters))))


def is_usable(cluster: Manifest, now: datetime) -> bool:
    """Return whether a driver may ever connect to the cluster.

    What is wrong with a head may pass, so that it counts once the head has not been ready for long enough to prove it.
    """
    if at(cluster, "metadata", "deletionTimestamp"):
        return False
    head = head_of_raycluster(cluster)
    trouble = explain_head(head, ray_container_of(mapping(cluster.get("spec"))))
    since = time_of(head.since)
    if trouble is None or trouble.proof is None or since is None:
        return True
    return not is_proven(trouble.proof, seconds=(now - since).total_seconds(), attempts=0)


def _preference(cluster: Manifest, now: datetime, lock_id: str) -> tuple[bool, int, int, int, str]:
    stage = 0 if is_ready(cluster) else 2 if isinstance(read_raycluster(cluster), Queued) else 1
    name = str(at(cluster, "metadata", "name"))
    is_others = all(lock.id != lock_id for lock in locks_of(cluster))
    return is_others, stage, len(holders(cluster, now)), generation_of(cluster), name


def generation_of(cluster: Manifest) -> int:
    """Return the cluster's generation; 0 for one that was not made by sharing, or whose number no sharing comes to."""
    text = at(cluster, "metadata", "labels", GENERATION_LABEL)
    is_number = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _GENERATION_DIGITS
    return int(text) if is_number else 0


class Leave(Enum):
    """What a step does with its lock when it is over."""

    KEEP_LOCK = "the lock lives out its time"
    RELEASE = "the lock is removed"
    RELEASE_AND_DELETE_UNUSED = "the lock is removed, and the cluster deleted if nobody else holds it"


def leaving(outcome: StepOutcome, *, used: bool, made: bool, has_scope: bool, release_on_success: bool) -> Leave:
    """Return what a step does with its lock.

    Args:
        outcome: How the step ended.
        used: Whether the head accepted this step's driver, so that the cluster is good for others.
        made: Whether this step has created the cluster.
        has_scope: Whether the run or the backfill, not the lock, keeps the cluster between its steps.
        release_on_success: Whether the user wants no time after a success.
    """
    if not used:
        return Leave.RELEASE_AND_DELETE_UNUSED if made else Leave.RELEASE
    if has_scope or (release_on_success and outcome is StepOutcome.SUCCEEDED):
        return Leave.RELEASE
    return Leave.KEEP_LOCK


def is_free(cluster: Manifest, now: datetime) -> bool:
    """Return whether nobody holds the cluster at `now`, so that its maker may delete it by its version."""
    return not live_locks(cluster, now) and not at(cluster, "metadata", "deletionTimestamp")


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARACTERS]

"""What the collector knows beside the objects: rules, runs, and steps. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

StepState: TypeAlias = Literal["SUCCESS", "FAILURE", "SKIPPED", "IN_PROGRESS"]

_MARK_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Rules:
    """How long what is kept.

    Attributes:
        grace_seconds: How long a shared cluster lives after its last lock has ended, by the API server's clock. 0 is
            safe: the time that is compared is never ahead of the server's, and a lock that comes after the list makes
            the delete fail. So the first tick after the end of the TTL deletes; who wants a cluster to stay warm for
            longer says so in the TTL.
        unlocked_seconds: How old a shared cluster must be to go without any lock. Its creator's lock is part of its
            creation, so it has none only if all were released; nothing tells when, so its age counts.
        run_grace_seconds: How long a cluster of one step lives after its run has ended, by Dagster's clock: the step's
            own cleanup comes first, and so does the operator, which ends an interactive job 30 s after its driver.
        pipes_grace_seconds: The same for a RayJob of `PipesKubeRayJobClient`, which a re-execution may follow.
        waiting_seconds: How long an interactive RayJob may wait without a job id, and how old the RayCluster of one
            step must be, to go while its run is in progress and its step is over.
    """

    grace_seconds: float = 0.0
    unlocked_seconds: float = 600.0
    run_grace_seconds: float = 120.0
    pipes_grace_seconds: float = 3600.0
    waiting_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What run storage says of a run, or of a backfill, which is finished when it is over and so are its runs.

    Attributes:
        is_finished: Whether it has succeeded, failed, or was canceled.
        succeeded: Whether it has succeeded.
        seconds_since_end: By Dagster's clock. None while it is in progress, and where the storage does not tell.
        was_canceled: Whether it was canceled.
    """

    is_finished: bool
    succeeded: bool = False
    seconds_since_end: float | None = None
    was_canceled: bool = False


@dataclass(frozen=True, slots=True)
class StepRef:
    """One step of one run."""

    run_id: str
    step_key: str

    @property
    def mark(self) -> str:
        """A short text that stands for the step in the cursor."""
        text = f"{len(self.run_id)}:{self.run_id}{self.step_key}"
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_MARK_CHARACTERS]


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What this Dagster instance knows. What is missing in a mapping was not asked, or could not be.

    Attributes:
        instance_id: The id of the instance; None if nothing tells one.
        runs: Runs by id; None for one that the storage does not know.
        steps: How steps stand; None for one that the storage has nothing of.
        has_own_id: Whether `instance_id` was given to this instance alone. The id of a run storage is not: a copy of
            the database has it too.
        storage_id: The id of the run storage, where that is not `instance_id`.
        succeeded: Marks of steps that had succeeded in an earlier tick.
        backfills: Backfills by id; None for one that the storage does not know.
    """

    instance_id: str | None
    runs: Mapping[str, RunFacts | None] = field(default_factory=dict[str, RunFacts | None])
    steps: Mapping[StepRef, StepState | None] = field(default_factory=dict[StepRef, StepState | None])
    has_own_id: bool = False
    storage_id: str | None = None
    succeeded: frozenset[str] = frozenset()
    backfills: Mapping[str, RunFacts | None] = field(default_factory=dict[str, RunFacts | None])


@dataclass(frozen=True, slots=True)
class Keep:
    """An object stays."""

    because: str
    """The same words for all objects with the same reason, so that they can be counted."""


@dataclass(frozen=True, slots=True)
class Remove:
    """An object goes."""

    because: str


@dataclass(frozen=True, slots=True)
class Ask:
    """It depends on how a step stands; until that is known the object stays."""

    step: StepRef


Verdict: TypeAlias = Keep | Remove | Ask

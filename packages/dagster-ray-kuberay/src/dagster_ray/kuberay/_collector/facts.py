"""What the collector knows beside the objects: rules, runs, and steps. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

from dagster_ray.kuberay._collector.candidate import Candidate

StepState: TypeAlias = Literal["SUCCESS", "FAILURE", "SKIPPED", "IN_PROGRESS"]


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
    """What run storage says of a run.

    Attributes:
        is_finished: Whether it has succeeded, failed, or was cancelled.
        succeeded: Whether it has succeeded.
        seconds_since_end: By Dagster's clock. None while it is in progress, and where the storage does not tell.
    """

    is_finished: bool
    succeeded: bool = False
    seconds_since_end: float | None = None


@dataclass(frozen=True, slots=True)
class StepRef:
    """One step of one run."""

    run_id: str
    step_key: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What this Dagster instance knows. What is missing in a mapping was not asked, or could not be.

    Attributes:
        instance_id: The instance's own id; None where its storage has none.
        runs: Runs by id; None for one that the storage does not know.
        steps: How steps stand; None for one that the storage has nothing of.
    """

    instance_id: str | None
    runs: Mapping[str, RunFacts | None] = field(default_factory=dict[str, RunFacts | None])
    steps: Mapping[StepRef, StepState | None] = field(default_factory=dict[StepRef, StepState | None])


class Unjudged(Enum):
    """Why a run decides nothing. The values are reasons to keep."""

    NO_RUN = "was made outside of a run"
    OTHER_INSTANCE = "belongs to a run of another Dagster instance"
    NOT_ASKED = "run storage could not be asked for its run"
    UNKNOWN = "its run is not known here, and no label says whose it is"


class Gone(Enum):
    """The run was one of this instance's and does not exist any more."""

    GONE = "its run was deleted from Dagster"


RunState: TypeAlias = RunFacts | Gone | Unjudged


def run_state(candidate: Candidate, facts: Facts) -> RunState:
    """Return what is known of an object's run; only a run of this instance can be said to be gone."""
    if candidate.run_id is None:
        return Unjudged.NO_RUN
    if candidate.instance_id is not None and candidate.instance_id != facts.instance_id:
        return Unjudged.OTHER_INSTANCE
    if candidate.run_id not in facts.runs:
        return Unjudged.NOT_ASKED
    run = facts.runs[candidate.run_id]
    if run is not None:
        return run
    return Unjudged.UNKNOWN if candidate.instance_id is None else Gone.GONE


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

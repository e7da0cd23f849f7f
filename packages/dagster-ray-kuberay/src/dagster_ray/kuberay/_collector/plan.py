"""What may be deleted, and why; doubt means keep. Pure.

Plans are carried out with preconditions: an object that has changed since it was listed is not deleted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dagster_ray.kuberay._collector.candidate import Candidate
from dagster_ray.kuberay._collector.run_facts import Ask, InstanceFacts, Keep, Remove, Rules, StepRef, Verdict
from dagster_ray.kuberay._collector.run_rules import (
    IN_PROGRESS,
    held,
    judge_held,
    judge_shared,
    judge_unshared,
    of_backfill,
)
from dagster_ray.kuberay._collector.run_state import Gone, Unjudged, backfill_state, run_state
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, propagation_of

NOT_ASKED = "run storage could not be asked for its step"
NO_TURN = "there was no time to ask for its step"


@dataclass(frozen=True, slots=True)
class Delete:
    """One object that goes."""

    what: Candidate
    because: str

    @property
    def propagation(self) -> str:
        """How it is deleted."""
        return propagation_of(self.what.kind)


@dataclass(frozen=True, slots=True)
class Kept:
    """One object that stays."""

    what: Candidate
    because: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """One object that stays unless the state of a step says otherwise."""

    what: Candidate
    step: StepRef

    @property
    def kept(self) -> Kept:
        """What becomes of it as long as nobody can say how the step stands."""
        return Kept(self.what, NOT_ASKED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of some objects; each is in one of the parts.

    Attributes:
        deletes: What goes.
        keeps: What stays.
        undecided: What depends on a step; with its state in the facts, the plan is another.
    """

    deletes: tuple[Delete, ...]
    keeps: tuple[Kept, ...]
    undecided: tuple[Undecided, ...] = ()

    @property
    def asks(self) -> frozenset[StepRef]:
        """The steps that decide about the rest."""
        return frozenset(one.step for one in self.undecided)

    def with_undecided_kept(self) -> "Plan":
        """Return the plan for when nobody can be asked any more."""
        return Plan(self.deletes, (*self.keeps, *(one.kept for one in self.undecided)))

    def sparing(self, clusters: Iterable[tuple[str, str]], because: str) -> "Plan":
        """Return the plan without deletes of some RayClusters, given by namespace and name."""
        used = frozenset(clusters)
        deletes: list[Delete] = []
        spared: list[Kept] = []
        for one in self.deletes:
            if one.what.kind == RAYCLUSTERS and (one.what.namespace, one.what.name) in used:
                spared.append(Kept(one.what, because))
            else:
                deletes.append(one)
        return Plan(tuple(deletes), (*self.keeps, *spared), self.undecided)


def run_ids(candidates: Iterable[Candidate]) -> frozenset[str]:
    """Return the runs that decide about objects."""
    return frozenset(
        one.run_id
        for one in candidates
        if one.run_id is not None and untouchable(one) is None and (not one.is_shared or one.is_run_scoped)
    )


def backfill_ids(candidates: Iterable[Candidate]) -> frozenset[str]:
    """Return the backfills that decide about objects."""
    return frozenset(one.backfill_id for one in candidates if one.backfill_id is not None and untouchable(one) is None)


def untouchable(candidate: Candidate) -> Keep | None:
    """Return why an object is never touched, whatever is asked for; None if it may be judged."""
    if not candidate.is_ours:
        return Keep("was not made by dagster-ray")
    if candidate.is_terminating:
        return Keep("is being deleted already")
    if candidate.is_of_rayjob:
        return Keep("belongs to a RayJob")
    return None if candidate.is_identified else Keep("has no uid or resourceVersion")


def judge(candidate: Candidate, facts: InstanceFacts, now: datetime, rules: Rules) -> Verdict:
    """Return what becomes of one object.

    Args:
        candidate: The object.
        facts: What this Dagster instance knows of runs and steps.
        now: The API server's time when it listed the object, or a later one; never this machine's.
        rules: How long what is kept.
    """
    kept = untouchable(candidate) or held(candidate, now)
    if kept is not None:
        return kept
    if candidate.pool is not None:
        return Keep("is looked after with its pool")
    if candidate.held_until is not None and not candidate.is_shared and candidate.policy != "never":
        return judge_held(candidate, candidate.held_until, facts, now)
    judge_rest = judge_shared if candidate.is_shared else judge_unshared
    return judge_rest(candidate, facts, now, rules)


def plan(candidates: Iterable[Candidate], facts: InstanceFacts, now: datetime, rules: Rules) -> Plan:
    """Return what becomes of objects; see `judge`."""
    deletes: list[Delete] = []
    keeps: list[Kept] = []
    undecided: list[Undecided] = []
    for candidate in candidates:
        verdict = judge(candidate, facts, now, rules)
        match verdict:
            case Remove(because):
                deletes.append(Delete(candidate, because))
            case Keep(because):
                keeps.append(Kept(candidate, because))
            case Ask(step):
                undecided.append(Undecided(candidate, step))
    return Plan(tuple(deletes), tuple(keeps), tuple(undecided))


def plan_by_hand(candidates: Sequence[Candidate], facts: InstanceFacts, now: datetime, *, even_if_locked: bool) -> Plan:
    """Return what becomes of clusters that somebody wants deleted. Policies, TTLs and graces do not count.

    Args:
        candidates: The clusters.
        facts: What this Dagster instance knows of runs.
        now: The API server's time.
        even_if_locked: Whether clusters go that a step holds, or that nothing is known of.
    """
    deletes: list[Delete] = []
    keeps: list[Kept] = []
    for candidate in candidates:
        verdict = untouchable(candidate) or _judge(candidate, facts, now, even_if_locked=even_if_locked)
        if isinstance(verdict, Remove):
            deletes.append(Delete(candidate, verdict.because))
        else:
            keeps.append(Kept(candidate, verdict.because))
    return Plan(tuple(deletes), tuple(keeps))


def _judge(candidate: Candidate, facts: InstanceFacts, now: datetime, *, even_if_locked: bool) -> Keep | Remove:
    use = held(candidate, now) or _use_by_run(candidate, facts, now)
    if use is None:
        return Remove("nobody uses it")
    return Remove(f"it was asked for, although: {use.because}") if even_if_locked else use


def _use_by_run(candidate: Candidate, facts: InstanceFacts, now: datetime) -> Keep | None:
    """Return why a run or a backfill may use a cluster; locks alone count for one that outlives both."""
    if candidate.backfill_id is not None:
        backfill = backfill_state(candidate, facts, now)
        if isinstance(backfill, Unjudged):
            return Keep(of_backfill(backfill.value))
        return None if isinstance(backfill, Gone) or backfill.is_finished else Keep(of_backfill(IN_PROGRESS))
    if candidate.pool is not None or (candidate.is_shared and not candidate.is_run_scoped):
        return None
    run = run_state(candidate, facts, now)
    if isinstance(run, Unjudged):
        return None if candidate.is_shared and run is Unjudged.NO_RUN else Keep(run.value)
    return None if isinstance(run, Gone) or run.is_finished else Keep(IN_PROGRESS)

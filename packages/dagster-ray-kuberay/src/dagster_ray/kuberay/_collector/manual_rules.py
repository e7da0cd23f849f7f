"""What `delete_rayclusters` may delete: what nobody uses, or all of dagster-ray's if its user says so. Pure."""

from collections.abc import Sequence
from datetime import datetime

from dagster_ray.kuberay._collector.candidate import Candidate
from dagster_ray.kuberay._collector.facts import Facts, Keep, Remove
from dagster_ray.kuberay._collector.plan import Delete, Kept, Plan, untouchable
from dagster_ray.kuberay._collector.run_state import Gone, Unjudged, run_state
from dagster_ray.kuberay._collector.shared_rules import IN_PROGRESS, held


def plan_by_hand(candidates: Sequence[Candidate], facts: Facts, now: datetime, *, even_if_locked: bool) -> Plan:
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


def _judge(candidate: Candidate, facts: Facts, now: datetime, *, even_if_locked: bool) -> Keep | Remove:
    use = held(candidate, now) or _use_by_run(candidate, facts, now)
    if use is None:
        return Remove("nobody uses it")
    return Remove(f"it was asked for, although: {use.because}") if even_if_locked else use


def _use_by_run(candidate: Candidate, facts: Facts, now: datetime) -> Keep | None:
    """Return why a run may use a cluster; only locks count for one that outlives runs."""
    if candidate.is_shared and not candidate.is_run_scoped:
        return None
    run = run_state(candidate, facts, now)
    if isinstance(run, Unjudged):
        return None if candidate.is_shared and run is Unjudged.NO_RUN else Keep(run.value)
    return None if isinstance(run, Gone) or run.is_finished else Keep(IN_PROGRESS)

"""Goes through lists of RayClusters and RayJobs and deletes what a plan says. Thin: decisions are in the plan.

What is cheap comes first: of each page the objects that locks decide about, then those that runs decide about, which
Dagster's storage tells by the hundred. Steps are asked for after all lists, since the storage tells them for one run at
a time; who had no turn has the first one in the next tick.

Never more than one page of objects is held, and the few facts of objects that wait for their step. Every delete names
uid and resourceVersion, so that an object which has changed since it was listed, for example by a lock, stays.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._collector.candidate import SELECTOR, Candidate, candidate_of, selected_cluster
from dagster_ray.kuberay._collector.cursor import Cursor, Target
from dagster_ray.kuberay._collector.plan import NO_TURN, Delete, Plan, Undecided, backfill_ids, run_ids
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._collector.run_facts import InstanceFacts, RunFacts
from dagster_ray.kuberay._collector.runs import RunReader, StorageSilentError
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    KindNotInstalledError,
    KubernetesError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, SAID_OF_DELETION

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

Planner: TypeAlias = Callable[[Sequence[Candidate], InstanceFacts, datetime], Plan]

PAGE = 500
CHANGED = "has changed since it was listed"
SELECTED = "a RayJob runs on it"
_CALL_SECONDS = 10.0
# Once the API server has failed to answer, every other call would wait as long as the first.
_SHORTER_AFTER_FAILURE = 5
_MOST_FAILED_DELETES = 5
_MOST_FAILED_QUERIES = 5
_MOST_WAITING = 5000
# With less time left a query is not begun: that it was cut off would say nothing about the storage.
_LEAST_QUERY_SECONDS = 1.0
# What is left of a tick for steps when the lists alone would take all of it, and for pools when both would.
_SHARE_OF_STEPS = 0.25
_SHARE_OF_POOLS = 0.2


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with the objects of the lists.

    Attributes:
        plan: Decides.
        label_selector: What is listed.
        names: Only objects of these names; None for all.
        dry_run: Whether deletes are only told.
        pins_version: Whether a delete fails when the object has changed since it was listed.
        leaves_pools: Whether clusters of pools are left to `care_for_pools`; else they are judged like others.
        spares_selected: Whether RayClusters stay that a RayJob runs on without having made them.
        page: Most objects of a page.
        call_seconds: How long one call of the API is tried.
    """

    plan: Planner
    label_selector: str = SELECTOR
    names: frozenset[str] | None = None
    dry_run: bool = False
    pins_version: bool = True
    leaves_pools: bool = False
    spares_selected: bool = True
    page: int = PAGE
    call_seconds: float = _CALL_SECONDS


class Collector:
    """One pass through lists, or a part of one, until a deadline."""

    def __init__(
        self, api: "KubernetesApi", reader: RunReader, work: Work, deadline: Deadline, log: logging.Logger
    ) -> None:
        """Begin without having seen anything."""
        self._api, self._reader, self._work, self._deadline, self._log = api, reader, work, deadline, log
        self._selected: dict[str | None, frozenset[tuple[str, str]] | None] = {}
        self._listed = False
        self._call_seconds = work.call_seconds
        self._failed: set[str] = set()
        self._error: DagsterRayError | None = None
        self._cursor = Cursor()
        self._nothing = reader.nothing
        self._failed_queries = 0
        self._failed_deletes: Counter[str] = Counter()
        self._waiting: list[tuple[Target, Undecided]] = []
        self._runs: dict[str, RunFacts | None] = {}
        self._backfills: dict[str, RunFacts | None] = {}
        self.pooled: list[Target] = []
        """Lists in which clusters of pools were seen and left. From the first one on some time is kept for them."""
        self._has_run = False
        self.report = Report(is_trial=work.dry_run)

    def run(self, targets: Sequence[Target], cursor: Cursor) -> Cursor:
        """Go through lists, from where the cursor says; return where to go on.

        Raises:
            DagsterRayError: No list could be read at all; the first reason.
        """
        self._cursor = cursor
        self._nothing = replace(self._reader.nothing, succeeded=frozenset(cursor.succeeded))
        places: dict[str, str] = {}
        for target in cursor.order(targets):
            place: str | None = cursor.places.get(target.key, "")
            if not self._lists_are_over():
                place = self._collect(target, place or "")
            if place is not None:
                places[target.key] = place
                self.report.unfinished.append(target.label)
        if self._error is not None and not self._listed:
            raise self._error
        asked, succeeded = self._decide_by_steps()
        self._has_run = True
        return Cursor(places, frozenset(self._failed), asked, (*cursor.succeeded, *succeeded))

    def _remaining_seconds(self) -> float:
        """Return what is left for what is at work now: while it goes through lists, less what is kept for pools."""
        kept_back = self._deadline.budget_seconds * _SHARE_OF_POOLS if self.pooled and not self._has_run else 0.0
        return max(0.0, self._deadline.remaining_seconds() - kept_back)

    def _time(self) -> Deadline:
        return Deadline(self._remaining_seconds(), self._deadline.clock, self._deadline.sleeper)

    def _lists_are_over(self) -> bool:
        kept_back = self._deadline.budget_seconds * _SHARE_OF_STEPS if self._waiting else 0.0
        return self._remaining_seconds() <= kept_back

    def _collect(self, target: Target, place: str) -> str | None:
        """Go through one list; return the page to go on with, None if there is none."""
        began_again = False
        while not self._lists_are_over():
            try:
                more = self._page(target, place)
            except UnavailableError as error:
                return self._note(target, error, place)
            except DagsterRayError as error:
                is_expired = isinstance(error, KubernetesError) and error.is_expired
                if not is_expired or began_again or not place:
                    return self._note(target, error, None)
                self._log.info("The server has forgotten the list of %s; it begins again.", target.label)
                began_again, place = True, ""
                continue
            if more is None:
                return None
            place = more
        return place

    def _note(self, target: Target, error: DagsterRayError, place: str | None) -> str | None:
        """Note an error that ended a list; return the page to go on with."""
        self._error = self._error or error
        self._failed.add(target.key)
        self._fail(error)
        return place

    def _fail(self, error: DagsterRayError) -> None:
        if isinstance(error, UnavailableError):
            self._call_seconds = self._work.call_seconds / _SHORTER_AFTER_FAILURE
        self.report.note_failure(str(error))
        self._log.warning("%s", error)

    def _call_deadline(self) -> Deadline:
        return Deadline(min(self._call_seconds, max(0.1, self._remaining_seconds())))

    def _page(self, target: Target, place: str) -> str | None:
        """Deal with one page; return the next one, this one again if time ran out, None at the end."""
        listing = self._api.list_page(
            target.kind,
            target.namespace,
            self._call_deadline(),
            label_selector=self._work.label_selector,
            page=self._work.page,
            more=place or None,
            metadata_only=target.kind == RAYCLUSTERS,  # of a RayJob, spec and status decide as well
        )
        now = self._api.server_time()
        self._listed = True
        candidates = [candidate_of(target.kind, item) for item in listing.items]
        more = listing.more
        del listing  # the objects themselves are not needed any more
        names = self._work.names
        chosen = [one for one in candidates if names is None or one.name in names]
        if self._work.leaves_pools and any(one.pool is not None for one in chosen):
            self.pooled.append(target)
            chosen = [one for one in chosen if one.pool is None]
        return more if self._settle(target, chosen, now) else place

    def _settle(self, target: Target, candidates: Sequence[Candidate], now: datetime) -> bool:
        """Deal with the objects of a page; return whether nothing of it is left but what waits for steps."""
        by_run = [one for one in candidates if run_ids([one]) or backfill_ids([one])]
        by_lock = [one for one in candidates if not (run_ids([one]) or backfill_ids([one]))]
        first = self._sparing(target, self._work.plan(by_lock, self._nothing, now))
        if not self.carry_out(target, first):
            return False
        second = Plan((), ())
        if by_run:
            second = self._sparing(target, self._work.plan(by_run, self._facts_of_runs(by_run), now))
            if not self.carry_out(target, second):
                return False
        self._note_kept(first)
        self._note_kept(second)
        self._wait_for_steps(target, second.undecided)
        return True

    def _note_kept(self, plan: Plan) -> None:
        for kept in plan.keeps:
            self.report.note_kept(kept.what, kept.because)

    # What steps decide

    def _wait_for_steps(self, target: Target, undecided: Sequence[Undecided]) -> None:
        """Remember what waits for its step. Of too many those stay whose turn comes first."""
        self._waiting += [(target, one) for one in undecided]
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.sort(key=lambda one: self._cursor.turn(one[1].step.run_id))
            for _, one in self._waiting[_MOST_WAITING:]:
                self.report.note_kept(one.what, NO_TURN)
            del self._waiting[_MOST_WAITING:]

    def _decide_by_steps(self) -> tuple[str, list[str]]:
        """Ask for steps as long as there is time, run by run; delete what that decides.

        Returns:
            The run that was the last to be asked for, if others had no turn; and marks of steps that have succeeded.
        """
        by_run: dict[str, list[tuple[Target, Undecided]]] = {}
        for target, one in self._waiting:
            by_run.setdefault(one.step.run_id, []).append((target, one))
        asked, succeeded, turns = "", list[str](), sorted(by_run, key=self._cursor.turn)
        for place, run_id in enumerate(turns):
            if not self._may_ask():
                for later in turns[place:]:
                    for _, one in by_run[later]:
                        self.report.note_kept(one.what, NO_TURN)
                self.report.unfinished.append(f"the steps of {len(turns) - place} runs")
                return asked or self._cursor.asked, succeeded
            succeeded += self._decide_run(by_run[run_id])
            asked = run_id
        return "", succeeded

    def _decide_run(self, waiting: Sequence[tuple[Target, Undecided]]) -> list[str]:
        """Ask for the steps of one run, and carry out what follows; return marks of steps that have succeeded."""
        asks = [one.step for _, one in waiting]
        known = replace(self._nothing, runs={step.run_id: self._runs.get(step.run_id) for step in asks})
        facts = self._facts(lambda: self._reader.steps(known, asks, self._time()), known)
        for target, one in waiting:
            plan = self._work.plan([one.what], facts, self._api.server_time()).with_undecided_kept()
            plan = self._sparing(target, plan)
            if not self.carry_out(target, plan):
                self.report.note_kept(one.what, "was left when the time was over")
            self._note_kept(plan)
        return sorted({step.mark for step in asks if facts.steps.get(step) == "SUCCESS"} - self._nothing.succeeded)

    def _may_ask(self) -> bool:
        least = min(_LEAST_QUERY_SECONDS, self._deadline.budget_seconds / 20)
        return self._remaining_seconds() > least and self._failed_queries < _MOST_FAILED_QUERIES

    # What the plan is made of

    def _sparing(self, target: Target, plan: Plan) -> Plan:
        """Return the plan without deletes of RayClusters that a RayJob runs on without having made them."""
        if not (self._work.spares_selected and any(one.what.kind == RAYCLUSTERS for one in plan.deletes)):
            return plan
        if target.namespace not in self._selected:
            self._selected[target.namespace] = self._selected_clusters(target.namespace)
        used = self._selected[target.namespace]
        if used is not None:
            return plan.sparing(used, SELECTED)
        everything = {(one.what.namespace, one.what.name) for one in plan.deletes}
        return plan.sparing(everything, "it could not be asked whether a RayJob runs on it")

    def _facts_of_runs(self, candidates: Sequence[Candidate]) -> InstanceFacts:
        """Ask for runs and backfills once: those of a page may have objects on each of the pages to come."""
        runs, backfills = run_ids(candidates), backfill_ids(candidates)
        if new := runs - self._runs.keys():
            self._runs |= self._facts(lambda: self._reader.runs(new, self._time()), self._nothing).runs
        for one in sorted(backfills - self._backfills.keys()):
            found = self._facts(lambda one=one: self._reader.backfills([one], self._time()), self._nothing)
            self._backfills |= found.backfills
        return replace(
            self._nothing,
            runs={run_id: self._runs[run_id] for run_id in runs & self._runs.keys()},
            backfills={one: self._backfills[one] for one in backfills & self._backfills.keys()},
        )

    def _facts(self, ask: Callable[[], InstanceFacts], otherwise: InstanceFacts) -> InstanceFacts:
        """Ask run storage; what it does not tell keeps objects. One that is silent is not asked again in this tick."""
        if not self._may_ask():
            return otherwise
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and locks decide without it
            self._failed_queries += _MOST_FAILED_QUERIES if isinstance(error, StorageSilentError) else 1
            self._log.warning("Dagster's storage could not be asked.", exc_info=True)
            why = str(error) if isinstance(error, StorageSilentError) else type(error).__name__
            self.report.note_failure(f"Dagster's storage could not be asked: {why}")
            return otherwise

    def _selected_clusters(self, namespace: str | None) -> frozenset[tuple[str, str]] | None:
        """Return the clusters that RayJobs of anybody run on without having made them; None if that is not known.

        An account that may not list RayJobs has none on clusters, as far as it can tell.
        """
        found: set[tuple[str, str]] = set()
        more: str | None = None
        while self._remaining_seconds() > 0:
            try:
                page = self._api.list_page(RAYJOBS, namespace, self._call_deadline(), page=self._work.page, more=more)
            except (ForbiddenError, KindNotInstalledError) as error:
                self._log.debug("RayJobs that run on shared clusters are not known: %s", error)
                return frozenset()
            except DagsterRayError as error:
                self._fail(error)
                return None
            for rayjob in page.items:
                if (name := selected_cluster(rayjob)) is not None:
                    found.add((str(rayjob["metadata"]["namespace"]), name))
            more = page.more
            if more is None:
                return frozenset(found)
        return None

    # Deletes

    def carry_out(self, target: Target, plan: Plan) -> bool:
        """Delete what the plan says; return whether there was time for all of it."""
        for delete in plan.deletes:
            if self._remaining_seconds() <= 0:
                return False
            if self._failed_deletes[target.key] >= _MOST_FAILED_DELETES:
                self.report.note_kept(delete.what, "was left when other deletes had failed")
            elif not self._delete(delete):
                self._failed_deletes[target.key] += 1
                self._failed.add(target.key)
        return True

    def _delete(self, delete: Delete) -> bool:
        """Delete one object; return whether that did what it should, or somebody else came first."""
        what, report = delete.what, self.report
        if self._work.dry_run:
            report.note_deleted(what, delete.because)
            return True
        try:
            deletion = self._api.delete(
                what.kind,
                what.namespace,
                what.name,
                self._call_deadline(),
                uid=what.uid,
                resource_version=what.resource_version if self._work.pins_version else None,
                propagation=delete.propagation,
            )
        except ConflictError:
            report.note_kept(what, CHANGED)
            return True
        except DagsterRayError as error:
            report.note_kept(what, "could not be deleted")
            self._fail(error)
            return False
        if deletion == "gone":
            report.gone += 1
            return True
        report.note_deleted(what, delete.because)
        self._log.info("%s %s: %s.", what.label, SAID_OF_DELETION[deletion], delete.because)
        return True

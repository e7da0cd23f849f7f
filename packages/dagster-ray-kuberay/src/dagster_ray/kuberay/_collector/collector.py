"""Goes through lists of RayClusters and RayJobs and deletes what a plan says. Thin: decisions are in the plan.

Never more than one page of objects is held. Every delete names uid and resourceVersion, so that an object which has
changed since it was listed, for example by a lock, stays.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._collector.candidate import SELECTOR, Candidate, candidate_of, selected_cluster
from dagster_ray.kuberay._collector.cursor import Cursor, Target
from dagster_ray.kuberay._collector.facts import Facts
from dagster_ray.kuberay._collector.plan import Delete, Plan, run_ids
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    KindNotInstalledError,
    UnavailableError,
)
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

Planner: TypeAlias = Callable[[Sequence[Candidate], Facts, datetime], Plan]

PAGE = 500
CHANGED = "has changed since it was listed"
SELECTED = "a RayJob runs on it"
_CALL_SECONDS = 10.0
# Once the API server has failed to answer, every other call would wait as long as the first.
_SHORTER_AFTER_FAILURE = 5
_MOST_FAILED_DELETES = 5


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with the objects of the lists.

    Attributes:
        plan: Decides.
        label_selector: What is listed.
        names: Only objects of these names; None for all.
        dry_run: Whether deletes are only told.
        pins_version: Whether a delete fails when the object has changed since it was listed.
        spares_selected: Whether RayClusters stay that a RayJob runs on without having made them.
        page: Most objects of a page.
        call_seconds: How long one call of the API is tried.
    """

    plan: Planner
    label_selector: str = SELECTOR
    names: frozenset[str] | None = None
    dry_run: bool = False
    pins_version: bool = True
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
        self.report = Report(is_trial=work.dry_run)

    def run(self, targets: Sequence[Target], cursor: Cursor) -> Cursor:
        """Go through lists, from where the cursor says; return where to go on.

        Raises:
            DagsterRayError: No list could be read at all; the first reason.
        """
        places: dict[str, str] = {}
        for target in cursor.order(targets):
            place: str | None = cursor.places.get(target.key, "")
            if not self._deadline.is_over():
                place = self._collect(target, place or "")
            if place is not None:
                places[target.key] = place
                self.report.unfinished.append(target.label)
        if self._error is not None and not self._listed:
            raise self._error
        return Cursor(places, frozenset(self._failed))

    def _collect(self, target: Target, place: str) -> str | None:
        """Go through one list; return the page to go on with, None if there is none."""
        began_again = False
        while not self._deadline.is_over():
            try:
                more = self._page(target, place)
            except GoneError as error:
                if began_again or not place:
                    return self._note(target, error, None)
                self._log.info("The server has forgotten the list of %s; it begins again.", target.label)
                began_again, place = True, ""
                continue
            except UnavailableError as error:
                return self._note(target, error, place)
            except DagsterRayError as error:
                return self._note(target, error, None)
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
        return Deadline(min(self._call_seconds, max(0.1, self._deadline.remaining_seconds())))

    def _page(self, target: Target, place: str) -> str | None:
        """Deal with one page; return the next one, this one again if time ran out, None at the end."""
        listing = self._api.list_page(
            target.kind,
            target.namespace,
            self._call_deadline(),
            label_selector=self._work.label_selector,
            page=self._work.page,
            more=place or None,
        )
        now = self._api.server_time()
        self._listed = True
        candidates = [candidate_of(target.kind, item) for item in listing.items]
        more = listing.more
        del listing  # the objects themselves are not needed any more
        names = self._work.names
        chosen = [one for one in candidates if names is None or one.name in names]
        plan = self._planned(target, chosen, now)
        if not self._carry_out(target, plan):
            return place
        for kept in plan.keeps:
            self.report.note_kept(kept.what, kept.because)
        return more

    # What the plan is made of

    def _planned(self, target: Target, candidates: Sequence[Candidate], now: datetime) -> Plan:
        facts = self._facts(lambda: self._reader.runs(run_ids(candidates)), self._reader.nothing)
        plan = self._work.plan(candidates, facts, now)
        if plan.asks:
            facts = self._facts(lambda: self._reader.steps(facts, plan.asks), facts)
            plan = self._work.plan(candidates, facts, now)
        if not (self._work.spares_selected and any(one.what.kind == RAYCLUSTERS for one in plan.deletes)):
            return plan
        if target.namespace not in self._selected:
            self._selected[target.namespace] = self._selected_clusters(target.namespace)
        used = self._selected[target.namespace]
        if used is not None:
            return plan.sparing(used, SELECTED)
        everything = {(one.what.namespace, one.what.name) for one in plan.deletes}
        return plan.sparing(everything, "it could not be asked whether a RayJob runs on it")

    def _facts(self, ask: Callable[[], Facts], otherwise: Facts) -> Facts:
        """Ask run storage; what it does not tell keeps objects."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and locks decide without it
            self._log.warning("Dagster's storage could not be asked.", exc_info=True)
            self.report.note_failure(f"Dagster's storage could not be asked: {type(error).__name__}")
            return otherwise

    def _selected_clusters(self, namespace: str | None) -> frozenset[tuple[str, str]] | None:
        """Return the clusters that RayJobs of anybody run on without having made them; None if that is not known.

        An account that may not list RayJobs has none on clusters, as far as it can tell.
        """
        found: set[tuple[str, str]] = set()
        more: str | None = None
        while not self._deadline.is_over():
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

    def _carry_out(self, target: Target, plan: Plan) -> bool:
        """Delete what the plan says; return whether the page is done with."""
        failed = 0
        for delete in plan.deletes:
            if self._deadline.is_over():
                return False
            if failed >= _MOST_FAILED_DELETES:
                self.report.note_kept(delete.what, "was left when other deletes had failed")
            elif not self._delete(delete):
                failed += 1
                self._failed.add(target.key)
        return True

    def _delete(self, delete: Delete) -> bool:
        """Delete one object; return whether that did what it should, or somebody else came first."""
        what, report = delete.what, self.report
        if self._work.dry_run:
            report.note_deleted(what, delete.because)
            return True
        try:
            was_there = self._api.delete(
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
        if not was_there:
            report.gone += 1
            return True
        report.note_deleted(what, delete.because)
        self._log.info("%s was deleted: %s.", what.label, delete.because)
        return True

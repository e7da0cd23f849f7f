"""Pools of warm clusters in a tick: those that nobody may or should use go, and missing ones are made."""

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._collector.candidate import Candidate, candidate_of
from dagster_ray.kuberay._collector.collector import Collector
from dagster_ray.kuberay._collector.plan import Delete, Kept, Plan, untouchable
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import ConflictError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at, mapping, text, time_text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS
from dagster_ray.kuberay._labels import MANAGED_BY, MANAGED_BY_LABEL, POOL_LABEL, POOL_NAME_LABEL
from dagster_ray.kuberay._pool.care import care, succeeded, used_last_at
from dagster_ray.kuberay._pool.cron import ticks
from dagster_ray.kuberay._pool.members import ENDED_ANNOTATION, copy_of, member_of
from dagster_ray.kuberay._pool.schedule import InForce
from dagster_ray.kuberay._status.cluster_state import created
from dagster_ray.kuberay._steps.heartbeat import annotation_patch

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY},{POOL_LABEL}"
_CALL_SECONDS = 10.0
# What pools have in common that follow one another as a resource's image or a location's commit changes.
_KIN_LABELS = (POOL_NAME_LABEL, "dagster/code-location", "dagster/deployment", "dagster/instance-id")


@dataclass(frozen=True, slots=True)
class Tended:
    """What becomes of pools.

    Attributes:
        plan: What goes and what stays.
        makes: The manifests of members that are missing.
        ended: Members whose claims have ended, which is to be noted on them.
        wanted: The sizes that are in force, by the pool's namespace and digest; without those that are not known.
    """

    plan: Plan
    makes: tuple[Mapping[str, Any], ...]
    ended: tuple[Manifest, ...]
    wanted: Mapping[tuple[str, str], InForce]


def tended(clusters: Iterable[tuple[Candidate, Manifest]], now: datetime) -> Tended:
    """Return what becomes of the clusters of pools; `care` decides, pool by pool.

    Args:
        clusters: All clusters of each pool, as the API server has them.
        now: The API server's time.
    """
    pools: dict[tuple[str, str], list[tuple[Candidate, Manifest]]] = {}
    for what, cluster in clusters:
        if what.pool is not None and what.is_ours:
            pools.setdefault((what.namespace, what.pool), []).append((what, cluster))
    of_others = succeeded({key: _kin_and_use(pool, now) for key, pool in pools.items()})
    found = [_of_pool(pool, now, is_succeeded=key in of_others) for key, pool in pools.items()]
    deletes = tuple(one for each in found for one in each.plan.deletes)
    keeps = tuple(one for each in found for one in each.plan.keeps)
    makes = tuple(one for each in found for one in each.makes)
    wanted = {key: one for each in found for key, one in each.wanted.items()}
    return Tended(Plan(deletes, keeps), makes, tuple(one for each in found for one in each.ended), wanted)


def _kin_and_use(pool: Sequence[tuple[Candidate, Manifest]], now: datetime) -> tuple[Hashable, datetime]:
    labels = mapping(at(pool[0][1], "metadata", "labels"))
    kin = (pool[0][0].namespace, *(labels.get(label) for label in _KIN_LABELS))
    return kin, used_last_at([member_of(cluster, now) for _, cluster in pool], now)


def _of_pool(pool: Sequence[tuple[Candidate, Manifest]], now: datetime, *, is_succeeded: bool) -> Tended:
    members = {text(cluster, "metadata", "uid"): (what, cluster) for what, cluster in pool}
    seen = [member_of(cluster, now) for _, cluster in members.values()]
    found = care(seen, now, ticks, is_succeeded=is_succeeded)
    deletes: list[Delete] = []
    keeps = [Kept(members[one.uid][0], because) for one, because in found.keeps]
    for one, because in found.ends:
        what = members[one.uid][0]
        kept = untouchable(what)
        if kept is None:
            deletes.append(Delete(what, because))
        else:
            keeps.append(Kept(what, kept.because))
    makes: list[Mapping[str, Any]] = []
    if found.model is not None:
        model = members[found.model.uid][1]
        stem = found.model.name.removesuffix(f"-{found.model.slot}")
        makes = [copy_of(model, f"{stem}-{slot}", slot, found.used_at) for slot in found.slots]
    ended = tuple(members[one.uid][1] for one in found.notes)
    key = pool[0][0].namespace, str(pool[0][0].pool)
    wanted = {} if found.wanted is None else {key: found.wanted}
    return Tended(Plan(tuple(deletes), tuple(keeps)), tuple(makes), ended, wanted)


def care_for_pools(api: "KubernetesApi", collector: Collector, deadline: Deadline, log: logging.Logger) -> None:
    """Look after the pools whose clusters a collector has seen and left, as far as there is time.

    What cannot be listed or made is told in the report, and is tried again in the next tick.
    """
    report = collector.report
    for target in dict.fromkeys(collector.pooled):
        if deadline.is_over():
            report.unfinished.append("pools")
            return
        try:
            items = api.list(RAYCLUSTERS, target.namespace, _some(deadline), label_selector=_SELECTOR).items
        except DagsterRayError as error:
            report.note_failure(f"pools could not be listed: {error}")
            continue
        found = tended([(candidate_of(RAYCLUSTERS, one), one) for one in items], api.server_time())
        if not collector.carry_out(target, found.plan):
            report.unfinished.append("pools")
            return
        for kept in found.plan.keeps:
            report.note_kept(kept.what, kept.because)
        _note_ended(api, found.ended, report, deadline)
        _make(api, found.makes, report, deadline, log)


def _note_ended(api: "KubernetesApi", clusters: Iterable[Manifest], report: Report, deadline: Deadline) -> None:
    """Note on members that their claims have ended, unless it is a trial; a later tick deletes them."""
    for cluster in clusters:
        if report.is_trial:
            return
        own = created(RAYCLUSTERS, text(cluster, "metadata", "namespace"), cluster)
        notes = {ENDED_ANNOTATION: time_text(api.server_time())}
        patch = annotation_patch(own, notes, text(cluster, "metadata", "resourceVersion"))
        try:
            api.patch(own.kind, own.namespace, own.name, patch, _some(deadline))
        except ConflictError:  # it was renewed, or another sensor came first
            continue
        except DagsterRayError as error:
            if proves_gone(error):
                continue
            report.note_failure(f"that a claim on {own.target} has ended could not be noted: {error}")
            return


def _make(
    api: "KubernetesApi",
    manifests: Iterable[Mapping[str, Any]],
    report: Report,
    deadline: Deadline,
    log: logging.Logger,
) -> None:
    """Create members that are missing, unless it is a trial."""
    for manifest in manifests:
        what = candidate_of(RAYCLUSTERS, manifest)
        if not report.is_trial:
            try:
                api.create(RAYCLUSTERS, what.namespace, manifest, _some(deadline), strict=False)
            except ConflictError:  # a step or another sensor came first
                continue
            except DagsterRayError as error:
                report.note_failure(f"{what.label} of a pool could not be made: {error}")
                return
            log.info("%s was created, for the next step of its pool.", what.label)
        report.made.append(what.label)


def _some(deadline: Deadline) -> Deadline:
    return Deadline(min(_CALL_SECONDS, max(0.1, deadline.remaining_seconds())))

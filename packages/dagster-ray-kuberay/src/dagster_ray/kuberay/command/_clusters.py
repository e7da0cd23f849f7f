"""`dagster-ray clusters`: what dagster-ray has on a cluster, who uses it, what it costs, and why it stays."""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from dagster_ray.core import Deadline
from dagster_ray.kuberay._collector.candidate import Candidate, selected_cluster
from dagster_ray.kuberay._collector.collector import SELECTED
from dagster_ray.kuberay._collector.plan import Plan, backfill_ids, plan, run_ids
from dagster_ray.kuberay._collector.pools import tended
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._collector.settings import Given
from dagster_ray.kuberay._kubernetes.errors import ForbiddenError
from dagster_ray.kuberay._kubernetes.fields import text
from dagster_ray.kuberay._kubernetes.kinds import PODS, RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._operator_rules.names import CLUSTER_LABEL
from dagster_ray.kuberay.command._cluster_rows import candidates_of, rows_of, table_of
from dagster_ray.kuberay.command._terminal import (
    CALL_SECONDS,
    FINE,
    Place,
    cluster_options,
    dagster_instance,
    note,
    progress,
)

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_STORAGE_SECONDS = 30.0


@click.command()
@cluster_options
@click.option("--all-namespaces", "-A", "everywhere", is_flag=True, help="Look into all namespaces.")
def clusters(place: Place, everywhere: bool) -> int:
    """List RayClusters and RayJobs of dagster-ray: who holds them, their pod-hours, and why the collector keeps them.

    Runs are known where DAGSTER_HOME is set; without it clusters of single steps are kept, as far as is told here.
    Pod-hours are those of the pods that exist.
    """
    api = place.api()
    try:
        return _listed(place, api, None if everywhere else place.namespace or api.namespace)
    finally:
        api.close()


def _listed(place: Place, api: "KubernetesApi", namespace: str | None) -> int:
    progress("Listing RayClusters and RayJobs ...")
    rayclusters = api.list(RAYCLUSTERS, namespace, Deadline(CALL_SECONDS)).items
    rayjobs = api.list(RAYJOBS, namespace, Deadline(CALL_SECONDS)).items
    now = api.server_time()
    chosen = candidates_of(rayclusters, rayjobs)
    selected = [(text(job, "metadata", "namespace"), selected_cluster(job)) for job in rayjobs]
    used = {(where, name) for where, name in selected if name is not None}
    pools = tended(chosen, now)
    rest = _plan([what for what, _ in chosen if what.pool is None or not what.is_ours], now)
    planned = Plan((*rest.deletes, *pools.plan.deletes), (*rest.keeps, *pools.plan.keeps)).sparing(used, SELECTED)
    pods = _pods(api, namespace) if chosen else []
    rows = rows_of(chosen, rayclusters, pods, planned, now, wanted=pools.wanted)
    place.printed([row.plain(now) for row in rows], table_of(rows, now))
    return FINE


def _plan(candidates: Sequence[Candidate], now: datetime) -> Plan:
    """Return what the collector would do; its own rules, and what Dagster knows of runs."""
    rules, deadline = Given().settings(os.environ).rules, Deadline(_STORAGE_SECONDS)
    with dagster_instance() as instance:
        reader = RunReader(instance)
        facts = reader.nothing
        try:
            facts = reader.runs(run_ids(candidates), deadline)
            backfills = reader.backfills(backfill_ids(candidates), deadline).backfills
            facts = replace(facts, backfills=backfills)
            for step in plan(candidates, facts, now, rules).asks:
                facts = reader.steps(facts, [step], deadline)
        except Exception as error:  # noqa: BLE001 - any storage can sit behind it, and locks are shown without it
            note(f"Run storage could not be asked about everything: {type(error).__name__}: {error}")
        return plan(candidates, facts, now, rules).with_undecided_kept()


def _pods(api: "KubernetesApi", namespace: str | None) -> list[dict[str, Any]] | None:
    try:
        return api.list(PODS, namespace, Deadline(CALL_SECONDS), label_selector=CLUSTER_LABEL).items
    except ForbiddenError as error:
        note(f"Pod-hours are not known: {error.problem}")
        return None

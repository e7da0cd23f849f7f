"""`dagster-ray gc`: one pass of the collector by hand, with the sensor's own code and rules."""

import functools
import logging
import os
from typing import TYPE_CHECKING

import click

from dagster_ray.core import Deadline
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import EVERYWHERE, Cursor, targets_of
from dagster_ray.kuberay._collector.plan import plan
from dagster_ray.kuberay._collector.pools import care_for_pools
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._collector.settings import Given
from dagster_ray.kuberay.command._terminal import (
    FINDING,
    FINE,
    Place,
    cluster_options,
    coloured,
    dagster_instance,
    note,
    progress,
)

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_EXAMPLES = 10_000


@click.command()
@cluster_options
@click.option("--all-namespaces", "-A", "everywhere", is_flag=True, help="Look into all namespaces.")
@click.option("--dry-run", is_flag=True, help="Only report what would be deleted. This is the default.")
@click.option("--yes", is_flag=True, help="Delete.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds that all of it may take.")
def gc(place: Place, everywhere: bool, dry_run: bool, yes: bool, timeout: float) -> int:
    """Delete what the cleanup sensor would delete now, once, and fill pools of warm clusters; or only list it.

    Shared clusters are judged by their locks. Clusters of single steps are judged by their runs where DAGSTER_HOME is
    set, and kept where it is not. The sensor's environment variables (DAGSTER_RAY_CLEANUP_...) hold.
    """
    if dry_run and yes:
        raise click.UsageError("choose one of --dry-run and --yes")
    api = place.api()
    try:
        namespaces = [EVERYWHERE] if everywhere else [place.namespace or api.namespace]
        report = _collected(api, namespaces, timeout, dry_run=not yes)
    finally:
        api.close()
    place.printed({**report.plain(), "unfinished": list(report.unfinished)}, _told(report))
    if not yes and not dry_run and report.deleted:
        note("Nothing was deleted. `dagster-ray gc --yes` deletes.")
    return FINDING if report.failures or report.unfinished else FINE


def _collected(api: "KubernetesApi", namespaces: list[str], timeout: float, *, dry_run: bool) -> Report:
    """Go through all lists once."""
    progress("Looking at RayClusters and RayJobs ...")
    work = Work(functools.partial(plan, rules=Given().settings(os.environ).rules), dry_run=dry_run, leaves_pools=True)
    log = logging.getLogger("dagster_ray.command")
    log.addHandler(logging.NullHandler())  # all that is worth telling stands in the report
    log.propagate = False
    with dagster_instance() as instance:
        deadline = Deadline(timeout)
        collector = Collector(api, RunReader(instance), work, deadline, log)
        collector.report.examples_per_reason = _EXAMPLES
        collector.run(targets_of(namespaces, api.namespace), Cursor())
        care_for_pools(api, collector, deadline, log)
    return collector.report


def _told(report: Report) -> str:
    """Return a line for each object, and the counts."""
    verb = "would delete" if report.is_trial else "deleted"
    lines = [f"{coloured(verb, 'yellow')}  {name}: {because}" for name, because in report.deleted]
    lines += [f"{'would make' if report.is_trial else 'made'}  {name}: its pool has fewer" for name in report.made]
    lines += [f"kept  {name}: {because}" for because, names in report.examples.items() for name in names]
    lines += [f"{coloured('failed', 'red')}  {line}" for line in report.failures]
    lines += [f"{coloured('failed', 'red')}  no time was left for {target}" for target in report.unfinished]
    total = f"{verb} {len(report.deleted)}, kept {report.kept.total()}, gone {report.gone}"
    return "\n".join([*lines, f"Looked at {report.seen}: {total}."])

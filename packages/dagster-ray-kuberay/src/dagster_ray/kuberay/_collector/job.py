"""The job by which people delete RayClusters. Dagster reads the annotations of ops, so they stay real."""

# Dagster is typed in part only, and type checkers see no type in its config classes.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import functools
from typing import Any

import dagster as dg
from pydantic import Field

from dagster_ray.core import Deadline, StrictConfig, log_of
from dagster_ray.kuberay._collector.candidate import SELECTOR
from dagster_ray.kuberay._collector.collector import Collector, Work
from dagster_ray.kuberay._collector.cursor import Cursor, targets_of
from dagster_ray.kuberay._collector.plan import plan_by_hand
from dagster_ray.kuberay._collector.report import Report
from dagster_ray.kuberay._collector.runs import RunReader
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS

_EXAMPLES = 1000


class DeleteRayClustersConfig(StrictConfig):
    """Which RayClusters are deleted. Only those that dagster-ray has made, whatever is asked for."""

    namespaces: list[str] = Field(
        default_factory=list, description="Where to look. Empty: the account's namespace. `*`: everywhere."
    )
    names: list[str] = Field(default_factory=list, description="Only clusters of these names. Empty: all.")
    label_selector: str = Field(
        default="", description="Only clusters with these labels, as `kubectl get -l` takes them. Empty: all."
    )
    dry_run: bool = Field(default=True, description="Only report what would be deleted.")
    even_if_locked: bool = Field(
        default=False, description="Delete also what a step, a run or a RayJob uses, or what nothing is known of."
    )
    timeout: float = Field(default=600.0, gt=0, description="Seconds that all of it may take.")
    kubeconfig_file: str | None = Field(
        default=None, description="A kubeconfig. None: the pod's service account, or the one that kubectl uses."
    )
    kube_context: str | None = Field(default=None, description="The kubeconfig's context.")


@dg.op(
    name="delete_rayclusters_op",
    description="Delete RayClusters of dagster-ray that nobody uses, or list them.",
)
def delete_rayclusters_op(context: dg.OpExecutionContext, config: DeleteRayClustersConfig) -> dict[str, Any]:
    """Delete RayClusters; return what was deleted, and what was kept and why.

    Raises:
        dagster.Failure: Something could not be done; the output's metadata and the log have what was done.
    """
    report = _delete(context, config)
    metadata = {"deleted": len(report.deleted), "kept": report.kept.total(), "report": dg.MetadataValue.md(_md(report))}
    log_of(context).info("%s", report.text())
    if report.failures or report.unfinished:
        raise dg.Failure(report.text(), metadata)
    context.add_output_metadata(metadata)
    return dict(report.plain())


def _delete(context: dg.OpExecutionContext, config: DeleteRayClustersConfig) -> Report:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

    work = Work(
        functools.partial(plan_by_hand, even_if_locked=config.even_if_locked),
        label_selector=",".join(part for part in (SELECTOR, config.label_selector) if part),
        names=frozenset(config.names) or None,
        dry_run=config.dry_run,
        pins_version=not config.even_if_locked,
        spares_selected=not config.even_if_locked,
    )
    api = KubernetesApi.load(config.kubeconfig_file, config.kube_context)
    try:
        collector = Collector(api, RunReader(context.instance), work, Deadline(config.timeout), log_of(context))
        collector.report.examples_per_reason = _EXAMPLES
        collector.run(targets_of(config.namespaces, api.namespace, [RAYCLUSTERS]), Cursor())
    finally:
        api.close()
    return collector.report


def _md(report: Report) -> str:
    verb = "would be deleted" if report.is_trial else "deleted"
    rows = [f"| {name} | {verb} | {because} |" for name, because in report.deleted[:_EXAMPLES]]
    rows += [f"| {name} | kept | {because} |" for because, names in report.examples.items() for name in names]
    return "\n".join(["| cluster | | why |", "|---|---|---|", *rows])


@dg.job(name="delete_rayclusters", description="Delete RayClusters of dagster-ray by hand; a dry run unless told.")
def delete_rayclusters() -> None:
    """Delete RayClusters by hand, in a run that shows what was deleted and why the others were kept."""
    delete_rayclusters_op()

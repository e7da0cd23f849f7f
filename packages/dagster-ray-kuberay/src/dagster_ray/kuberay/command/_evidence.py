"""`dagster-ray evidence`: why a step of a run failed, as its evidence bundle says."""

import click

from dagster_ray.kuberay.command._terminal import (
    FINDING,
    FINE,
    NO_ANSWER,
    Place,
    answered,
    dagster_instance,
    note,
)


@click.command()
@click.argument("run_id", required=False)
@click.option("--step", "step_key", help="Only this step.")
@click.option("--path", help="The folder or URL of a bundle, in place of a run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
def evidence(run_id: str | None, step_key: str | None, path: str | None, as_json: bool) -> None:
    """Print why the steps of a run failed, as their evidence bundles say.

    The run's log, which the instance of DAGSTER_HOME has, names the bundles.
    """
    place = Place(None, None, None, as_json)
    if (run_id is None) == (path is None):
        raise click.UsageError("give either a RUN_ID or --path")
    if path is not None:
        answered(_of_bundle, place, path)
    elif run_id is not None:
        answered(_of_run, place, run_id, step_key)


def _of_bundle(place: Place, path: str) -> int:
    from dagster_ray.kuberay._bundle.bundle import INDEX, summary_of_index
    from dagster_ray.kuberay._bundle.redaction import redacted_text
    from dagster_ray.kuberay._bundle.storage import read

    index = path if path.endswith(INDEX) else f"{path.rstrip('/')}/{INDEX}"
    try:
        summary = summary_of_index(read(index))
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        note(redacted_text(f"{index} could not be read ({type(error).__name__}): {error}", ()))
        return NO_ANSWER
    if not summary:
        note(f"{index} is not the index page of an evidence bundle.")
        return FINDING
    place.printed([{"step": None, "place": index, "summary": summary.splitlines()}], summary)
    return FINE


def _of_run(place: Place, run_id: str, step_key: str | None) -> int:
    from dagster_ray.core.failures.record import kept_of_run

    with dagster_instance() as instance:
        if instance is None:
            note("The run's log cannot be read. Set DAGSTER_HOME to the folder of dagster.yaml, or give --path.")
            return NO_ANSWER
        found = [(step, kept) for step, kept in kept_of_run(instance, run_id) if step_key is None or step == step_key]
    if not found:
        note(f"The log of run {run_id} names no evidence" + (f" of step {step_key}." if step_key else "."))
        return FINDING
    rows = [{"step": step, "place": kept.place, "summary": kept.summary.splitlines()} for step, kept in found]
    texts = [f"{step or 'run'}: {kept.place}\n{kept.summary}" for step, kept in found]
    place.printed(rows, "\n\n".join(texts))
    return FINE

"""Keeps the evidence of failures: reads the facts, and writes a bundle for each step."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.core.failures.causes import Failure, Kept
from dagster_ray.kuberay._bundle.bundle import bundles_of
from dagster_ray.kuberay._bundle.collected import Driver
from dagster_ray.kuberay._bundle.collection import Collection
from dagster_ray.kuberay._bundle.storage import NotWrittenError, write

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster


def keep(
    step: "StepCluster",
    place: str,
    target: str,
    *,
    failures: Sequence[tuple[Failure, Driver]],
    secrets: Iterable[str],
    deadline: Deadline,
) -> dict[str | None, Kept]:
    """Keep the evidence of failures; return that of each step by its key. May raise what is not foreseen.

    After the first bundle that cannot be written, there is one warning and no further bundle.

    Args:
        step: The cluster of the steps, before anything of it is deleted.
        place: Where bundles are written: the path of a folder, or a URL of fsspec's.
        target: The cluster, for people.
        failures: The steps that failed, at least one, each with its driver.
        secrets: Values that no bundle must contain.
        deadline: Ends it.
    """
    kept: dict[str | None, Kept] = {}
    bundles = iter(bundles_of(Collection(step, deadline).facts(target, failures, secrets)))
    while True:
        try:
            if (bundle := next(bundles, None)) is None:
                break
            index = write(place, bundle.folders, bundle.files, deadline)
        except Exception as error:
            if not kept and not isinstance(error, NotWrittenError):
                raise  # who calls tells it
            missing = f" ({len(failures) - len(kept)} of {len(failures)} steps)" if len(failures) > 1 else ""
            said = "%s: the evidence of the failure%s could not be written to %s: %s"
            step.log.warning(said, target, missing, place, error)
            break
        kept[bundle.step_key] = Kept(index, bundle.summary)
    return kept

"""Keeps the evidence of a failure: reads the facts, and writes the bundle."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dagster_ray.core import Deadline
from dagster_ray.core.failures.causes import Failure, Kept
from dagster_ray.kuberay._bundle.bundle import bundle_of, folder_of
from dagster_ray.kuberay._bundle.collection import Collection, Driver
from dagster_ray.kuberay._bundle.storage import NotWrittenError, write

if TYPE_CHECKING:
    from dagster_ray.kuberay._steps.step_cluster import StepCluster


def keep(
    step: "StepCluster",
    place: str,
    target: str,
    *,
    failures: Sequence[Failure],
    driver: Driver,
    secrets: Iterable[str],
    deadline: Deadline,
) -> Kept | None:
    """Keep the evidence of a failure; None, after a warning, if it cannot be written. May raise what is not foreseen.

    Args:
        step: The cluster of the step, before anything of it is deleted.
        place: Where bundles are written: the path of a folder, or a URL of fsspec's.
        target: The cluster, for people.
        failures: The steps that failed, at least one.
        driver: Where the driver of the step was.
        secrets: Values that the bundle must not contain.
        deadline: Ends it.
    """
    facts = Collection(step, driver, deadline).facts(target, failures, secrets)
    bundle = bundle_of(facts)
    try:
        index = write(place, folder_of(facts), bundle.files, deadline)
    except NotWrittenError as error:
        step.log.warning("%s: the evidence of the failure could not be written to %s: %s", target, place, error)
        return None
    return Kept(index, bundle.summary)

"""What `RayIOManager` holds for a run: how that is known, and its end.

`python -m dagster_ray.core.run_objects RUN`, as a Ray job on the run's cluster, ends it.
"""

import sys
from collections.abc import Mapping

from dagster_ray.core._connection import connect
from dagster_ray.core._deadline import Deadline

__all__ = ["KEEPER_KEY", "NAMESPACE", "are_held", "entrypoint", "keeper_name"]

KEEPER_KEY = "dagster_ray/object_keeper"
"""Metadata of an output that is in an object store: the actor that holds it."""

NAMESPACE = "dagster-ray"
"""Ray's namespace of such actors."""


def keeper_name(run_id: str) -> str:
    """Return the name of the actor that holds the objects of a run."""
    return f"dagster-ray-objects-{run_id}"


def are_held(metadata: Mapping[str, object]) -> bool:
    """Return whether an output is in an object store, by the metadata of the event that records it."""
    return KEEPER_KEY in metadata


def entrypoint(run_id: str) -> str:
    """Return the command that ends the objects of a run."""
    return f"python -m dagster_ray.core.run_objects {run_id}"


def main(run_id: str) -> None:
    """End the objects of a run, on the cluster whose job this is."""
    from dagster_ray.core._object_keeper import end

    connect("RayIOManager", "auto", {"log_to_driver": False}, Deadline(60.0))
    end(run_id)


def __dir__() -> list[str]:
    return sorted(__all__)


if __name__ == "__main__":
    main(sys.argv[1])

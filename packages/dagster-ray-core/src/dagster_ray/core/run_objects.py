"""How it is known that `RayIOManager` holds objects for a run, and the command that ends them. Pure."""

from collections.abc import Mapping

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
    """Return the command of the Ray job that ends the objects of a run, on the run's cluster."""
    return f"python -m dagster_ray.core._object_keeper {run_id}"


def __dir__() -> list[str]:
    return sorted(__all__)

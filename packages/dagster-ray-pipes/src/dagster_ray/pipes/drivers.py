"""How a backend lets the bodies of steps run inside its cluster, for authors of backends.

A backend inherits `ClusterDriverResource`, which has the fields `driver` and `driver_*`, and says where the cluster's
job server is:

    class MyRay(ClusterDriverResource):
        def job_place(self, context):
            return Place(RayJobClient(f"http://{self.host}:8265"))

A backend whose clusters belong to one attempt of a step asks `earlier_attempts` which job a later attempt goes on with.
"""

from typing import TYPE_CHECKING

from dagster_ray.pipes._step_driver.resource import ClusterDriverResource

if TYPE_CHECKING:
    from dagster_ray.pipes._job_run import RunSettings
    from dagster_ray.pipes._step_driver.attempts import EarlierAttempts, earlier_attempts, ended_jobs, is_only_step
    from dagster_ray.pipes._submitted_job import Place

__all__ = [
    "ClusterDriverResource",
    "EarlierAttempts",
    "Place",
    "RunSettings",
    "earlier_attempts",
    "ended_jobs",
    "is_only_step",
]

# What only a running step needs loads with the step: a code location imports this module to read its configuration.
_LATER = {
    "EarlierAttempts": "_step_driver.attempts",
    "Place": "_submitted_job",
    "RunSettings": "_job_run",
    "earlier_attempts": "_step_driver.attempts",
    "ended_jobs": "_step_driver.attempts",
    "is_only_step": "_step_driver.attempts",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _LATER:
        return getattr(import_module(f"dagster_ray.pipes.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

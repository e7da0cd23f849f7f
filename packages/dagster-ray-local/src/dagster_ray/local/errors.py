"""What can go wrong with a local cluster. The tree's root is in `dagster_ray.core.errors`.

DagsterRayError
  SharedClusterError        the process that holds a shared cluster did not start it
"""

from dagster_ray.core import DagsterRayError

__all__ = ["SharedClusterError"]


class SharedClusterError(DagsterRayError):
    """The process that holds the shared cluster ended, or could not start Ray."""

    code = "shared-cluster"
    failure_class = "infrastructure"
    problem = "The shared local Ray cluster could not be used: {reason}."
    remedy = "{advice}."

    reason: str
    advice: str


def __dir__() -> list[str]:
    return sorted(__all__)

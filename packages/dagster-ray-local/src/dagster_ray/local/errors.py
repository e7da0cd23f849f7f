"""What can go wrong with a local cluster. The tree's root is in `dagster_ray.core.errors`.

DagsterRayError
  SharedClusterError        the process that holds a shared cluster did not start it
"""

from typing_extensions import override

from dagster_ray.core import DagsterRayError

__all__ = ["SharedClusterError"]


class SharedClusterError(DagsterRayError):
    """The process that holds the shared cluster ended, or could not start Ray."""

    code = "shared-cluster"

    def __init__(self, reason: str, log_path: str) -> None:
        """Take what went wrong and where that process wrote its log."""
        super().__init__(reason, log_path)
        self.reason, self.log_path = reason, log_path

    @property
    @override
    def problem(self) -> str:
        return f"The shared local Ray cluster could not be used: {self.reason.rstrip('.')}."

    @property
    @override
    def remedy(self) -> str:
        return f"read {self.log_path}; LocalRay(share=False) starts Ray in the step's own process instead."

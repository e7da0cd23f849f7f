"""`ProgressConfig`: the field of a resource that says what becomes of the progress of Ray Data and Ray Train."""

import os

from pydantic import Field

from dagster_ray.core._config import VariablesConfig
from dagster_ray.core.step_report.quiet import Progress, quiet_variables


class ProgressConfig(VariablesConfig):
    """What a resource says of progress."""

    progress: Progress = Field(
        default="report",
        description=(
            "What becomes of the progress of Ray Data and Ray Train. report: a line in the run's log at most once a "
            "minute, and a table at the end. bars: Ray's own progress bars and colors. off: neither."
        ),
    )

    def quiet_environment(self) -> dict[str, str]:
        """Return the variables that keep bars and colors out of the log of a step in this process."""
        return quiet_variables(self.progress, os.environ)

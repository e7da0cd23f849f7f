"""`ProgressConfig`: the field that says what becomes of the progress of Ray Data and Ray Train, and of their bars."""

import os
from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import Field

from dagster_ray.core._config import VariablesConfig

Progress: TypeAlias = Literal["report", "bars", "off"]

# Read by ray/data/context.py when it is imported, and by ray/_private/worker.py for each line of a task.
_QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_COLOR_PREFIX": "0"}


def quiet_variables(progress: Progress, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep bars and colors out of a log; none that somebody has set.

    Args:
        progress: What the resource says.
        environ: The environment of the step.
    """
    if progress == "bars":
        return {}
    return {name: value for name, value in _QUIET.items() if name not in environ}


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

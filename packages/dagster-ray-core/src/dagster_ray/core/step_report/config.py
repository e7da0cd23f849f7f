"""`ProgressConfig`: the field that says what becomes of the progress of Ray Data and Ray Train, and of their bars."""

import os
from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import Field

from dagster_ray.core._config import VariablesConfig

Progress: TypeAlias = Literal["report", "bars", "off"]

# Read by ray/data/context.py when it is imported, and by ray/_private/worker.py for each line of a task.
_QUIET = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_COLOR_PREFIX": "0"}
# Read where a trainer is made (ray/train/data_parallel_trainer.py and ray/train/v2/api/, 2.46 to 2.60). Without it,
# nothing knows of training runs; with it, Ray keeps them in a detached actor without CPU, one for a cluster.
_TRACKED = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"}


def quiet_variables(progress: Progress, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep bars and colors out of a log; none that somebody has set.

    Args:
        progress: What the resource says.
        environ: The environment of the driver.
    """
    return _unset({} if progress == "bars" else _QUIET, environ)


def tracking_variables(progress: Progress, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let Ray keep what is reported; none that somebody has set.

    Args:
        progress: What the resource says.
        environ: The environment of the driver.
    """
    return _unset(_TRACKED if progress == "report" else {}, environ)


def _unset(wanted: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if name not in environ}


class ProgressConfig(VariablesConfig):
    """What a resource says of progress."""

    progress: Progress = Field(
        default="report",
        description=(
            "What becomes of the progress of Ray Data and Ray Train. report: a line in the run's log at most once a "
            "minute, and a table at the end. bars: Ray's own progress bars and colors. off: neither."
        ),
    )

    def progress_environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the variables of a step's driver that follow from the field; none that somebody has set.

        Args:
            environ: The environment of the driver. Unset: that of this process.
        """
        return quiet_variables(self.progress, environ) | tracking_variables(self.progress, environ)

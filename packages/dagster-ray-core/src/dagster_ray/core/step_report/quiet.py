"""What Ray writes for a terminal, and how a step keeps it out of its log. Pure."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

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

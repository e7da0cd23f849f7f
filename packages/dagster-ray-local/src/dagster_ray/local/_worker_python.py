"""Workers of a local Ray run in the Python of the step, also when that was started by `uv run`.

When Ray notices that the driver runs under `uv run`, it packs the working directory and starts each worker by
that same uv command in the copy (ray/_private/runtime_env/uv_runtime_env_hook.py). That carries an environment
to other machines. On this machine it builds the environment once more, or fails where it cannot; the step's
own Python is here already.
"""

import importlib
import os
from typing import Any

_VARIABLE = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"


def use_this_python() -> bool:
    """Switch Ray's propagation of `uv run` off, unless the user has set it; return whether it was on."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    if _VARIABLE in os.environ or not getattr(constants, _VARIABLE, False):
        return False
    setattr(constants, _VARIABLE, False)
    return True


def undo_use_this_python() -> None:
    """Switch it on again."""
    constants: Any = importlib.import_module("ray._private.ray_constants")
    setattr(constants, _VARIABLE, True)

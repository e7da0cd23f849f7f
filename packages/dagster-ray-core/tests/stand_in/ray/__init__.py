"""What of Ray a driver uses, without a cluster: a run with this folder on its path needs no head, and no ray.

It keeps to those of Ray's habits that matter here: `init` takes over SIGTERM in the main thread with a
handler that exits (ray/_private/worker.py), and leaves its variables in the environment; `get` knows Python's own
interrupt only.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

_connected = False
_address = ""
_drivers = count(1)
_driver = 0


def init(
    address: str,
    *,
    reach: Callable[[], None] = lambda: None,
    before_shutdown: Callable[[], None] = lambda: None,
    ignore_reinit_error: bool = False,
    job_config: object = None,
) -> SimpleNamespace:
    """Connect; `reach` runs in the middle of it, `before_shutdown` at the start of the next `shutdown`."""
    del job_config  # there are no workers
    global _address, _before_shutdown, _connected, _driver  # noqa: PLW0603 - a process has one driver
    if _connected and ignore_reinit_error:
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda signum, _frame: sys.exit(signum))
    os.environ["RAY_STAND_IN"] = address
    _before_shutdown = before_shutdown
    reach()
    _address, _connected, _driver = address, True, next(_drivers)
    return SimpleNamespace(dashboard_url="127.0.0.1:8265")


def _nothing() -> None:
    pass


_before_shutdown: Callable[[], None] = _nothing


def shutdown() -> None:
    global _before_shutdown, _connected  # noqa: PLW0603
    before, _before_shutdown = _before_shutdown, _nothing
    before()
    _connected = False


def get(signum: int) -> None:
    """Wait for an object, and let Python's handlers run when this signal comes, as Ray's C++ code does.

    It knows KeyboardInterrupt; another exception stays set until a call notices it (check_signals in ray/_raylet.pyx).
    """
    try:
        signal.raise_signal(signum)
    except KeyboardInterrupt:
        interrupted = True
    except BaseException as error:
        words = "<built-in method __new__> returned a result with an exception set"
        raise SystemError(words) from error
    else:
        interrupted = False
    if interrupted:
        raise KeyboardInterrupt


def is_initialized() -> bool:
    return _connected


def get_runtime_context() -> SimpleNamespace:
    return SimpleNamespace(
        get_job_id=lambda: "0a000000", get_node_id=lambda: f"node of driver {_driver}", gcs_address=_address
    )

"""Signal handlers: defer interrupts around work that must finish, and undo what `ray.init` installs."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def _in_main_thread() -> bool:
    """Python lets only the main thread set signal handlers."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def interrupts_deferred(*, redeliver: bool) -> Generator[None]:
    """Let SIGINT and SIGTERM wait until the block is done.

    Outside the main thread there is nothing to do: Python delivers signals to the main thread only.

    Args:
        redeliver: Raise the first deferred signal again after the block, also if the block raised. False
            where the process already is being interrupted, so that a second signal means nothing new.
    """
    if not _in_main_thread():
        yield
        return
    received: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        received.append(signum)

    before = {signum: signal.getsignal(signum) for signum in _INTERRUPTS}
    for signum in _INTERRUPTS:
        signal.signal(signum, note)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        # Also when the block raised: a request to stop the process must not get lost in an error.
        if received and redeliver:
            signal.raise_signal(received[0])


@contextmanager
def sigterm_handler_kept() -> Generator[None]:
    """Restore the SIGTERM handler after the block, which contains a `ray.init`.

    In the main thread `ray.init` installs a handler that calls `sys.exit(SIGTERM)` and leaves it there
    (ray/_private/worker.py), so that Dagster would no longer notice a termination. A SIGTERM that
    arrives inside the block shows as that SystemExit; it is handed to the handler that was there before.
    """
    if not _in_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def restore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    try:
        yield
    except SystemExit as exit_:
        restore()
        if exit_.code == signal.SIGTERM and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        restore()

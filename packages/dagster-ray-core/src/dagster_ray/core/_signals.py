"""Interrupts: known by their errors, deferred around work that must finish, kept through `ray.init`, shown to Ray."""

import importlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

import dagster as dg

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def _in_main_thread() -> bool:
    """Python lets only the main thread set signal handlers."""
    return threading.current_thread() is threading.main_thread()


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether `error` is not a failure of the work but a request to stop it.

    SystemExit is the work's own decision, and GeneratorExit says only that nobody resumes a generator. An interrupt
    that reaches Ray's C++ code within `ray.get` comes out as a SystemError that it caused (ray/_raylet.pyx knows only
    KeyboardInterrupt and SystemExit there).
    """
    if isinstance(error, SystemError):
        error = error.__cause__ or error.__context__
    return isinstance(error, (KeyboardInterrupt, dg.DagsterExecutionInterruptedError))


def is_being_interrupted(error: BaseException | None) -> bool:
    """Return whether an interrupt has reached us as `error`, or is on its way through the frames below."""
    return is_interrupt(error) or is_interrupt(sys.exc_info()[1])


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
def _arrivals() -> Generator[Callable[[], list[int]]]:
    """Count the signals that reach this process, whatever their handlers do; main thread only.

    Yields what returns the interrupts that came. Nothing is counted where an event loop has set a wakeup
    file descriptor of its own (`signal.set_wakeup_fd` has room for one).
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        others = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if others != -1:
            signal.set_wakeup_fd(others)

        def arrived() -> list[int]:
            try:
                return [signum for signum in reader.recv(4096) if signum in _INTERRUPTS]
            except BlockingIOError:
                return []

        try:
            yield arrived
        finally:
            if others == -1:
                signal.set_wakeup_fd(-1)


@contextmanager
def sigterm_handler_kept() -> Generator[None]:
    """Restore the SIGTERM handler after the block, which contains a `ray.init`.

    In the main thread `ray.init` installs a handler that calls `sys.exit(SIGTERM)` and leaves it there
    (ray/_private/worker.py), so that Dagster would no longer notice a termination. A SIGTERM that
    arrives inside the block shows as that SystemExit; it is handed to the handler that was there before.

    `ray.init` forks, and Python only prints an exception that a handler raises within a callback of
    `os.register_at_fork` (the one of logging, for example). So a signal that came but did not end the block
    is raised again after it.
    """
    if not _in_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def restore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    with _arrivals() as arrived:
        try:
            yield
        except SystemExit as exit_:
            restore()
            if exit_.code == signal.SIGTERM and callable(before):
                before(signal.SIGTERM, None)
            raise
        except Exception:
            restore()
            _raise_again(arrived())
            raise
        finally:
            restore()
        _raise_again(arrived())


def _raise_again(signals: list[int]) -> None:
    if signals:
        signal.raise_signal(signals[0])


@contextmanager
def lost_interrupts_raised() -> Generator[Callable[[], None]]:
    """Yield a function that raises an interrupt again which came but did not end the block. For long waits.

    Python only prints an exception that a signal handler raises within a finalizer or another callback of the
    interpreter, so that a wait which such a signal meets would go on. Outside the main thread the function does
    nothing.
    """
    if not _in_main_thread():
        yield lambda: None
        return
    with _arrivals() as arrived:

        def raise_lost() -> None:
            try:
                _raise_again(arrived())
            finally:
                arrived()  # the one that was raised here

        yield raise_lost


class _InterruptInRay(dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
    """Dagster's interrupt, as Ray's C++ code knows it."""


_Raises = Callable[[type[BaseException]], AbstractContextManager[None]]


def show_interrupts_to_ray(*, shown: bool) -> None:
    """Let an interrupt by Dagster end a call of Ray at once, or leave it to Dagster again.

    While a native driver waits in C++ (`ray.get`, `ray.wait`), Ray lets Python's signal handlers run, but it knows only
    KeyboardInterrupt and SystemExit (check_signals in ray/_raylet.pyx). What Dagster's handler raises neither ends the
    wait nor gets lost: when the object arrives, maybe hours later, it shows as a SystemError, which fails the step
    and counts as an attempt. So that handler raises an exception of both kinds where it finds a frame of Ray, and
    the KeyboardInterrupt that Ray makes of it leaves the step's code as Dagster's own interrupt.
    """
    errors: Any = importlib.import_module("dagster._core.errors")
    present: _Raises | None = getattr(errors, "raise_interrupts_as", None)
    if present is None:  # a private name, which a later Dagster need not have
        return
    original: _Raises | None = getattr(present, "of_dagster", None)
    if shown and original is None:
        errors.raise_interrupts_as = _shown_to_ray(present)
    elif not shown and original is not None:
        errors.raise_interrupts_as = original


def _shown_to_ray(raises: _Raises) -> _Raises:
    @contextmanager
    def raise_interrupts_as(error_cls: type[BaseException]) -> Generator[None]:
        with raises(error_cls):
            if not _in_main_thread() or not issubclass(error_cls, dg.DagsterExecutionInterruptedError):
                yield
                return
            in_ray = _show_to_ray()  # Dagster restores the handlers that were there before
            try:
                yield
            except KeyboardInterrupt as error:
                if not in_ray or isinstance(error, error_cls):
                    raise
                words = f"{signal.Signals(in_ray[0]).name} ended the step within a call of Ray"
                raise error_cls(words) from error

    made: Any = raise_interrupts_as
    made.of_dagster = raises
    return raise_interrupts_as


def _show_to_ray() -> list[int]:
    """Wrap the handlers that are set now; return where the signals that find Ray are noted."""
    in_ray: list[int] = []
    handlers = {signum: signal.getsignal(signum) for signum in _INTERRUPTS}

    def handle(signum: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(signum)]
        try:
            if callable(handler):
                handler(signum, frame)
        except dg.DagsterExecutionInterruptedError as error:
            module = "" if frame is None else str(frame.f_globals.get("__name__"))
            if module.partition(".")[0] != "ray":
                raise
            in_ray.append(signum)
            raise _InterruptInRay(*error.args) from error

    for signum in _INTERRUPTS:
        signal.signal(signum, handle)
    return in_ray

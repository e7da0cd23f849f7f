"""Real signals, sent to this process."""

import os
import signal
import sys
from collections.abc import Generator
from types import FrameType

import pytest

from dagster_ray.core._signals import interrupts_deferred, lost_interrupts_raised, sigterm_handler_kept

SIGNALS = [pytest.param(signal.SIGINT, id="SIGINT"), pytest.param(signal.SIGTERM, id="SIGTERM")]


class Stopped(BaseException):
    """What the handler of these tests raises, as Dagster's does."""


@pytest.fixture
def seen() -> Generator[list[int]]:
    """The signals that reached the handlers which were there before the block."""
    signals: list[int] = []

    def stop(signum: int, _frame: FrameType | None) -> None:
        signals.append(signum)
        raise Stopped

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield signals
    for signum, handler in before.items():
        signal.signal(signum, handler)


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_waits_until_the_block_is_done(seen: list[int], signum: int) -> None:
    done: list[str] = []

    @interrupts_deferred(redeliver=True)
    def work() -> None:
        send(signum)
        done.append("the work after the signal")
        assert seen == []

    with pytest.raises(Stopped):
        work()
    assert done == ["the work after the signal"]
    assert seen == [signum]


def test_the_first_of_several_signals_is_redelivered_and_once(seen: list[int]) -> None:
    @interrupts_deferred(redeliver=True)
    def work() -> None:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        send(signal.SIGTERM)

    with pytest.raises(Stopped):
        work()
    assert seen == [signal.SIGTERM]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_second_signal_means_nothing_new_to_a_process_that_is_being_stopped(seen: list[int], signum: int) -> None:
    with interrupts_deferred(redeliver=False):
        send(signum)
    assert seen == []


def test_a_signal_is_not_lost_in_an_error_of_the_block(seen: list[int]) -> None:
    error = ValueError("the delete call failed")

    @interrupts_deferred(redeliver=True)
    def work() -> None:
        send(signal.SIGTERM)
        raise error

    with pytest.raises(Stopped) as caught:
        work()
    assert seen == [signal.SIGTERM]
    assert caught.value.__context__ is error


@pytest.mark.parametrize("signum", SIGNALS)
def test_without_a_signal_the_handlers_are_as_before(seen: list[int], signum: int) -> None:
    before = signal.getsignal(signum)
    with interrupts_deferred(redeliver=True):
        assert signal.getsignal(signum) is not before
    assert signal.getsignal(signum) is before
    assert seen == []


def test_blocks_can_be_nested(seen: list[int]) -> None:
    done: list[str] = []

    @interrupts_deferred(redeliver=True)
    def inner() -> None:
        send(signal.SIGTERM)
        done.append("inner")

    @interrupts_deferred(redeliver=True)
    def outer() -> None:
        inner()
        done.append("outer")

    with pytest.raises(Stopped):
        outer()
    assert done == ["inner", "outer"]
    assert seen == [signal.SIGTERM]


def test_outside_the_main_thread_handlers_are_left_alone(seen: list[int]) -> None:
    from threading import Thread

    before = signal.getsignal(signal.SIGTERM)
    inside: list[object] = []

    def work() -> None:
        with interrupts_deferred(redeliver=True), sigterm_handler_kept():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]
    assert seen == []


def exit_as_ray_does(signum: int, _frame: FrameType | None) -> None:
    """The handler that `ray.init` installs."""
    sys.exit(signum)


def test_the_handler_that_ray_installs_is_taken_back(seen: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_handler_kept():
        signal.signal(signal.SIGTERM, exit_as_ray_does)
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(Stopped):
        send(signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_a_termination_that_rays_handler_took_reaches_the_one_before(seen: list[int]) -> None:
    @sigterm_handler_kept()
    def init() -> None:
        signal.signal(signal.SIGTERM, exit_as_ray_does)
        send(signal.SIGTERM)

    with pytest.raises(Stopped):
        init()
    assert seen == [signal.SIGTERM]


def test_another_exit_stays_an_exit(seen: list[int]) -> None:
    with pytest.raises(SystemExit) as caught, sigterm_handler_kept():
        sys.exit(3)
    assert caught.value.code == 3
    assert seen == []


def test_the_handler_is_restored_after_an_error(seen: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    @sigterm_handler_kept()
    def init() -> None:
        signal.signal(signal.SIGTERM, exit_as_ray_does)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        init()
    assert signal.getsignal(signal.SIGTERM) is before
    assert seen == []


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_signal_whose_exception_got_lost_is_raised_again(seen: list[int], signum: int, fails: bool) -> None:
    """As in a callback of `os.register_at_fork`, where Python prints an exception and goes on."""

    @sigterm_handler_kept()
    def init() -> None:
        signal.signal(signal.SIGTERM, exit_as_ray_does)
        with pytest.raises((SystemExit, Stopped)):
            send(signum)
        if fails:
            raise ConnectionError

    seen_before_the_end = 1 if signum == signal.SIGINT else 0
    with pytest.raises(Stopped):
        init()
    assert seen == [signum] * (1 + seen_before_the_end)


def test_a_signal_that_ended_the_block_is_not_raised_again(seen: list[int]) -> None:
    with pytest.raises(Stopped), sigterm_handler_kept():
        send(signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_the_wakeup_file_descriptor_of_an_event_loop_stays(seen: list[int]) -> None:
    import socket

    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        try:
            with sigterm_handler_kept():
                pass
        finally:
            left = signal.set_wakeup_fd(-1)
        assert left == writer.fileno()
    assert seen == []


def test_an_interrupt_whose_exception_was_lost_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints what a handler raises within a finalizer, and goes on."""

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def handler(signum: int, frame: object) -> None:
        raise InterruptedError

    lost: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lost.append)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with lost_interrupts_raised() as raise_lost:
            raise_lost()
            Finalized()
            assert len(lost) == 1
            with pytest.raises(InterruptedError):
                raise_lost()
            raise_lost()
    finally:
        signal.signal(signal.SIGTERM, before)

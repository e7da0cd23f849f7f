"""When a start on this machine writes a line. The clock is the test's."""

import logging
import threading

import pytest

from dagster_ray.local._local_ray import StartLines, write_lines


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self, over_at: float) -> None:
        self.now, self.over_at = 0.0, over_at

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now > self.over_at


@pytest.mark.parametrize(
    ("over_at", "told"),
    [
        pytest.param(20, [], id="a start that is quick says nothing more"),
        pytest.param(100, [30, 60, 90], id="every 30 s at first"),
        pytest.param(2000, [*range(30, 301, 30), 900, 1500], id="every 10 minutes after five minutes"),
    ],
)
def test_a_start_shows_that_it_goes_on(caplog: pytest.LogCaptureFixture, over_at: float, told: list[int]) -> None:
    clock = Clock(over_at)
    with caplog.at_level(logging.INFO, "start"):
        write_lines(logging.getLogger("start"), "LocalRay (process 7)", clock.wait, clock)
    assert caplog.messages == [f"LocalRay (process 7) has been starting for {seconds} s." for seconds in told]


def test_the_thread_ends_with_the_start() -> None:
    lines = StartLines()
    lines.end()
    lines = StartLines()
    lines.begin(logging.getLogger("start"), "LocalRay (process 7)")
    assert "dagster-ray start" in {thread.name for thread in threading.enumerate()}
    lines.end()
    lines.end()
    assert "dagster-ray start" not in {thread.name for thread in threading.enumerate()}

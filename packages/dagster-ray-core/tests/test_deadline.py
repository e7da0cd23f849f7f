"""The one clock of a resource."""

import random
from itertools import islice

import pytest

from dagster_ray.core import Deadline
from dagster_ray.core._deadline import jittered_delays


class Clock:
    """Seconds that pass only when told to, or when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    ("passed", "spent", "remaining", "over"),
    [
        pytest.param(0, 0, 10, False, id="nothing is spent at the start"),
        pytest.param(4, 4, 6, False, id="the clock runs from construction"),
        pytest.param(10, 10, 0, True, id="the last second ends it"),
        pytest.param(25, 25, 0, True, id="what remains is never below zero"),
    ],
)
def test_the_budget_is_spent(passed: float, spent: float, remaining: float, over: bool) -> None:
    clock = Clock()
    deadline = Deadline(10, clock, clock.sleep)
    clock.now += passed
    assert (deadline.spent_seconds(), deadline.remaining_seconds(), deadline.is_over()) == (spent, remaining, over)


def test_a_paused_deadline_spends_nothing() -> None:
    clock = Clock()
    deadline = Deadline(10, clock, clock.sleep)
    clock.now += 3
    deadline.pause()
    clock.now += 100
    deadline.pause()
    clock.now += 100
    assert deadline.spent_seconds() == 3
    deadline.resume()
    clock.now += 2
    deadline.resume()
    clock.now += 1
    assert deadline.spent_seconds() == 6


@pytest.mark.parametrize(
    ("passed", "asked", "slept", "time_left"),
    [
        pytest.param(0, 2, [2], True, id="it sleeps as long as asked"),
        pytest.param(9, 2, [1], False, id="it sleeps no longer than to the deadline"),
        pytest.param(8, 2, [2], False, id="a sleep that ends at the deadline leaves no time"),
        pytest.param(12, 2, [], False, id="it does not sleep after the deadline"),
    ],
)
def test_sleep(passed: float, asked: float, slept: list[float], time_left: bool) -> None:
    clock = Clock()
    deadline = Deadline(10, clock, clock.sleep)
    clock.now += passed
    assert deadline.sleep(asked) is time_left
    assert clock.slept == slept


def test_delays_grow_to_the_cap_and_are_jittered() -> None:
    delays = list(islice(jittered_delays(first_seconds=1, cap_seconds=5, rng=random.Random(7)), 6))
    bounds = [1, 2, 4, 5, 5, 5]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert len(set(delays)) == 6


def test_two_steps_do_not_wait_alike() -> None:
    assert list(islice(jittered_delays(), 8)) != list(islice(jittered_delays(), 8))

"""The API server's clock, as its answers tell it."""

from datetime import UTC, datetime

import pytest

from dagster_ray.kuberay._kubernetes.transport import ServerClock

DATE = "Thu, 01 Jan 2026 12:00:00 GMT"


def test_nothing_is_known_before_the_first_answer() -> None:
    assert ServerClock().now() is None


def test_the_time_goes_on_between_answers() -> None:
    seconds = 100.0
    clock = ServerClock(lambda: seconds)
    clock.heard(DATE)
    seconds += 90
    assert clock.now() == datetime(2026, 1, 1, 12, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Jan 2026 12:00:00 GMT"])
def test_an_answer_that_does_not_tell_it_changes_nothing(date: str | None) -> None:
    clock = ServerClock(lambda: 0.0)
    clock.heard(date)
    assert clock.now() is None
    clock.heard(DATE)
    clock.heard(date)
    assert clock.now() == datetime(2026, 1, 1, 12, tzinfo=UTC)

"""Locks on a shared cluster: what is written, what is read back, and when one ends."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagster_ray.kuberay._kubernetes.fields import time_of
from dagster_ray.kuberay._sharing.locks import (
    Lock,
    UnreadableLock,
    common_lock,
    ends_at,
    holders,
    live_locks,
    locks_of,
    read_lock,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOCK = Lock("a1", "run", "step", NOON, NOON, 600)


def cluster(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {f"dagster/lock-{key}": text for key, text in annotations.items()}}}


def test_a_lock_reads_back_as_it_was_written() -> None:
    assert locks_of({"metadata": {"annotations": {LOCK.key: LOCK.text(), "other": "{}"}}}) == (LOCK,)


def test_the_wire_format_is_a_contract() -> None:
    assert json.loads(LOCK.text()) == {
        "run_id": "run",
        "step_key": "step",
        "applied_at": "2026-01-01T12:00:00Z",
        "renewed_at": "2026-01-01T12:00:00Z",
        "ttl_seconds": 600,
    }


@pytest.mark.parametrize(
    ("seconds", "live"),
    [
        pytest.param(0, True, id="from the moment on in which it is applied"),
        pytest.param(599, True, id="until its time has passed"),
        pytest.param(600, False, id="and not longer"),
        pytest.param(-3600, True, id="and also if the server's clock went back"),
    ],
)
def test_a_lock_lives_for_its_ttl(seconds: int, live: bool) -> None:
    now = NOON + timedelta(seconds=seconds)
    assert LOCK.is_live(now) is live
    assert bool(live_locks(cluster(a1=LOCK.text()), now)) is live


def test_a_renewal_counts_from_the_last_sign_and_never_shortens() -> None:
    later = NOON + timedelta(seconds=400)
    renewed = LOCK.renewed(later)
    assert (renewed.applied_at, renewed.ends_at) == (NOON, later + timedelta(seconds=600))
    assert renewed.renewed(NOON) == renewed


GOOD = json.loads(LOCK.text())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("not JSON", id="no JSON"),
        pytest.param("[" * 100_000, id="JSON that is nested too deeply, or too long"),
        pytest.param("[]", id="JSON that is no object"),
        pytest.param(json.dumps({**GOOD, "renewed_at": "2026-01-01T12:00:00"}), id="a time without a zone"),
        pytest.param(json.dumps({**GOOD, "applied_at": 5}), id="a time that is a number"),
        pytest.param(json.dumps({**GOOD, "ttl_seconds": "600"}), id="a ttl that is text"),
        pytest.param(json.dumps({**GOOD, "ttl_seconds": True}), id="a ttl that is a truth value"),
        pytest.param(json.dumps({**GOOD, "ttl_seconds": float("nan")}), id="a ttl that is no number"),
        pytest.param(json.dumps({**GOOD, "ttl_seconds": -1}), id="a ttl below zero"),
        pytest.param(json.dumps({**GOOD, "ttl_seconds": 10**400}), id="a ttl beyond all numbers"),
        pytest.param(json.dumps({"until": "tomorrow"}), id="the lock of a later version"),
    ],
)
def test_a_lock_that_cannot_be_read_never_ends(text: str) -> None:
    lock = read_lock("a1", text)
    assert lock == UnreadableLock("a1")
    assert lock.is_live(datetime.max.replace(tzinfo=UTC))


YEAR, MONTH = timedelta(days=366), timedelta(days=30)


@pytest.mark.parametrize(
    ("given", "end"),
    [
        pytest.param({"ttl_seconds": 1e12}, NOON + MONTH, id="a ttl of 30,000 years is one of 30 days"),
        pytest.param({"ttl_seconds": 1e300}, NOON + MONTH, id="and so is any"),
        pytest.param(
            {"renewed_at": "2126-01-01T12:00:00Z"},
            NOON + YEAR + timedelta(seconds=600),
            id="a sign of a step that would run for a century counts as one after a year",
        ),
        pytest.param(
            {"applied_at": "9999-12-31T00:00:00Z", "renewed_at": "9999-12-31T00:00:00Z", "ttl_seconds": 1e12},
            datetime.max.replace(tzinfo=UTC),
            id="the end of the calendar",
        ),
    ],
)
def test_what_somebody_else_has_written_is_bounded(given: dict[str, Any], end: datetime) -> None:
    lock = read_lock("a1", json.dumps({**GOOD, **given}))
    assert isinstance(lock, Lock)
    assert lock.ends_at == end


@pytest.mark.parametrize(
    ("days", "future"),
    [
        pytest.param(0, False, id="now"),
        pytest.param(0.9, False, id="hours"),
        pytest.param(1.1, True, id="a day"),
        pytest.param(36500, True, id="2126"),
    ],
)
def test_a_lock_that_is_dated_in_the_future_is_known(days: float, future: bool) -> None:
    at = NOON + timedelta(days=days)
    lock = Lock("a", None, None, at, at, 600)
    assert lock.is_in_future(NOON) is future
    assert lock.is_live(NOON), "doubt means that it is in use"


def test_a_clock_that_was_wrong_by_years_is_not_believed_by_the_lock_that_it_dated() -> None:
    later = NOON + timedelta(days=36500)
    renewed = Lock("a", None, None, later, later, 600).renewed(NOON)
    assert (renewed.applied_at, renewed.renewed_at) == (NOON, NOON)


def test_a_step_may_run_for_longer_than_a_lock_is_believed() -> None:
    lock = LOCK
    for month in range(1, 40):
        lock = lock.renewed(NOON + month * MONTH)
        assert lock.ends_at == NOON + month * MONTH + timedelta(seconds=600)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("train[a b]", "train[a b]", id="a step key"),
        pytest.param("a\x1b[31m\r\nb", "a\\x1b[31m\\r\\nb", id="control characters"),
        pytest.param("\u202egnirts", "\\u202egnirts", id="a text that runs backwards"),
        pytest.param("x" * 1000, "x" * 300, id="a long text"),
    ],
)
def test_what_a_lock_says_of_its_step_can_be_shown(text: str, shown: str) -> None:
    lock = read_lock("a1", json.dumps({**GOOD, "run_id": text, "step_key": text}))
    assert isinstance(lock, Lock)
    assert (lock.run_id, lock.step_key) == (shown, shown)


def test_steps_that_are_over_have_one_lock_with_the_latest_end() -> None:
    early, late = replace(LOCK, id="x"), replace(LOCK, id="y", ttl_seconds=900)
    first = common_lock({}, late)
    assert isinstance(first, Lock)
    assert first == replace(late, id="ended")
    assert first.is_common
    there = {"metadata": {"annotations": {first.key: first.text()}}}
    assert common_lock(there, early) == first
    assert common_lock(there, replace(early, renewed_at=NOON + timedelta(hours=1))) != first
    assert holders(there, NOON) == ()
    assert len(live_locks(there, NOON)) == 1


def test_a_common_lock_that_cannot_be_read_is_not_replaced() -> None:
    assert common_lock(cluster(ended="of a later version"), LOCK) is None


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({}, None, id="no lock"),
        pytest.param({"a": LOCK.text()}, NOON + timedelta(seconds=600), id="one lock"),
        pytest.param(
            {"a": LOCK.text(), "b": LOCK.renewed(NOON + timedelta(hours=1)).text()},
            NOON + timedelta(seconds=4200),
            id="the last of two",
        ),
        pytest.param({"a": LOCK.text(), "b": "?"}, None, id="one that never ends"),
    ],
)
def test_the_last_end(annotations: dict[str, str], expected: datetime | None) -> None:
    assert ends_at(locks_of(cluster(**annotations))) == expected


def test_any_zone_is_understood() -> None:
    assert time_of("2026-01-01T13:00:00+01:00") == NOON

"""Locks on a shared cluster: what is written, what is read back, and when one ends."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dagster_ray.kuberay._kubernetes.times import time_of
from dagster_ray.kuberay._sharing.locks import Lock, UnreadableLock, ends_at, live_locks, locks_of, read_lock

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


def test_a_ttl_beyond_the_calendar_ends_with_it() -> None:
    lock = read_lock("a1", json.dumps({**GOOD, "ttl_seconds": 1e15}))
    assert isinstance(lock, Lock)
    assert lock.ends_at == datetime.max.replace(tzinfo=UTC)


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

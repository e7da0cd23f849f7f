"""What the clusters of a pool say of themselves."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pool_cases import NOON, SIZES, ago, lock, ticket

from dagster_ray.kuberay._pool.members import Sizes, Ticket, copy_of, member_of, sizes_of, ticket_of
from dagster_ray.kuberay._pool.schedule import MOST_CHARACTERS, MOST_ENTRIES, MOST_MEMBERS, Entry, Schedule


def test_sizes_and_tickets_are_read_as_they_were_written() -> None:
    sizes = Sizes(size=3, max_size=5, idle_seconds=60.5, recycle_after_uses=7, recycle_after_seconds=9)
    assert sizes_of(sizes.text()) == sizes
    one = ticket("a", 5)
    assert ticket_of("a", one.text()) == one


def test_a_schedule_is_read_as_it_was_written() -> None:
    entries = (Entry("0 8 * * 1-5", 4), Entry("@daily", 0))
    sizes = Sizes(size=Schedule(entries, "Europe/Berlin"), max_size=4)
    assert sizes_of(sizes.text()) == sizes


def test_the_longest_schedule_can_be_read() -> None:
    entries = tuple(Entry("0," * 49 + "10", MOST_MEMBERS) for _ in range(MOST_ENTRIES))
    sizes = Sizes(size=Schedule(entries, "z" * MOST_CHARACTERS), max_size=MOST_MEMBERS)
    assert sizes_of(sizes.text()) == sizes


@pytest.mark.parametrize(
    "size",
    [
        pytest.param({}, id="an empty mapping"),
        pytest.param({"entries": [], "timezone": "UTC"}, id="no entry"),
        pytest.param({"entries": [{"cron": "@daily", "size": 1}]}, id="no time zone"),
        pytest.param({"entries": [{"cron": "@daily"}], "timezone": "UTC"}, id="no size"),
        pytest.param({"entries": [{"cron": "@daily", "size": 1}, "x"], "timezone": "UTC"}, id="an entry that is none"),
        pytest.param({"entries": [{"cron": 5, "size": 1}], "timezone": "UTC"}, id="a cron string that is none"),
        pytest.param({"entries": [{"cron": "@daily", "size": True}], "timezone": "UTC"}, id="a size that is none"),
        pytest.param({"entries": [{"cron": "@daily", "size": -1}], "timezone": "UTC"}, id="a negative size"),
        pytest.param({"entries": [{"cron": "@daily", "size": 1}] * 25, "timezone": "UTC"}, id="too many entries"),
        pytest.param("2", id="text"),
        pytest.param(-1, id="a negative number"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_not_guessed(size: object) -> None:
    assert sizes_of(json.dumps({"size": size, "max_size": 1, "idle_seconds": 1})) is None


@pytest.mark.parametrize(
    "value", [None, "", "[]", "{}", '{"size": true, "max_size": 1, "idle_seconds": 1}', '{"size": 1}']
)
def test_what_cannot_be_read_is_not_guessed(value: str | None) -> None:
    assert sizes_of(value) is None
    assert ticket_of("a", value) is None


def test_a_ticket_of_a_wrong_clock_keeps_nobody_away_for_ever() -> None:
    assert not Ticket("a", ago(3 * 86400), NOON + timedelta(days=99)).is_live(NOON)
    assert not Ticket("a", NOON + timedelta(days=9), NOON + timedelta(days=99)).is_live(NOON)


def test_a_step_that_waits_for_days_has_a_ticket_as_long_as_it_writes_it_again() -> None:
    assert Ticket("a", ago(9 * 86400), NOON + timedelta(days=1)).is_live(NOON)


TEMPLATE: dict[str, Any] = {"spec": {"containers": []}}
USED_CLUSTER: dict[str, Any] = {
    "metadata": {
        "name": "dagster-d-1",
        "namespace": "ray",
        "uid": "u",
        "resourceVersion": "9",
        "labels": {"dagster/pool": "d", "dagster/pool-slot": "1", "team": "a"},
        "annotations": {
            "dagster/pool-sizes": SIZES.text(),
            "dagster/pool-uses": "4",
            "dagster/pool-ticket-a": ticket("a", 1).text(),
            "dagster/lock-a": lock().text(),
            "dagster/creation-id": "c",
            "note": "kept",
        },
    },
    "spec": {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {"template": TEMPLATE},
        "workerGroupSpecs": [
            {"groupName": "w", "minReplicas": 1, "replicas": 7, "scaleStrategy": {"workersToDelete": ["p"]}}
        ],
    },
    "status": {"state": "ready"},
}


def test_a_copy_has_the_specification_and_nothing_of_what_happened() -> None:
    found = copy_of(USED_CLUSTER, "dagster-d-2", 2, NOON)
    assert found["metadata"] == {
        "name": "dagster-d-2",
        "namespace": "ray",
        "labels": {"dagster/pool": "d", "dagster/pool-slot": "2", "team": "a"},
        "annotations": {
            "dagster/pool-sizes": SIZES.text(),
            "dagster/pool-used-at": "2026-01-01T12:00:00Z",
            "note": "kept",
        },
    }
    assert found["spec"]["workerGroupSpecs"] == [{"groupName": "w", "minReplicas": 1, "replicas": 1}]
    read = member_of({**found, "metadata": {**found["metadata"], "uid": "v"}}, NOON)
    assert (read.slot, read.uses, read.claims, read.tickets, read.sizes) == (2, 0, (), (), SIZES)

"""Which size a pool has when, and which schedules a configuration may have."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from dagster_ray.core import Lifecycle
from dagster_ray.kuberay import ClusterPool, KubeRayCluster, PoolSize
from dagster_ray.kuberay._pool.cron import ticks
from dagster_ray.kuberay._pool.members import Sizes
from dagster_ray.kuberay._pool.schedule import Entry, InForce, Schedule, in_force

WORKDAYS = Schedule((Entry("0 8 * * 1-5", 4), Entry("0 19 * * *", 0)), "Europe/Berlin")
NIGHTS = Schedule((Entry("30 2 * * *", 1), Entry("0 6 * * *", 2)), "Europe/Berlin")
HOURS = Schedule((Entry("0 * * * *", 1), Entry("30 * * * *", 2)), "Europe/Berlin")


def at(text: str) -> datetime:
    """Return a time of January 2026 or of any day, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Summer begins in Berlin on 29 March 2026 at 1:00 UTC, and ends on 25 October at 1:00 UTC.
TIMES: dict[str, tuple[int | Schedule, str, InForce]] = {
    "no schedule": (2, "2026-01-01T12:00", InForce(2)),
    "before the day's work": (WORKDAYS, "2026-01-07T06:59:59", InForce(0, at("2026-01-07T07:00"))),
    "from its first second on": (WORKDAYS, "2026-01-07T07:00:00", InForce(4, at("2026-01-07T18:00"))),
    "also by a clock with fractions": (WORKDAYS, "2026-01-07T07:00:00.5", InForce(4, at("2026-01-07T18:00"))),
    "after it": (WORKDAYS, "2026-01-07T18:00", InForce(0, at("2026-01-08T07:00"))),
    "at the weekend": (WORKDAYS, "2026-01-10T12:00", InForce(0, at("2026-01-12T07:00"))),
    "the last workday before summer": (WORKDAYS, "2026-03-27T07:00", InForce(4, at("2026-03-27T18:00"))),
    "the weekend in which summer begins": (WORKDAYS, "2026-03-28T18:30", InForce(0, at("2026-03-30T06:00"))),
    "the first workday of summer": (WORKDAYS, "2026-03-30T06:00", InForce(4, at("2026-03-30T17:00"))),
    "the first workday of winter": (WORKDAYS, "2026-10-26T06:30", InForce(0, at("2026-10-26T07:00"))),
    "before an hour that is skipped": (NIGHTS, "2026-03-29T00:59", InForce(2, at("2026-03-29T01:00"))),
    "a time in an hour that is skipped is at its end": (NIGHTS, "2026-03-29T01:00", InForce(1, at("2026-03-29T04:00"))),
    "a time that comes twice, at first": (NIGHTS, "2026-10-25T00:30", InForce(2, at("2026-10-25T01:30"))),
    "a time that comes twice, again": (NIGHTS, "2026-10-25T01:30", InForce(1, at("2026-10-25T05:00"))),
    "every half hour, in an hour that comes twice": (HOURS, "2026-10-25T00:45", InForce(2, at("2026-10-25T01:00"))),
    "and in the same hour again": (HOURS, "2026-10-25T01:15", InForce(1, at("2026-10-25T01:30"))),
    "of two that begin together the last one counts": (
        Schedule((Entry("0 8 * * *", 1), Entry("0 8 * * 3", 2))),
        "2026-01-07T09:00",
        InForce(2, at("2026-01-08T08:00")),
    ),
    "an end is where the size changes": (
        Schedule((Entry("0 8 * * *", 1), Entry("0 9 * * *", 1), Entry("0 10 * * *", 0))),
        "2026-01-07T08:30",
        InForce(1, at("2026-01-07T10:00")),
    ),
    "one size has no end": (Schedule((Entry("@hourly", 1),)), "2026-01-07T08:30", InForce(1)),
    "a day that comes each four years": (
        Schedule((Entry("0 8 29 2 *", 1), Entry("0 8 28 2 *", 0))),
        "2028-02-28T12:00",
        InForce(0, at("2032-02-29T08:00")),
    ),
}


@pytest.mark.parametrize(("size", "now", "expected"), TIMES.values(), ids=TIMES)
def test_the_entry_that_was_due_last_is_in_force(size: int | Schedule, now: str, expected: InForce) -> None:
    assert in_force(size, at(now), ticks) == expected


@pytest.mark.parametrize(
    ("cron", "timezone"),
    [
        pytest.param("0 8 * * *", "Mars", id="no time zone"),
        pytest.param("0 8 * * *", "../etc/passwd", id="a path"),
        pytest.param("0 8 * * *", "Europe", id="a folder of time zones"),
        pytest.param("0 0 30 2 *", "UTC", id="a day that never comes"),
        pytest.param("0 0 31 4 *", "UTC", id="a day that never comes, which Dagster takes"),
        pytest.param("* * * * * *", "UTC", id="seconds"),
        pytest.param("R * * * *", "UTC", id="a random minute"),
        pytest.param("daily", "UTC", id="a word"),
    ],
)
def test_what_cannot_be_evaluated_has_no_size(cron: str, timezone: str) -> None:
    schedule = Schedule((Entry("0 8 * * *", 1), Entry(cron, 2)), timezone)
    assert in_force(schedule, at("2026-01-07T09:00"), ticks) is None


# Configuration

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an empty one": ({"schedule": []}, "`schedule` is empty"),
    "a size beside it": ({"size": 1, "schedule": [{"cron": "@daily", "size": 1}]}, "`size` is given, and so is sched"),
    "one cron string twice": (
        {"schedule": [{"cron": "0 8 * * *", "size": 1}, {"cron": "0  8 * * * ", "size": 2}]},
        r"`schedule\[1\].cron` is '0 8 \* \* \*', as in schedule\[0\]",
    ),
    "a size beyond max_size": (
        {"max_size": 2, "schedule": [{"cron": "@daily", "size": 3}]},
        r"`max_size` is 2, and schedule\[0\].size is 3",
    ),
    "a negative size": (
        {"schedule": [{"cron": "@daily", "size": -1}]},
        r"schedule.0.size\n.*greater than or equal to 0",
    ),
    "no cron string": ({"schedule": [{"cron": "at eight", "size": 1}]}, r"schedule.0.cron\n.*`cron` is 'at eight'"),
    "one that is never due": ({"schedule": [{"cron": "0 0 31 4 *", "size": 1}]}, "`cron` is '0 0 31 4 .*never due"),
    "no time zone": ({"timezone": "Mars"}, "`timezone` is 'Mars', which is no time zone"),
    "an empty time zone": ({"timezone": ""}, "timezone\n.*at least 1 character"),
    "the time zone of the machine": ({"timezone": "localtime"}, "`timezone` is 'localtime', which is no time zone"),
    "an age that no sensor reads": ({"recycle_after_seconds": 2e9}, "recycle_after_seconds\n.*less than or equal"),
    "too many entries": ({"schedule": [{"cron": f"{n} * * * *", "size": 1} for n in range(25)]}, "at most 24 items"),
    "another field": ({"schedule": [{"cron": "@daily", "size": 1, "until": 3}]}, "PoolSize has no field `until`"),
}


@pytest.mark.parametrize(("fields", "said"), FAULTS.values(), ids=FAULTS)
def test_a_schedule_that_cannot_be_meant_fails_at_load(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ClusterPool(**fields)


SIZES: dict[str, tuple[ClusterPool, Sizes]] = {
    "nothing": (ClusterPool(), Sizes()),
    "a size": (ClusterPool(size=3), Sizes(size=3, max_size=3)),
    "no size": (ClusterPool(size=0), Sizes(size=0)),
    "a schedule, whose largest size is the most": (
        ClusterPool(schedule=[PoolSize(cron="@daily", size=2), PoolSize(cron="0 8 * * *", size=5)], timezone="UTC"),
        Sizes(size=Schedule((Entry("@daily", 2), Entry("0 8 * * *", 5))), max_size=5),
    ),
    "a schedule, and the most": (
        ClusterPool(schedule=[PoolSize(cron="@daily", size=0)], timezone="Europe/Berlin", max_size=2),
        Sizes(size=Schedule((Entry("@daily", 0),), "Europe/Berlin"), max_size=2),
    ),
}


@pytest.mark.parametrize(("pool", "expected"), SIZES.values(), ids=SIZES)
def test_what_a_configuration_says_of_sizes(pool: ClusterPool, expected: Sizes) -> None:
    assert pool.sizes() == expected


def test_a_schedule_may_come_from_run_config_and_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORNING", "0 8 * * 1-5")
    monkeypatch.setenv("MANY", "4")
    seen: list[Sizes] = []

    @dg.op
    def step(ray_cluster: KubeRayCluster) -> None:
        assert ray_cluster.pool is not None
        seen.append(ray_cluster.pool.sizes())

    @dg.job
    def one_step() -> None:
        step()

    plain = [{"cron": {"env": "MORNING"}, "size": {"env": "MANY"}}, {"cron": "0 19 * * *", "size": 0}]
    lifecycle = {"create": False, "wait": False, "connect": False}
    config = {"pool": {"schedule": plain, "timezone": "Europe/Berlin"}, "lifecycle": lifecycle}
    in_code = [PoolSize(cron=dg.EnvVar("MORNING"), size=dg.EnvVar.int("MANY")), PoolSize(cron="0 19 * * *", size=0)]
    pool = ClusterPool(schedule=in_code, timezone="Europe/Berlin")
    for resource, given in (
        (KubeRayCluster.configure_at_launch(), {"resources": {"ray_cluster": {"config": config}}}),
        (KubeRayCluster(pool=pool, lifecycle=Lifecycle(create=False, wait=False, connect=False)), {}),
    ):
        assert one_step.execute_in_process(given, resources={"ray_cluster": resource}).success
    assert seen == [Sizes(size=WORKDAYS, max_size=4)] * 2

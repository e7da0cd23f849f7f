"""When a cron string is due, as in Dagster's own schedules.

Both functions say the same of the same question. What they ask of Dagster is private, and the same in 1.12.0 and
1.13.27.
"""

from datetime import UTC, datetime

# `R` is another time in each process, and `H` one by a name that is not there.
_NOT_FIXED = ("r", "h")
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def ticks(cron: str, timezone: str, now: datetime) -> tuple[datetime, datetime] | None:
    """Return when a cron string was due last, at `now` or before, and when it is due next, both in UTC.

    A time that a change to summer time skips is at its end; one that occurs twice is the second. Cron strings that are
    due each hour are due in each real hour.

    Args:
        cron: Five fields, or a word such as `@daily`.
        timezone: The IANA name of the time zone.
        now: The time.

    Returns:
        None if it is never due, is no cron string of Dagster's, or the time zone is not known here.
    """
    from dagster._utils.schedules import (
        cron_string_iterator,
        is_valid_cron_string,
        reverse_cron_string_iterator,
    )

    try:
        if not is_valid_cron_string(cron) or any(field.lower().startswith(_NOT_FIXED) for field in cron.split()):
            return None
        before = reverse_cron_string_iterator(now.timestamp(), cron, timezone)
        after = cron_string_iterator(now.timestamp(), cron, timezone)
        # In Dagster the 29th of February may come before the time that was asked for.
        last = next((utc for one in before if (utc := one.astimezone(UTC)) <= now), None)
        following = next((utc for one in after if (utc := one.astimezone(UTC)) > now), None)
    except Exception:  # noqa: BLE001 - it may be an annotation of anybody's, and what is raised is nobody's promise
        return None
    return None if last is None or following is None else (last, following)


def is_cron(cron: str) -> bool:
    """Return whether a text is a cron string that is due at some time."""
    return ticks(cron, "UTC", _ANY_TIME) is not None


def is_timezone(name: str) -> bool:
    """Return whether a text is the name of a time zone that is known here."""
    return ticks("0 0 * * *", name, _ANY_TIME) is not None

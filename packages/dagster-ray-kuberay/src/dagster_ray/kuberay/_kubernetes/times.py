"""Times as Kubernetes writes them. Pure."""

from datetime import UTC, datetime


def time_text(time: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: object) -> datetime | None:
    """Return the time that a text of Kubernetes or of a lock says; None if it says none, or none with a zone."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # the first and the last day of the calendar have no time in all zones
        return None

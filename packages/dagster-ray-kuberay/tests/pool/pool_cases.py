"""Members of a pool, their claims and tickets, at noon."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dagster_ray.kuberay._pool.members import Member, Sizes, Ticket
from dagster_ray.kuberay._sharing.locks import Lock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIZES = Sizes(size=2, max_size=2)


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


def member(slot: int = 1, **more: object) -> Member:
    given: dict[str, object] = {"is_ready": True, "used_at": ago(100), "sizes": SIZES, **more}
    return replace(Member(f"m{slot}", f"uid{slot}", "7", slot, ago(500)), **given)  # pyright: ignore[reportArgumentType]


def lock(seconds: float = 100, name: str = "other") -> Lock:
    """Return a claim that ends in so many seconds."""
    return (
        Lock(name, "run", "step", ago(500), ago(0), seconds) if seconds > 0 else Lock(name, "r", "s", ago(9), ago(9), 1)
    )


def old_lock() -> Lock:
    """Return a claim that ended some minutes ago."""
    return Lock("other", "r", "s", ago(900), ago(900), 600)


def ticket(name: str, seconds: float, until: float = 500) -> Ticket:
    """Return the ticket of a step that has waited for so many seconds."""
    return Ticket(name, ago(seconds), NOON + timedelta(seconds=until))


BUSY = member(2, claims=(lock(),))

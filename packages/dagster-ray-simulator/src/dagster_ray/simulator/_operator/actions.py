"""What a reconcile wants done, as data. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from dagster_ray.simulator._operator.names import EventFacts


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object, then tell it.

    Attributes:
        plural: The resource.
        obj: The object.
        event: What to tell when it was created.
        failed: What to tell when it was refused; the refusal's text is put at the end.
        failure: The reason of the condition ReplicaFailure when it was refused.
    """

    plural: str
    obj: Mapping[str, Any]
    event: EventFacts | None = None
    failed: EventFacts | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, then tell it."""

    plural: str
    namespace: str
    name: str
    event: EventFacts | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """Write an object back, without its status."""

    plural: str
    obj: Mapping[str, Any]
    event: EventFacts | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Only an event."""

    event: EventFacts


@dataclass(frozen=True, slots=True)
class Submit:
    """Submit a job to the dashboard (HTTPMode)."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StopJob:
    """Ask the dashboard to stop a job; what it answers does not matter."""

    job_id: str


Action: TypeAlias = Create | Delete | Replace | Tell | Submit | StopJob


@dataclass(frozen=True, slots=True)
class Failure:
    """An action that was refused.

    Attributes:
        reason: The reason of the condition ReplicaFailure; "" for none.
        message: The text of the refusal.
    """

    reason: str
    message: str

"""How far one execution of a resource has come, and how long each phase took."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dagster_ray.core import _driver
from dagster_ray.core._deadline import Deadline
from dagster_ray.core._phases import Phase
from dagster_ray.core.errors import NotConnectedError, NotCreatedError


@dataclass(slots=True)
class Progress:
    """The state of one execution."""

    deadline: Deadline | None = None
    create_begun: bool = False
    created: bool = False
    ready: bool = False
    left: bool = False
    deleted: bool = False
    connection: _driver.Connection | None = None
    evidence_seconds: float = 0.0
    """What keeping evidence of a failure has taken of the cleanup's budget."""
    seconds: dict[Phase, float] = field(default_factory=dict[Phase, float])

    @property
    def live(self) -> _driver.Connection | None:
        """The connection, unless the step's own code has ended it."""
        connection = self.connection
        return connection if connection is not None and _driver.is_connected(connection) else None

    @contextmanager
    def phase(self, phase: Phase, budget_seconds: float) -> Generator[Deadline]:
        """Let the one deadline run during a phase, and note how long the phase took."""
        if self.deadline is None:
            self.deadline = Deadline(budget_seconds)
        deadline = self.deadline
        deadline.resume()
        before = deadline.spent_seconds()
        try:
            yield deadline
        finally:
            deadline.pause()
            self.seconds[phase] = deadline.spent_seconds() - before

    def require_created(self, target: str, phase: Phase) -> None:
        """Raise `NotCreatedError` if nothing was asked for yet."""
        if not self.created:
            raise NotCreatedError(target, phase.value)

    def connected(self, target: str, member: str) -> _driver.Connection:
        """Return the live connection; raise `NotConnectedError` if there is none."""
        if (connection := self.live) is not None:
            return connection
        if self.connection is not None:
            why = "it was disconnected, by `ray.shutdown` in the step's own code or because its cluster was lost"
        elif not self.create_begun:
            why = "its phases did not run; Dagster runs them for a step unless the lifecycle switches them off"
        elif not self.ready:
            why = "the cluster was asked for but nothing waited for it"
        else:
            why = "the cluster is ready but `connect` did not run, or the resource was cleaned up already"
        raise NotConnectedError(target, member, why)

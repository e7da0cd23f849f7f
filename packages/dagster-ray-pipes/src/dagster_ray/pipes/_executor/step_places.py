"""Where the steps of a run are submitted: one job server for all, or what a backend brings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from dagster._core.execution.context.system import PlanOrchestrationContext
from typing_extensions import Protocol

from dagster_ray.pipes._executor.job_watch import JobWatch, WatchedJobs
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._submission import Submission
from dagster_ray.pipes._submitted_job import Place, StoppableJobs


class Answering(Protocol):
    """Whether somebody answers for the jobs of steps."""

    @property
    def answers(self) -> int:
        """How many requests were answered so far."""
        ...

    def end_thread(self) -> None:
        """Close the connections of this thread, which ends."""
        ...


class StepServer(WatchedJobs, StoppableJobs, Protocol):
    """The jobs of the steps of a run: those of a job server, or what stands for it."""

    @property
    def address(self) -> str:
        """Where they are, for errors."""
        ...

    @property
    def server(self) -> Answering:
        """Whether somebody answers."""
        ...

    def prepare(self, job: Mapping[str, Any]) -> Submission:
        """Check a job and fix what is sent, so that it can be sent again after a lost answer.

        Raises:
            DagsterRayError: It cannot be submitted.
        """
        ...

    def send(self, submission: Submission) -> None:
        """Submit a prepared job. One that was sent before is found again, and does not run twice.

        Raises:
            JobServerUnavailableError, JobServerAnswerError: Nobody answers so; it may be sent again.
            DagsterRayError: It cannot be submitted.
        """
        ...

    def submit(self, **job: Any) -> str:
        """Submit a job of the run that belongs to no step, and that nobody waits for; return its id.

        Raises:
            DagsterRayError: It was not submitted.
        """
        ...


class StepPlaces(Protocol):
    """Where the steps of one run are submitted as Ray jobs. All methods are called by one thread."""

    def begin(self, plan_context: PlanOrchestrationContext) -> None:
        """Take the run. Called before its first step.

        Raises:
            DagsterRayError: No step of the run could be submitted.
        """
        ...

    def place_of(self, submission_id: str) -> Place | None:
        """Return where a job is to run, or where it runs if an earlier process of the run has submitted it.

        Args:
            submission_id: The job.

        Returns:
            None while the place is coming up. The same object as long as it is the same place.

        Raises:
            DagsterRayError: No place will come up for this job.
        """
        ...

    def end(self, *, will_resume: bool) -> None:
        """Give up all places. Called once, however the run ended.

        Args:
            will_resume: Whether another process goes on with the run, so that its jobs must find their places again.
        """
        ...


class OneServer:
    """The places of a run whose steps all go to one job server, which exists."""

    def __init__(self, client: RayJobClient) -> None:
        """Take the job server."""
        self._place = Place(client)

    def begin(self, plan_context: PlanOrchestrationContext) -> None:
        """There is nothing to begin."""

    def place_of(self, submission_id: str) -> Place:
        """Return the one place."""
        del submission_id
        return self._place

    def end(self, *, will_resume: bool) -> None:
        """It stays."""


@dataclass(frozen=True, slots=True)
class WatchedPlace:
    """A place, and what its job server says of jobs."""

    place: Place
    watch: JobWatch

    @property
    def client(self) -> StepServer:
        """The job server."""
        return cast("StepServer", self.place.client)


class WatchedPlaces:
    """The places of a run, with one watch for all jobs of a job server."""

    def __init__(self, places: StepPlaces, clock: Callable[[], float]) -> None:
        """Take the places and a monotonic clock."""
        self._places, self._clock = places, clock
        self._known: dict[int, WatchedPlace] = {}
        self._watches: dict[int, JobWatch] = {}

    def of(self, submission_id: str) -> WatchedPlace | None:
        """Return the place of a job; None while it is coming up.

        Raises:
            DagsterRayError: No place will come up for this job.
        """
        place = self._places.place_of(submission_id)
        if place is None:
            return None
        if (known := self._known.get(id(place))) is not None:
            return known
        watch = self._watches.setdefault(id(place.client), JobWatch(place.client, self._clock))
        found = self._known[id(place)] = WatchedPlace(place, watch)  # it keeps both, so that their ids stay theirs
        return found

    @property
    def newest(self) -> WatchedPlace | None:
        """The place that came up last; None if none did."""
        return next(reversed(self._known.values()), None)

"""Where the steps of a run are submitted: one job server for all, or what a backend brings."""

from collections.abc import Callable
from dataclasses import dataclass

from dagster._core.execution.context.system import PlanOrchestrationContext
from typing_extensions import Protocol

from dagster_ray.pipes._executor.job_watch import JobWatch
from dagster_ray.pipes._job_client import RayJobClient
from dagster_ray.pipes._submitted_job import Place


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
    def client(self) -> RayJobClient:
        """The job server."""
        return self.place.client


class WatchedPlaces:
    """The places of a run, each with one watch for all of its jobs."""

    def __init__(self, places: StepPlaces, clock: Callable[[], float]) -> None:
        """Take the places and a monotonic clock."""
        self._places, self._clock = places, clock
        self._known: list[WatchedPlace] = []

    def of(self, submission_id: str) -> WatchedPlace | None:
        """Return the place of a job; None while it is coming up.

        Raises:
            DagsterRayError: No place will come up for this job.
        """
        place = self._places.place_of(submission_id)
        if place is None:
            return None
        for known in self._known:
            if known.place is place:
                return known
        self._known.append(WatchedPlace(place, JobWatch(place.client, self._clock)))
        return self._known[-1]

    @property
    def newest(self) -> WatchedPlace | None:
        """The place that came up last; None if none did."""
        return self._known[-1] if self._known else None

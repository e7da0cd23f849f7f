"""Samples what a cluster's nodes use, in a thread, for as long as a step runs."""

from collections.abc import Mapping
from itertools import chain, repeat

from dagster_ray.core._deadline import Deadline
from dagster_ray.core.step_report.dashboard import (
    ANSWER_SECONDS,
    DashboardPlace,
    DashboardReader,
    DashboardThread,
    JsonReader,
)
from dagster_ray.core.step_report.usage import Usage, sample_of

_FIRST_SECONDS, _INTERVAL_SECONDS = 5.0, 15.0
_PATH = "/nodes?view=summary"


class UsageSampler:
    """Asks the dashboard after 5 seconds and then every 15, from its construction until `close`."""

    def __init__(self, place: DashboardPlace) -> None:
        """Start.

        Args:
            place: Returns where the dashboard is.
        """
        self._usage = Usage()
        pauses = chain([_FIRST_SECONDS], repeat(_INTERVAL_SECONDS))
        self._thread = DashboardThread("dagster-ray usage", DashboardReader(place), self._sample, pauses)

    def figures(self, deadline: Deadline) -> dict[str, float | int]:
        """Return what the samples show; a step that was too short for one is sampled now.

        Args:
            deadline: Ends the wait for that sample. After it, the dashboard is not asked.
        """
        if not self._usage.samples:
            self._thread.ask_now(deadline)
        return self._usage.figures()

    def close(self, deadline: Deadline) -> None:
        """End the thread; a sample that is under way is waited for until the deadline."""
        self._thread.close(deadline)

    def _sample(self, reader: JsonReader) -> None:
        found = sample_of(reader.get(_PATH, ANSWER_SECONDS))
        if found is not None:
            self._usage.add(found)


class UsageMeasurement:
    """What the dashboard alone can tell of a step: used shares, peak memory and seconds, until `close`."""

    def __init__(self, place: DashboardPlace, startup_seconds: Mapping[str, float]) -> None:
        """Start to sample.

        Args:
            place: Returns where the dashboard is.
            startup_seconds: Seconds that each phase took.
        """
        self._sampler, self._clock = UsageSampler(place), Deadline(float("inf"))
        self._startup = sum(startup_seconds.values())

    def read(self, deadline: Deadline) -> Mapping[str, float | int]:
        """Return the figures until now.

        Args:
            deadline: Ends the wait for a first sample.
        """
        seconds = {"startup_seconds": self._startup, "run_seconds": self._clock.spent_seconds()}
        return {**self._sampler.figures(deadline), **seconds}

    def close(self, deadline: Deadline) -> None:
        """End the samples."""
        self._sampler.close(deadline)

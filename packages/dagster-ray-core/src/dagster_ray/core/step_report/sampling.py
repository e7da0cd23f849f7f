"""Samples what a cluster's nodes use, in a thread, for as long as a step runs."""

import threading
from collections.abc import Callable, Mapping

from dagster_ray.core._deadline import Deadline
from dagster_ray.core.step_report.dashboard import DashboardReader
from dagster_ray.core.step_report.usage import Usage, sample_of

_FIRST_SECONDS, _INTERVAL_SECONDS = 5.0, 15.0
_ANSWER_SECONDS = 2.0
_JOIN_SECONDS = 2.5
_PATH = "/nodes?view=summary"


class UsageSampler:
    """Asks the dashboard after 5 seconds and then every 15, from its construction until `close`."""

    def __init__(self, place: Callable[[], tuple[str | None, str | None]]) -> None:
        """Start.

        Args:
            place: Returns the dashboard's URL and Ray's token as they are now; None for what there is not.
        """
        self._reader, self._usage = DashboardReader(place), Usage()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="dagster-ray usage", daemon=True)
        self._thread.start()

    def figures(self) -> dict[str, float | int]:
        """Return what the samples show; a step that was too short for one is sampled now."""
        if not self._usage.samples:
            self._sample()
        return self._usage.figures()

    def close(self) -> None:
        """End the thread; a sample that is under way is waited for some seconds."""
        self._closed.set()
        self._thread.join(_JOIN_SECONDS)
        if self._lock.acquire(timeout=0):
            self._reader.close()
            self._lock.release()

    def _run(self) -> None:
        pause = _FIRST_SECONDS
        while not self._closed.wait(pause):
            self._sample()
            pause = _INTERVAL_SECONDS

    def _sample(self) -> None:
        if not self._lock.acquire(timeout=_ANSWER_SECONDS):
            return
        try:
            found = sample_of(self._reader.get(_PATH, _ANSWER_SECONDS))
            if found is not None:
                self._usage.add(found)
        except Exception:  # noqa: BLE001 - whatever answers: it is an extra of the step, and the next one may be read
            self._reader.close()
        finally:
            self._lock.release()


class UsageMeasurement:
    """What the dashboard alone can tell of a step: used shares, peak memory and seconds, until `close`."""

    def __init__(
        self, place: Callable[[], tuple[str | None, str | None]], startup_seconds: Mapping[str, float]
    ) -> None:
        """Start to sample.

        Args:
            place: Returns the dashboard's URL and Ray's token as they are now; None for what there is not.
            startup_seconds: Seconds that each phase took.
        """
        self._sampler, self._clock = UsageSampler(place), Deadline(float("inf"))
        self._startup = sum(startup_seconds.values())

    def read(self, deadline: Deadline) -> Mapping[str, float | int]:  # noqa: ARG002 - of backends that ask more
        """Return the figures until now."""
        seconds = {"startup_seconds": self._startup, "run_seconds": self._clock.spent_seconds()}
        return {**self._sampler.figures(), **seconds}

    def close(self) -> None:
        """End the samples."""
        self._sampler.close()

"""One file of a job, read from the best place that answers now."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from dagster_ray.pipes._agent import Agent
from dagster_ray.pipes._job_answers import JobDetails
from dagster_ray.pipes._job_server import JobServer
from dagster_ray.pipes._sources import AgentSource, Source, SourceUnavailableError, StreamSource, WholeFileSource

READ_LIMIT_BYTES = 2**20
_FIRST_BACKOFF_SECONDS = 2.0
_LONGEST_BACKOFF_SECONDS = 15.0


@dataclass(slots=True)
class _Place:
    """A source, and when it may be asked again after it has failed."""

    source: Source
    not_before: float = 0.0
    backoff_seconds: float = _FIRST_BACKOFF_SECONDS


class JobFile:
    """A file of Ray's log folder on the node of a job's driver.

    The agent of the node is asked first; while it has not proved itself or cannot be reached, the dashboard streams the
    file. Both continue at the same byte, so a change costs nothing.
    """

    def __init__(self, dashboard: JobServer, agent: Agent | None, details: JobDetails, name: str) -> None:
        """Take the dashboard, the agent if there is a way to it, a job whose driver has a node, and the file's name."""
        self.name = name
        self._agent = agent
        self._places: list[_Place] = []
        self._current: _Place | None = None
        if agent is not None:
            self._places.append(_Place(AgentSource(agent.server, name)))
        if details.node_id is not None:
            self._places.append(_Place(StreamSource(dashboard, details.node_id, name)))
            self._places.append(_Place(WholeFileSource(dashboard, details.node_id, name)))

    def read(self, position: int, *, to_end: bool = False) -> bytes:
        """Return what follows `position` now; nothing if nothing does.

        Args:
            position: The first byte that is wanted.
            to_end: Whether nothing must mean the file's end, as it is now. A stream cannot tell that.

        Raises:
            SourceUnavailableError: No place answers.
        """
        reasons: list[str] = []
        for place in self._chosen(to_end=to_end):
            try:
                data = place.source.read(position, READ_LIMIT_BYTES)
            except SourceUnavailableError as error:
                reasons.append(str(error))
                place.not_before = time.monotonic() + place.backoff_seconds
                place.backoff_seconds = min(_LONGEST_BACKOFF_SECONDS, place.backoff_seconds * 2)
                place.source.close()
                continue
            self._settle_on(place)
            return data
        raise SourceUnavailableError("; ".join(reasons) or "no place answers now")

    def _chosen(self, *, to_end: bool) -> Sequence[_Place]:
        now = time.monotonic()
        able = [place for place in self._places if self._is_able(place.source, to_end=to_end)]
        return [place for place in able if place.not_before <= now]

    def _is_able(self, source: Source, *, to_end: bool) -> bool:
        if isinstance(source, AgentSource):
            return self._agent is not None and self._agent.is_known
        return not (to_end and isinstance(source, StreamSource))

    def _settle_on(self, place: _Place) -> None:
        place.backoff_seconds = _FIRST_BACKOFF_SECONDS
        if self._current is not None and self._current is not place:
            self._current.source.close()
        self._current = place

    def close(self) -> None:
        """End connections and threads."""
        for place in self._places:
            place.source.close()

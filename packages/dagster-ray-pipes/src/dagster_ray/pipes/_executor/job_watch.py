"""Looks at the jobs of one server for many steps, and waits with its questions while the server is away."""

from collections.abc import Callable, Sequence

from typing_extensions import Protocol

from dagster_ray.core import DagsterRayError
from dagster_ray.pipes._executor.health import Look
from dagster_ray.pipes._job_answers import JobDetails, Node, node_is_dead
from dagster_ray.pipes.errors import JobNotFoundError

_STATUS_CALL_SECONDS = 5.0
_PAUSE_SECONDS = 10.0
_NODES_SECONDS = 60.0
_FORGOTTEN_SECONDS = 900.0


class WatchedJobs(Protocol):
    """What is asked about jobs: a job server, or what stands for it."""

    def details(self, submission_id: str, *, timeout: float | None = None) -> JobDetails:
        """Return what is known of a job.

        Raises:
            JobNotFoundError: There is no such job.
            JobServerUnavailableError, JobServerRefusedError, JobServerAnswerError: Nobody says.
        """
        ...

    def nodes(self, *, timeout: float | None = None) -> tuple[Node, ...] | None:
        """Return the nodes of the cluster; None if they are not known."""
        ...


class JobWatch:
    """What a job server says of the jobs of a run.

    Of many steps only one waits for a server that is away; the others are told what that one saw. The nodes of the
    cluster are asked for once a minute, and before a node is called dead.
    """

    def __init__(self, client: WatchedJobs, clock: Callable[[], float]) -> None:
        """Take the job server and a monotonic clock."""
        self._client, self._clock = client, clock
        self._away_since: float | None = None
        self._missed_at = 0.0
        self._reason = ""
        self._nodes: Sequence[Node] = ()
        self._nodes_at: float | None = None

    def may_ask(self) -> bool:
        """Return whether a request may have an answer now."""
        return self._away_since is None or self._clock() - self._missed_at >= _PAUSE_SECONDS

    def missed(self, error: DagsterRayError) -> None:
        """Note that a request got no answer."""
        now = self._clock()
        if self._away_since is None or now - self._missed_at > _FORGOTTEN_SECONDS:
            self._away_since = now  # nobody has asked since the last miss: it says nothing of the time between
        self._missed_at = now
        self._reason = error.problem

    def heard(self) -> None:
        """Note that a request was answered."""
        self._away_since = None

    def look(self, submission_id: str) -> Look:
        """Return what can be seen of a job now."""
        if not self.may_ask():
            return self._unseen()
        try:
            details = self._client.details(submission_id, timeout=_STATUS_CALL_SECONDS)
        except JobNotFoundError:
            self.heard()
            return Look(is_missing=True)
        except DagsterRayError as error:  # whatever it is, it says nothing of the job
            self.missed(error)
            return self._unseen()
        self.heard()
        return Look(details=details, node_is_dead=not details.is_over and self._is_dead(details.node_id))

    def _unseen(self) -> Look:
        since = self._clock() if self._away_since is None else self._away_since
        return Look(away_seconds=self._clock() - since, away_reason=self._reason)

    def _is_dead(self, node_id: str | None) -> bool:
        is_old = self._nodes_at is None or self._clock() - self._nodes_at >= _NODES_SECONDS
        if is_old or node_is_dead(node_id, self._nodes):  # a node that came since is not in the list
            self._nodes_at = self._clock()
            try:
                self._nodes = self._client.nodes(timeout=_STATUS_CALL_SECONDS) or ()
            except DagsterRayError:
                self._nodes = ()  # what was true a minute ago says nothing of a node that came since
        return node_is_dead(node_id, self._nodes)

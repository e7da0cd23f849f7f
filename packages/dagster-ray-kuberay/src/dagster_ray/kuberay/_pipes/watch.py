"""Keeps an eye on the RayJob of a running Ray job: its end, its head, and the job id that the operator follows."""

import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._kubernetes.errors import ConflictError, InvalidObjectError, KubernetesError, NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
from dagster_ray.kuberay._pipes.attempts import VERDICT_ANNOTATION, end_of
from dagster_ray.kuberay._status.created import Created
from dagster_ray.kuberay._status.errors import ClusterGoneError
from dagster_ray.kuberay._steps.interactive_steps import register
from dagster_ray.pipes.clients import Verdict
from dagster_ray.pipes.errors import JobLostError

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._steps.wait import ClusterWait

_PATCH_SECONDS = 5.0
_PAUSE_SECONDS = 10.0


class RayJobWatch:
    """Watches one RayJob while its job runs.

    An API server that is away changes nothing for the job, so that only what it says counts, never its silence.
    """

    def __init__(
        self,
        api: "KubernetesApi",
        job: Created,
        waiting: "ClusterWait",
        log: logging.Logger,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Begin to watch; `labels` are written with the job id."""
        self._api, self._job, self._waiting, self._log = api, job, waiting, log
        self._labels = labels
        self._job_id = ""
        self._is_registered = False
        self._try_at = 0.0
        self._stream = api.watch(RAYJOBS, job.namespace, name=job.name)
        self._is_told = False
        self._annotations: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watch."""
        self._stream.close()

    def submitted(self, submission_id: str) -> None:
        """Tell the operator which job it is to follow; it is known to the dashboard by now.

        A job that an earlier attempt has left is registered once more: so the RayJob shows that a step lives again, and
        in which run.
        """
        self._job_id = submission_id
        self._register()

    def check(self) -> None:
        """Take in what happened to the RayJob.

        Raises:
            JobLostError: Its cluster ends, and the job with it.
        """
        self._register()
        try:
            while (event := self._stream.next(0)) is not None:
                self._take(event.object, deleted=event.type == "DELETED")
        except KubernetesError as error:
            if not self._is_told:
                self._log.warning("%s cannot be watched; its job is followed all the same: %s", self._job.target, error)
            self._is_told = True

    def _take(self, rayjob: Mapping[str, Any], *, deleted: bool) -> None:
        is_ours = at(rayjob, "metadata", "uid") == self._job.uid
        end = "is another one now" if not is_ours else end_of(rayjob, deleted=deleted)
        if end is not None:
            raise JobLostError(self._job_id, self._job.target, f"the RayJob {end}")
        self._waiting.take(rayjob)

    def _register(self) -> None:
        if self._is_registered or not self._job_id or time.monotonic() < self._try_at:
            return
        try:
            register(self._api, self._job, self._job_id, Deadline(_PATCH_SECONDS), self._labels)
            self._is_registered = True
        except ClusterGoneError as error:
            raise JobLostError(self._job_id, self._job.target, "the RayJob was deleted by somebody else") from error
        except DagsterRayError as error:
            self._try_at = time.monotonic() + _PAUSE_SECONDS
            self._log.warning("%s does not know its job yet; this is tried again: %s", self._job.target, error)

    def judged(self, verdict: Verdict) -> None:
        """Note on the RayJob what the step concludes about its job; a good verdict goes with the next change."""
        self._annotations = {VERDICT_ANNOTATION: verdict}
        if verdict == "bad":
            self._change({})

    def shorten_life(self, seconds: int) -> None:
        """Let the operator delete the cluster this long after the job's end, now that all is read."""
        self._change({"spec": {"ttlSecondsAfterFinished": seconds}})

    def _change(self, change: Mapping[str, Any]) -> None:
        body = {"metadata": {"uid": self._job.uid, "annotations": self._annotations}, **change}
        try:
            self._api.patch(RAYJOBS, self._job.namespace, self._job.name, body, Deadline(_PATCH_SECONDS))
        except (NotFoundError, ConflictError, InvalidObjectError):
            return  # it is gone, and its cluster with it
        except DagsterRayError as error:
            what = "its cluster lives longer than it should" if change else "it does not say that its job was bad"
            self._log.warning("%s: %s: %s", self._job.target, what, error)

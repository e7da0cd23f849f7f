"""Keeps an eye on the cluster of a Ray job: its end, its head, and the job id that the operator of a RayJob follows."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from dagster_ray.core import Deadline
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._diagnosis.cluster_facts import events_of
from dagster_ray.kuberay._diagnosis.evidence import Evidence, Question
from dagster_ray.kuberay._jobs.ends import VERDICT_ANNOTATION, end_of, has_no_head, keeps_jobs
from dagster_ray.kuberay._kubernetes.answers import proves_gone
from dagster_ray.kuberay._kubernetes.errors import KubernetesError
from dagster_ray.kuberay._kubernetes.fields import Manifest, at
from dagster_ray.kuberay._kubernetes.kinds import EVENTS
from dagster_ray.kuberay._status.cluster_state import waits_for_pods
from dagster_ray.kuberay._status.errors import ClusterGoneError
from dagster_ray.kuberay._steps.registration import register
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.pipes.clients import Verdict
from dagster_ray.pipes.errors import JobLostError, JobServerUnavailableError

_PATCH_SECONDS = 5.0
_PAUSE_SECONDS = 10.0
_EVENT_SECONDS = 5.0
_LOOK_SECONDS = 5.0
_SILENT_SECONDS = 10.0
"""A job server of which nothing was heard for so long is a reason to look for its head."""
_UNKNOWN = "%s does not know its job, so its operator does not see the end of it: %s"
_FIND_DELETER = "find out who deleted it (audit log, quota or clean-up jobs of the namespace), and run the step again"


class ClusterWatch:
    """Watches the cluster of a Ray job while it is submitted and runs.

    An API server that is away changes nothing for the job, so that only what it says counts, never its silence.
    """

    def __init__(self, cluster: StepCluster, submission_id: str) -> None:
        """Begin to watch.

        Args:
            cluster: The RayJob or RayCluster, whose head was reached.
            submission_id: The job, or what is known of it before it has an id.
        """
        job = cluster.made
        self._cluster, self._job, self._api, self._log = cluster, job, cluster.api, cluster.log
        self._pod, self._job_id = cluster.head_pod, submission_id
        self._seen = job.manifest
        self._look_at, self._looks_without_pod = 0.0, 0
        self._is_submitted = self._had_job = False
        self._asked: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._heard, self._heard_at = (0, 0), time.monotonic()
        self.lost_head: str | None = None
        """What became of the head, once it is known to be gone."""
        self._stream = self._api.watch(job.kind, job.namespace, name=job.name, known=[job.manifest])
        self._is_told = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watch."""
        self._stream.close()

    def begin(self, about: str) -> None:
        """Take note that another job is to be submitted, so that what came before it says nothing of it.

        Args:
            about: What is known of the job before it has an id.
        """
        self._job_id, self._is_submitted, self.lost_head = about, False, None
        self._take_head()

    def submitted(self, submission_id: str) -> None:
        """Take note that the job is there."""
        if self._had_job:
            self._take_head()
        self._job_id, self._is_submitted, self._had_job = submission_id, True, True

    def _take_head(self) -> None:
        """Take the head that is there now: it may have been replaced while no job ran, and the next job is on it."""
        is_known = self._cluster.note_raycluster() is not None
        self._pod, self._looks_without_pod = self._cluster.head_pod if is_known else None, 0

    def listen(self, asked: Callable[[], tuple[int, int]]) -> None:
        """Take what counts the answers of the job server, and the attempts that failed."""
        self._asked = asked
        self._heard, self._heard_at = asked(), time.monotonic()

    def check(self) -> None:
        """Take in what happened to the cluster and its head.

        To be called after each failed attempt to submit, and regularly while the job runs.

        Raises:
            JobLostError: Its cluster ends, and the job with it. Or its head is gone; then `lost_head` tells more, and
                a job that was not submitted yet may go to the next head.
        """
        try:
            while (event := self._stream.next(0)) is not None:
                self._take(event.object, deleted=event.type == "DELETED")
        except KubernetesError as error:
            if not self._is_told:
                self._log.warning("%s cannot be watched; its job is followed anyway: %s", self._job.target, error)
            self._is_told = True
        self._look_at_head()

    def _look_at_head(self) -> None:
        """Find out what became of a head that does not answer: who is waited for may be gone."""
        missing, now = self._missing_pod, time.monotonic()
        if self._is_submitted and missing is None and not self._is_silent(now):
            return  # what follows the job has a patience of its own
        if now < self._look_at and (self._is_submitted or missing is None):
            return
        self._look_at = now + _LOOK_SECONDS
        cluster = self._cluster.note_raycluster()
        if not self._is_submitted and missing is None and self._pod in {None, self._cluster.head_pod}:
            return
        if self._is_submitted:
            self._looks_without_pod += missing is not None
            if cluster is None or keeps_jobs(cluster) or not self._is_gone(cluster, missing):
                return
        reason = self._reason_of_end()
        self.lost_head = f"the head pod {self._pod} is gone" + (f" ({reason})" if reason else "")
        raise JobLostError(self._job_id, self._job.target, self.lost_head)

    def _is_silent(self, now: float) -> bool:
        """Return whether the job server was asked for long and has answered nothing."""
        answers, failures = asked = self._asked()
        if answers != self._heard[0]:
            self._heard, self._heard_at = asked, now
        return failures > self._heard[1] and now - self._heard_at > _SILENT_SECONDS

    def _is_gone(self, cluster: Manifest, missing: str | None) -> bool:
        """Return whether the head that took the job is gone for certain."""
        if missing is not None:
            is_another = self._pod is not None and self._cluster.head_pod != self._pod
            return is_another or self._looks_without_pod > 1
        return has_no_head(cluster) or (self._pod is not None and self._cluster.head_pod not in {None, self._pod})

    @property
    def _missing_pod(self) -> str | None:
        """The head pod that the route has not found; one of before is nothing to a job on the head of now."""
        missing = self._cluster.route.missing_pod if self._cluster.route is not None else None
        is_of_before = missing != self._pod and self._pod is not None and self._pod == self._cluster.head_pod
        return None if is_of_before else missing

    def _reason_of_end(self) -> str:
        """Return the last event of the head pod; empty where none may be read."""
        try:
            selector = f"involvedObject.name={self._pod}"
            found = self._api.list(EVENTS, self._job.namespace, Deadline(_EVENT_SECONDS), field_selector=selector).items
        except DagsterRayError as error:
            self._log.debug("The events of the head pod could not be read: %s", error)
            return ""
        events = events_of(found, ())
        return f"{events[-1].reason}: {events[-1].message.rstrip('.')}" if events else ""

    @property
    def question(self) -> Question:
        """What is known of the cluster when somebody asks what is wrong with it."""
        return Question(manifest=self._seen, cluster=self._cluster.cluster_name)

    def unreachable(self, error: JobServerUnavailableError) -> JobServerUnavailableError:
        """Return the error for a dashboard that did not answer, with the head's pod and what is known of it."""
        target, pod = self._job.target, self._cluster.head_pod or self._pod
        evidence = Evidence(self._api, self._job, self._log)
        found = evidence.look(self.question)
        reason = error.reason if found is None else f"{error.reason}; {found.reason}: {found.sentence}"
        advice = f"look at the head of {target}: `kubectl describe pod {pod} -n {self._job.namespace}` and its log"
        return JobServerUnavailableError(
            self._cluster.route.place if self._cluster.route is not None else target,
            error.call,
            error.seconds,
            reason,
            error.field,
            advice if found is None else found.remedy,
        )

    def _take(self, seen: Mapping[str, Any], *, deleted: bool) -> None:
        is_ours = at(seen, "metadata", "uid") == self._job.uid
        end = "is another one now" if not is_ours else end_of(self._job, seen, deleted=deleted)
        if end is not None:
            is_gone = deleted or not is_ours or at(seen, "metadata", "deletionTimestamp")
            advice = _FIND_DELETER if is_gone else ""
            raise JobLostError(self._job_id, self._job.target, f"the {self._job.kind.kind} {end}", advice)
        self._seen = seen
        self._cluster.note(seen)


class RayJobWatch(ClusterWatch):
    """Watches a RayJob, and tells its operator which job it is to follow."""

    def __init__(self, cluster: StepCluster, submission_id: str, *, labels: Mapping[str, str] | None = None) -> None:
        """Begin to watch.

        Args:
            cluster: The RayJob, whose head was reached.
            submission_id: The job, or what is known of it before it has an id.
            labels: Written with the job id.
        """
        super().__init__(cluster, submission_id)
        self._labels = labels
        self._is_registered, self._try_at = False, 0.0
        self._annotations: Mapping[str, str] = {}
        self.misses_pods = False
        """Whether the operator had not seen all pods when the job was registered, so that it may never see the job."""

    @override
    def submitted(self, submission_id: str) -> None:
        """Tell the operator which job it is to follow; it is known to the dashboard by now.

        A job that an earlier attempt has left is registered once more: so the RayJob shows that a step lives again, and
        in which run.
        """
        super().submitted(submission_id)
        self._register()

    @override
    def check(self) -> None:
        """Take in what happened to the RayJob and its head, and register the job if that has failed before."""
        self._register()
        super().check()

    @property
    def is_registered(self) -> bool:
        """Whether the RayJob has the id of the job that was submitted last."""
        return self._is_registered

    @property
    def is_unseen(self) -> bool:
        """Whether the operator, as far as is known, still waits for pods, so that it does not look at the job."""
        return self.misses_pods and waits_for_pods(self._seen)

    def register_at_end(self, deadline: Deadline) -> None:
        """Register the job if that has failed until its end: the operator would never see that end."""
        self._try_at = 0.0
        try:
            self._register(Deadline(min(_PATCH_SECONDS, deadline.remaining_seconds())))
        except JobLostError as error:
            self._log.debug("The job of a RayJob that is gone needs no registration: %s", error)

    def _register(self, deadline: Deadline | None = None) -> None:
        if self._is_registered or not self._is_submitted or time.monotonic() < self._try_at:
            return
        try:
            self.misses_pods = register(self._cluster, self._job_id, deadline or Deadline(_PATCH_SECONDS), self._labels)
            self._is_registered = True
        except ClusterGoneError as error:
            reason = "the RayJob was deleted by somebody else"
            raise JobLostError(self._job_id, self._job.target, reason, _FIND_DELETER) from error
        except DagsterRayError as error:
            self._try_at = time.monotonic() + _PAUSE_SECONDS
            said = "%s does not know its job yet; this is tried again: %s" if deadline is None else _UNKNOWN
            self._log.warning(said, self._job.target, error)

    def judged(self, verdict: Verdict) -> None:
        """Note on the RayJob what the step concludes about its job; a good verdict goes with the next change."""
        self._annotations = {VERDICT_ANNOTATION: verdict}
        if verdict == "bad":
            self._change({})

    def leave(self, seconds: int | None, limit: Mapping[str, Any]) -> None:
        """Let the operator delete the cluster after the job's end, now that all is read.

        Args:
            seconds: How long after the end; None: as the RayJob says already.
            limit: What `limit_of` says of the RayJob as it was created.
        """
        spec = {
            **({} if seconds is None else {"ttlSecondsAfterFinished": seconds}),
            **(limit if self.misses_pods else {}),
        }
        if spec:
            self._change({"spec": spec})

    def _change(self, change: Mapping[str, Any]) -> None:
        try:
            self._cluster.change({"metadata": {"annotations": self._annotations}, **change}, Deadline(_PATCH_SECONDS))
        except DagsterRayError as error:
            if proves_gone(error):
                return  # and its cluster with it
            what = "its cluster lives longer than it should" if change else "it does not say that its job was bad"
            self._log.warning("%s: %s: %s", self._job.target, what, error)

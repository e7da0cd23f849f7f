"""The RayJobs of a run's steps, as the step handler of Pipes sees the jobs of a job server."""

# Dagster is typed in part only.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import contextlib
import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from typing_extensions import override

from dagster_ray.core import DagsterRayError, Deadline, log_of, run_of
from dagster_ray.kuberay._runs.run_cluster import check_storage
from dagster_ray.kuberay._runs.worker_rayjob import (
    cluster_was_taken,
    details_of,
    is_of_step,
    is_submitted,
    rayjob_name,
    steps_of_run,
)
from dagster_ray.kuberay._runs.worker_rayjobs import CALL_SECONDS, WorkerRayJob, WorkerRayJobs, delete_unsubmitted
from dagster_ray.pipes import JobDetails
from dagster_ray.pipes.errors import (
    JobLostError,
    JobNotFoundError,
    JobServerAnswerError,
    JobServerUnavailableError,
    RayJobFailedError,
)
from dagster_ray.pipes.executors import Submission, submission_of

if TYPE_CHECKING:
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
    from dagster_ray.kuberay._kubernetes.watch_stream import WatchStream
    from dagster_ray.kuberay._runs.step_start import StepStart
    from dagster_ray.kuberay._status.cluster_state import Created
    from dagster_ray.kuberay._steps.step_cluster import StepCluster

_FEATURE = "executor-rayjob"
_STEP_KEY = "dagster/step-key"
_LAST_SECONDS, _LOOK_SECONDS, _DELETE_SECONDS = 20.0, 0.2, 20.0
_LOG = "Ray's dashboard until its cluster is deleted"
_UNDELETED_SECONDS, _DELETE_CALL_SECONDS = 600.0, 5.0
_FIND_DELETER = "find out who deleted it (audit log, quota or clean-up jobs of the namespace), and run the step again"


@dataclass(slots=True)
class KubernetesAnswers:
    """Whether the Kubernetes API has answered."""

    answers: int = 0
    """How many submissions were answered."""

    def end_thread(self) -> None:
        """Nothing is kept for a thread."""


class StepRayJobs(WorkerRayJobs):
    """The RayJobs of a run's steps: one for each attempt of a step, and one watch for all of them.

    Each has the id of its job as its name, so that it is found after a lost answer, and by another worker of the run.
    What submits and looks is one thread; what stops are many.
    """

    def __init__(self, template: WorkerRayJob, context: dg.InitResourceContext) -> None:
        """Take what RayJobs have in common, and the run; nothing is sent yet."""
        super().__init__(template, context)
        self.server, self._log = KubernetesAnswers(), log_of(context)
        self._api: KubernetesApi | None = None
        self._watch: WatchStream | None = None
        self._lock = threading.RLock()
        self._seen: dict[str, Mapping[str, Any]] = {}
        self._gone: set[str] = set()
        """Names of RayJobs that do not exist any more; what was seen last stays."""
        self._submitted: set[str] = set()
        self._starts: dict[str, StepStart] = {}
        self._faults: dict[str, Exception] = {}
        self._undeleted: dict[str, Deadline] = {}
        """Until when the deletion of a RayJob that is given up may fail by an API server that does not answer."""
        self._is_checked = self._is_stopping = False

    # Submission

    def prepare(self, job: Mapping[str, Any]) -> Submission:
        """Check a job and fix what is sent; nothing is uploaded.

        Raises:
            InvalidFieldError: A field is wrong, or is nothing that KubeRay can submit.
        """
        return submission_of(job)

    def send(self, submission: Submission) -> None:
        """Create the RayJob of a step. One that was created before, and whose answer was lost, is found again.

        Raises:
            JobServerUnavailableError: The Kubernetes API does not answer; it may be sent again.
            DagsterRayError: It was not created.
        """
        from dagster_ray.kuberay._kubernetes.errors import UnavailableError

        body, cluster = submission.body, self._asking()
        step_key = body["metadata"][_STEP_KEY]
        request = self._template.request(cluster, body, step_key=step_key, creation_id=submission.nonce)
        try:
            if not self._is_checked:
                check_storage(cluster, self._template.preflight)
                cluster.check_before(request, self._template.preflight, _FEATURE, is_driver=False)
                self._is_checked = True
            cluster.create(request)
        except UnavailableError as error:
            # The first submission of a run is tried again, too, if something else was answered before.
            has_checked = self._is_checked and self._template.preflight != "off"
            self.server.answers += has_checked or (self._watch is not None and self._watch.is_open)
            call, spent = f"POST RayJob {submission.submission_id}", cluster.deadline.spent_seconds()
            raise JobServerUnavailableError(self.address, call, spent, error.problem, "server_timeout") from error
        self.server.answers += 1
        self._take(cluster.made.manifest)

    def submit(self, **job: Any) -> str:
        """Submit nothing, and return an empty id: what a job could end has ended with the cluster of its step."""
        del job
        return ""

    # While they run

    @override
    def details(self, submission_id: str, *, timeout: float | None = None) -> JobDetails:
        """Return how the job of a step is, by what the watch has told last.

        Raises:
            JobNotFoundError: There is no such RayJob.
            JobServerUnavailableError, JobServerAnswerError: The Kubernetes API does not answer so.
        """
        rayjob, name = self._last(submission_id, timeout), rayjob_name(submission_id)
        found = details_of(rayjob)
        if submission_id in self._faults:
            return dataclasses.replace(found, status="FAILED", message=str(self._faults[submission_id]))
        if name in self._gone and not found.is_over:
            if not self._is_stopping:
                raise JobNotFoundError(self.address, submission_id)
            return dataclasses.replace(found, status="STOPPED")  # by this process
        return found if self._is_stopping else self._judged(submission_id, rayjob, found)

    def _judged(self, submission_id: str, rayjob: Mapping[str, Any], found: JobDetails) -> JobDetails:
        """Return how a job is, with what its RayJob says of the cluster: that may never come up, or be taken back."""
        name, taken = rayjob_name(submission_id), cluster_was_taken(rayjob)
        if taken is not None and name in self._submitted:
            # The operator would submit the job again, after the next admission.
            lost = JobLostError(submission_id, f"RayJob {name}", f"it has lost its cluster: {taken}")
            return self._given_up(submission_id, rayjob, lost, found)
        if found.is_over or is_submitted(rayjob):
            self._submitted.add(name)
            self._starts.pop(name, None)
            return found
        start = self._start_of(name, rayjob)
        fault = start.fault(rayjob, may_read=self._watch is not None and self._watch.is_open)
        if fault is None:
            return dataclasses.replace(found, message=start.sentence)
        return self._given_up(submission_id, rayjob, fault, found)

    def explained(self, error: Exception) -> Exception:
        """Return the error that ends a step with what is known of its RayJob."""
        if not isinstance(error, (JobLostError, RayJobFailedError)):
            return error
        known = self._faults.get(error.submission_id)
        if known is not None:
            return known
        name = rayjob_name(error.submission_id)
        if isinstance(error, JobLostError):
            reason = "the RayJob was deleted by somebody else"
            if name not in self._seen:
                reason = "there is no such RayJob: it was deleted, or the run's worker died before it was created"
            return JobLostError(error.submission_id, f"RayJob {name}", reason, _FIND_DELETER)
        own = self._end_of_rayjob(self._seen[name]) if name in self._seen else None
        said = error.submission_id, error.status, error.message, error.exit_code, error.last_lines
        return own or RayJobFailedError(*said, _LOG)

    def _end_of_rayjob(self, rayjob: Mapping[str, Any]) -> Exception | None:
        """Return the error for a RayJob that has not ended with its job, but before it, or by a deletion."""
        from dagster_ray.kuberay._status.cluster_state import Ended

        own = self._created(rayjob)
        state = own.state_of(rayjob)
        if not isinstance(state, Ended) or (is_submitted(rayjob) and not state.is_deleted):
            return None
        return state.error(own.target)

    def _start_of(self, name: str, rayjob: Mapping[str, Any]) -> "StepStart":
        from dagster_ray.kuberay._runs.step_start import StepStart

        if name not in self._starts:
            times = self._template.timeout, self._template.queue_timeout
            self._starts[name] = StepStart(self._opened(), self._created(rayjob), *times, self._log)
        return self._starts[name]

    def _given_up(
        self, submission_id: str, rayjob: Mapping[str, Any], fault: Exception, found: JobDetails
    ) -> JobDetails:
        """Delete a RayJob that waits for nothing any more.

        It has failed once it is deleted, or cannot be: the API server refuses, or has not answered for ten minutes.
        """
        from dagster_ray.kuberay._kubernetes.errors import ConflictError, KubernetesError, UnavailableError

        try:
            delete_unsubmitted(self._asking(_DELETE_CALL_SECONDS), rayjob)
        except ConflictError:
            return found  # it has changed since: the next look decides
        except DagsterRayError as error:
            patience = self._undeleted.setdefault(submission_id, Deadline(_UNDELETED_SECONDS))
            is_refused = isinstance(error, KubernetesError) and not isinstance(error, UnavailableError)
            if not is_refused and not patience.is_over():
                return found  # nobody knows whether it is gone
            self._log.warning("The RayJob %s could not be deleted. %s", rayjob_name(submission_id), error)
        self._faults[submission_id] = fault
        return dataclasses.replace(found, status="FAILED", message=str(fault))

    # What is seen

    def _last(self, submission_id: str, timeout: float | None) -> Mapping[str, Any]:
        """Return a RayJob as it was seen last; one that nobody has seen is asked for."""
        self._opened()
        self._take_events()
        if self._watch is not None and self._watch.absence is not None:
            error, call = self._watch.absence, "the watch of RayJobs"
            raise JobServerUnavailableError(self.address, call, 0.0, error.problem, "server_timeout")
        name = rayjob_name(submission_id)
        if name not in self._seen:
            self._take(self._read(self._asking(timeout or CALL_SECONDS), submission_id))
        return self._seen[name]

    def _take_events(self) -> None:
        """Take in what the watch has to say. One that has ended begins again, so that the next call may know more.

        Raises:
            JobServerAnswerError, JobServerUnavailableError: The server refuses it, or there are no credentials.
        """
        from dagster_ray.kuberay._kubernetes.errors import KubernetesError

        with self._lock:
            try:
                while self._watch is not None and (event := self._watch.next(0)) is not None:
                    self._note(event.object, deleted=event.type == "DELETED")
            except DagsterRayError as error:
                self._watch_again()
                call = "the watch of RayJobs"
                if isinstance(error, KubernetesError):
                    raise JobServerAnswerError(self.address, call, error.status, error.message) from error
                raise JobServerUnavailableError(self.address, call, 0.0, error.problem, "server_timeout") from error

    def _watch_again(self) -> None:
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS

        if self._watch is not None:
            self._watch.close()
        known = [seen for name, seen in self._seen.items() if name not in self._gone]
        self._watch = self._opened().watch(RAYJOBS, self._namespace, label_selector=self._selector, known=known)

    def _take(self, rayjob: Mapping[str, Any]) -> None:
        """Take in a RayJob from an answer, unless the watch was faster."""
        with self._lock:
            name = str(rayjob["metadata"]["name"])
            if name not in self._seen:
                self._note(rayjob, deleted=False)

    def _note(self, rayjob: Mapping[str, Any], *, deleted: bool) -> None:
        name = str(rayjob["metadata"]["name"])
        if not is_of_step(rayjob) or (deleted and name not in self._seen):
            return
        if deleted:
            self._gone.add(name)
        is_going = deleted or rayjob["metadata"].get("deletionTimestamp")
        if not (is_going and name in self._seen and details_of(self._seen[name]).is_over):  # how it ended stays known
            self._seen[name] = rayjob

    def _opened(self) -> "KubernetesApi":
        """Return the Kubernetes API, and begin to watch with the first call."""
        from dagster_ray.kuberay._kubernetes.calls import KubernetesApi
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS

        with self._lock:
            if self._api is None:
                self._api = KubernetesApi.load(self._template.kubeconfig_file, self._template.kube_context)
                self._watch = self._api.watch(RAYJOBS, self._namespace, label_selector=self._selector)
            return self._api

    @property
    def _namespace(self) -> str:
        return self._template.namespace_of(self._asking())

    @property
    def _selector(self) -> str:
        run = run_of(self._context)
        return steps_of_run("" if run is None else run.run_id)

    def _asking(self, seconds: float = CALL_SECONDS) -> "StepCluster":
        """Return what asks the Kubernetes API within some seconds, by the connections of the run."""
        return self._template.open(self._context, seconds, self._opened())

    def _created(self, rayjob: Mapping[str, Any]) -> "Created":
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS
        from dagster_ray.kuberay._status.cluster_state import created

        return created(RAYJOBS, str(rayjob["metadata"]["namespace"]), rayjob)

    # Their end

    @override
    def stop(self, submission_id: str, *, timeout: float | None = None) -> bool:
        """Ask Ray to stop the job of a step, or delete the RayJob of one that was not started yet.

        Raises:
            JobNotFoundError: There is no such RayJob.
            DagsterRayError: Its head was not reached in time, or its RayJob changed again and again.
        """
        self._is_stopping = True
        return super().stop(submission_id, timeout=timeout)

    def end(self, *, is_final: bool) -> None:
        """End the watch. At the end of the run, wait for jobs that are about to end, and delete what is left."""
        if self._api is None:
            return
        try:
            if is_final:
                with contextlib.suppress(DagsterRayError):  # whatever the watch says, the RayJobs go
                    self._await_ends(Deadline(0.0 if self._is_stopping else _LAST_SECONDS))
                self._delete_all(Deadline(_DELETE_SECONDS))
        except DagsterRayError as error:
            self._log.warning("RayJobs of the run may be left; the sensor deletes them. %s", error)
        finally:
            if self._watch is not None:
                self._watch.close()
            self._api.close()

    def _await_ends(self, deadline: Deadline) -> None:
        """Wait for the jobs of steps that have ended: a process that has written its last event still tears down."""
        while self._watch is not None and self._watch.absence is None:
            self._take_events()
            left = [seen for name, seen in self._seen.items() if name not in self._gone]
            if all(details_of(rayjob).is_over for rayjob in left) or not deadline.sleep(_LOOK_SECONDS):
                return

    def _delete_all(self, deadline: Deadline) -> None:
        """Delete the RayJobs of the run's steps that have not ended, and those that were stopped.

        They are listed anew: a creation whose answer was lost may have been carried out.
        """
        from dagster_ray.kuberay._kubernetes.errors import ConflictError
        from dagster_ray.kuberay._kubernetes.kinds import RAYJOBS

        api, namespace = self._opened(), self._namespace
        for rayjob in api.list(RAYJOBS, namespace, deadline, label_selector=self._selector).items:
            details = details_of(rayjob)
            if not is_of_step(rayjob) or (details.is_over and details.status != "STOPPED"):
                continue
            own = self._created(rayjob)
            try:
                api.delete(RAYJOBS, own.namespace, own.name, deadline, uid=own.uid)
            except ConflictError:  # somebody has made another one of this name
                continue
            except DagsterRayError as error:
                self._log.warning("%s is left; the sensor deletes it. %s", own.target, error)
                continue
            self._log.info("%s was deleted.", own.target)

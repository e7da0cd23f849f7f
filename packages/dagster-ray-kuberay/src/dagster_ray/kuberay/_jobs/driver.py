"""Bodies of steps as Ray jobs on a step's cluster: the cluster of an earlier attempt, the job server, and the end."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_ray.core import CleanupPolicy, Deadline, StepOutcome, identity_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._diagnosis.evidence import Evidence
from dagster_ray.kuberay._jobs.earlier import Left, choose_left
from dagster_ray.kuberay._jobs.place import open_client, place_of
from dagster_ray.kuberay._jobs.watch import ClusterWatch, RayJobWatch
from dagster_ray.kuberay._kubernetes.fields import at, text
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS, SAID_OF_DELETION, propagation_of
from dagster_ray.kuberay._labels import DRIVER_IN_CLUSTER, DRIVER_LABEL, STEP_LABEL
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._status.cluster_state import Created, misses_pods
from dagster_ray.kuberay._status.errors import ClusterGoneError, RayJobEndedError
from dagster_ray.kuberay._steps.creation import IDENTITY_LABELS, ClusterRequest
from dagster_ray.kuberay._steps.ending import final_ttl, outcome_labels
from dagster_ray.kuberay._steps.registration import WITHOUT_LIMIT, limit_at_end, limit_of
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.pipes.drivers import EarlierAttempts, earlier_attempts, ended_jobs, is_only_step
from dagster_ray.pipes.errors import (
    JobNotFoundError,
    JobServerAnswerError,
    JobServerRefusedError,
    JobServerUnavailableError,
)

if TYPE_CHECKING:
    from dagster_ray.pipes.clients import Verdict
    from dagster_ray.pipes.drivers import Place

_CALL_SECONDS = 5.0
_PAUSE_SECONDS = 10.0
_FOLLOWED = {"PENDING", "RUNNING", "SUCCEEDED"}
_UNHEARD = (JobServerUnavailableError, JobServerAnswerError, JobServerRefusedError)
"""After these nobody knows whether the body has ended, and it could not be stopped either."""


class DriverHost:
    """What the process of a step does with a cluster on which the step's body runs as a Ray job.

    A process that runs several steps has one cluster for all of them, and each body is a job of its own there.
    """

    def __init__(self, cluster: StepCluster, policy: CleanupPolicy) -> None:
        """Take the cluster, and when the lifecycle deletes it; nothing is asked for yet."""
        self._cluster, self._policy, self._opened = cluster, policy, ExitStack()
        self._watch: ClusterWatch | None = None
        self._request: ClusterRequest | None = None
        self._is_complete = False
        self._job_id: str | None = None
        self._job_ids: dict[str, str] = {}
        self._all_jobs: set[str] = set()
        self._is_unheard = False
        self._is_only_step = True
        self._is_lifted, self._lift_at = False, 0.0

    def job_id_of(self, step_key: str | None) -> str | None:
        """Return the submission id of a step's last attempt; None if it submitted none, or has succeeded."""
        return None if step_key is None else self._job_ids.get(step_key)

    @property
    def has_had_several_jobs(self) -> bool:
        """Whether the cluster may have had more than one job, so that what Ray knows of all jobs is not one step's.

        That of an earlier attempt has had its job, too.
        """
        return len(self._all_jobs) > 1 or self._request is not None

    @property
    def has_ended_jobs(self) -> bool:
        """Whether there was a body, and each has ended or was stopped, so that the operator will see the end."""
        return self._job_id is not None and not self._is_unheard

    # The cluster of an earlier attempt

    def follow(self, request: ClusterRequest) -> bool:
        """Take the RayJob or RayCluster that a killed attempt of this step has left; return whether there is one.

        What earlier attempts should have deleted and did not is deleted.

        Args:
            request: What is asked for if there is none.
        """
        labels: Mapping[str, Any] = at(request.manifest, "metadata", "labels")
        if STEP_LABEL not in labels:
            return False  # one process serves all steps of the run, and the run ends with it
        selector = ",".join(f"{key}={labels[key]}" for key in IDENTITY_LABELS if key in labels)
        selector += f",{DRIVER_LABEL}={DRIVER_IN_CLUSTER}"
        cluster = self._cluster
        found = cluster.api.list(request.kind, request.namespace, cluster.deadline, label_selector=selector).items
        if not found:
            return False
        left = choose_left(request.kind, request.namespace, found, self._earlier())
        for leftover in left.leftovers:
            self._delete(leftover)
        if left.followed is None or not self._has_cluster(left):
            return False
        self._request, self._is_complete = request, left.is_complete
        own = left.followed
        cluster.use(own, ClusterRequest(own.kind, (own.name,), dict(own.manifest)))
        cluster.log.info("%s, which an earlier attempt of this step has left, is used again.", own.target)
        return True

    def wait(self) -> None:
        """Wait until the dashboard answers; what an earlier attempt has left is replaced if it serves no body any more.

        Raises:
            DagsterRayError: As `StepCluster.wait` and `StepCluster.read_token`.
        """
        cluster = self._cluster
        why = self._waited()
        if why is not None and self._request is not None:
            cluster.log.warning("%s A new one is asked for.", why)
            cluster.delete(cluster.deadline)
            cluster.create(self._request)
            cluster.wait()
            cluster.read_token()
        if cluster.may_exist:
            cluster.keep_alive()

    def _waited(self) -> str | None:
        """Wait for the cluster as it is; return why what an earlier attempt has left must be replaced."""
        cluster = self._cluster
        try:
            cluster.wait(even_if_complete=self._is_complete)
        except (ClusterGoneError, RayJobEndedError) as error:
            if self._request is None:
                raise
            return error.problem
        cluster.read_token()
        return None if self._request is None else self._spent()

    def _spent(self) -> str | None:
        """Return why no body can run on the RayJob of an earlier attempt: its operator ends it with the first job."""
        own = self._cluster.made
        job_id = text(own.manifest, "spec", "jobId")
        if own.kind is not RAYJOBS or not job_id:
            return None
        with ExitStack() as opened:
            try:
                status = open_client(self._cluster, opened).details(job_id).status
            except JobNotFoundError:
                status = "not known to its head any more"
        return f"{own.target}: its job {job_id} is {status}." if status not in _FOLLOWED else None

    def first_number(self) -> int:
        """Return the number of the first job that this attempt is about, by the log of the run; 0 outside of a step."""
        step = self._step()
        return 0 if step is None else EarlierAttempts(ended_jobs(*step)).first_number

    def _earlier(self) -> EarlierAttempts:
        """Return what the log of the run tells of earlier attempts of this step; nothing outside of a step."""
        step = self._step()
        return EarlierAttempts() if step is None else earlier_attempts(*step)

    def _step(self) -> tuple[dg.DagsterInstance, str, str] | None:
        """Return Dagster's instance, the run and the step; None outside of a step."""
        context = self._cluster.context
        identity = identity_of(context, attempt=0)
        if context.instance is None or identity.run_id is None or identity.step_key is None:
            return None
        return context.instance, identity.run_id, identity.step_key

    def _delete(self, leftover: Created) -> None:
        kind, cluster = leftover.kind, self._cluster
        try:
            deletion = cluster.api.delete(
                kind,
                leftover.namespace,
                leftover.name,
                cluster.deadline,
                uid=leftover.uid,
                propagation=propagation_of(kind),
            )
        except DagsterRayError as error:
            cluster.log.warning("%s of an earlier attempt could not be deleted: %s", leftover.target, error)
        else:
            cluster.log.info("%s of an earlier attempt %s.", leftover.target, SAID_OF_DELETION[deletion])

    def _has_cluster(self, left: Left) -> bool:
        """Return whether a RayJob whose job is complete still has the cluster, and so what the job has written."""
        own, cluster = left.followed, self._cluster
        if own is None or not left.is_complete:
            return own is not None
        name = text(own.manifest, "status", "rayClusterName")
        found = cluster.api.listed(RAYCLUSTERS, own.namespace, name, cluster.deadline)
        if found is not None and not at(found, "metadata", "deletionTimestamp"):
            return True
        said = "%s has succeeded, but its cluster is deleted, and what the body told with it; the body runs again."
        cluster.log.warning(said, own.target)
        return False

    # The job

    def place(self, context: dg.OpExecutionContext) -> "Place":
        """Return where the body of a step runs."""
        key = context.get_step_execution_context().step.key
        self._job_ids.pop(key, None)  # an attempt before this one has had a job of its own
        return self.place_for(is_only_step=is_only_step(context), about="of this step", step_key=key)

    def place_for(self, *, is_only_step: bool, about: str, step_key: str | None = None) -> "Place":
        """Return where jobs run.

        Args:
            is_only_step: Whether there will be one job only, with whose end that of the cluster comes.
            about: Whose jobs they are, for errors that come before one has an id.
            step_key: The step whose body it is; None: the jobs are those of an executor.
        """
        cluster, own = self._cluster, self._cluster.made
        self._is_only_step = is_only_step
        if self._watch is None:
            registers = own.kind is RAYJOBS and self._is_only_step
            watch = RayJobWatch(cluster, about) if registers else ClusterWatch(cluster, about)
            self._watch = self._opened.enter_context(watch)
        else:
            self._watch.begin(about)
        place = place_of(
            cluster,
            open_client(cluster, self._opened),
            self._watch,
            self._opened,
            submitted=partial(self._submitted, step_key),
            judged=partial(self._judged, step_key),
            pending=self._why_pending,
            explained=self._explained,
        )
        return replace(place, check=self._check)

    def _check(self) -> None:
        assert self._watch is not None  # noqa: S101 - opened with the place
        self._lift_limit()
        self._watch.check()

    def _why_pending(self) -> str:
        """Return why the cluster does not have what the job waits for, as far as pods and events show it."""
        cluster, watch = self._cluster, self._watch
        if watch is None:
            return ""
        found = Evidence(cluster.api, cluster.made, cluster.log).look(watch.question)
        return "" if found is None else f"{found.reason}: {found.sentence}"

    def _explained(self, error: Exception) -> Exception:
        """Return the error with the head's pod and what is known of it: the first one names a port of this machine."""
        self._is_unheard |= isinstance(error, _UNHEARD)
        if isinstance(error, JobServerUnavailableError) and self._watch is not None:
            return self._watch.unreachable(error)
        return error

    def _submitted(self, step_key: str | None, submission_id: str) -> None:
        assert self._watch is not None  # noqa: S101 - opened with the place
        if step_key is not None:
            self._job_ids[step_key] = submission_id
        self._job_id, self._lift_at = submission_id, 0.0
        self._all_jobs.add(submission_id)
        self._watch.submitted(submission_id)
        self._lift_limit()

    def _lift_limit(self) -> None:
        """End the operator's limit for a RayJob of several steps, whose job id is written after the last of them."""
        is_limited = self._cluster.made.kind is RAYJOBS and not self._is_only_step and not self._is_lifted
        if not is_limited or self._job_id is None or time.monotonic() < self._lift_at:
            return
        self._lift_at = time.monotonic() + _PAUSE_SECONDS
        otherwise = "the operator may end it while a body runs; this is tried again"
        self._is_lifted = self._change({"spec": WITHOUT_LIMIT}, otherwise) is not None

    def _judged(self, step_key: str | None, verdict: "Verdict") -> None:
        """Write an outcome while the job's process still tears down, so that the operator knows it when the job ends.

        To Ray the job succeeds: the body has ended the step by an event.
        """
        if verdict == "good" and step_key is not None:
            self._job_ids.pop(step_key, None)  # what failed before it is another job's
        if verdict != "bad" or not self._is_only_step:
            return
        if self._cluster.made.kind is RAYJOBS:
            always = self._policy == "always"
            self._cluster.record_outcome(StepOutcome.FAILED, Deadline(_CALL_SECONDS), always=always)
        elif self._cluster.may_exist:  # this step's alone, and the next attempt may begin before it is deleted
            self._change({"metadata": {"labels": outcome_labels(StepOutcome.FAILED)}}, "the next attempt may use it")

    # The end

    def leave(self, outcome: StepOutcome, deadline: Deadline, plain: Json | None = None) -> None:
        """Note how the step ended on what it has for itself, so that no later attempt goes on with it.

        Args:
            outcome: How the step ended.
            deadline: Ends the calls.
            plain: The configuration of the RayJob.
        """
        cluster, own = self._cluster, self._cluster.own
        cluster.stop_heartbeat()
        if own is None or not cluster.may_exist:
            return
        stays = outcome is StepOutcome.SUCCEEDED or self._policy == "never"
        if own.kind is not RAYJOBS or self._job_id is None:
            if stays and outcome is not StepOutcome.SUCCEEDED:
                self._change({"metadata": {"labels": outcome_labels(outcome)}}, "a later attempt may use it")
            return
        if isinstance(self._watch, RayJobWatch):
            self._watch.register_at_end(deadline)
        cluster.record_outcome(outcome, deadline, always=self._policy == "always")
        is_unseen = isinstance(self._watch, RayJobWatch) and self._watch.is_unseen
        if not self._is_only_step:
            otherwise = "its operator does not know that it is over"
            changed = self._change({"spec": {"jobId": self._job_id}}, otherwise, deadline if stays else None)
            is_unseen = changed is not None and misses_pods(changed)
        seconds = final_ttl(plain, own.manifest) if plain is not None and stays else None
        spec: dict[str, Any] = {} if seconds is None else {"ttlSecondsAfterFinished": seconds}
        if is_unseen:
            limit = limit_of(own.manifest if self._request is None else self._request.manifest)
            spec |= limit_at_end(cluster, limit, stays=stays)
        if spec:
            self._change({"spec": spec}, "its cluster lives longer than it should")

    def _change(
        self, patch: Mapping[str, Any], otherwise: str, deadline: Deadline | None = None
    ) -> Mapping[str, Any] | None:
        """Change the object, within 5 s unless a deadline is given; return it, or None where that failed."""
        cluster = self._cluster
        try:
            return cluster.change(patch, deadline or Deadline(_CALL_SECONDS))
        except DagsterRayError as error:
            cluster.log.warning("%s could not be changed, so %s: %s", cluster.made.target, otherwise, error)
            return None

    def close(self) -> None:
        """Close the watch and the connections to the job server."""
        self._opened.close()

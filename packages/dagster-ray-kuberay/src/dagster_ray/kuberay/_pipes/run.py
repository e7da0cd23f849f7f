"""One call of `PipesKubeRayJobClient`: a RayJob around a Ray job, from its creation to its cleanup."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from dagster_ray.core import (
    DagsterContext,
    Deadline,
    Identity,
    identity_of,
    interrupts_deferred,
    is_interrupt,
)
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.core.step_report.around import StepReport
from dagster_ray.kuberay._hours.measurement import ClusterMeasurement, Measured
from dagster_ray.kuberay._jobs.place import open_client, place_of
from dagster_ray.kuberay._jobs.watch import RayJobWatch
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at, mapping
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._labels import RUN_LABEL
from dagster_ray.kuberay._pipes.attempts import CALL_LABEL, SUBMISSION_ANNOTATION, Found, choose_rayjob
from dagster_ray.kuberay._pipes.call import Call, ClientSettings
from dagster_ray.kuberay._pipes.rayjob import (
    CallIds,
    existing_cluster,
    request_of,
    with_cluster_spec,
)
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import ClusterGoneError
from dagster_ray.kuberay._steps.creation import ClusterRequest
from dagster_ray.kuberay._steps.ending import ends_when_failed, final_ttl, is_always_shut_down
from dagster_ray.kuberay._steps.handed_secret import HandedSecret, take_back
from dagster_ray.kuberay._steps.registration import limit_at_end, limit_of
from dagster_ray.kuberay._steps.requests import namespace_of, operator_deadline
from dagster_ray.kuberay._steps.step_cluster import StepCluster
from dagster_ray.kuberay._steps.wait import Reach
from dagster_ray.pipes import CompletedRayJob, RayJobClient
from dagster_ray.pipes.clients import (
    CONTEXT_VARIABLE,
    Attempt,
    JobRun,
    Place,
    find_attempt,
    numbered,
    rejected_jobs,
)
from dagster_ray.pipes.errors import (
    JobLostError,
    JobNotFoundError,
    JobServerUnavailableError,
    PipesMessagesMissingError,
    RayJobFailedError,
)

if TYPE_CHECKING:
    from dagster_ray.core.failures.causes import Loss

_CLEANUP_SECONDS = 20.0
_LOSSES_SECONDS = 4.0
_OF_ENDED_JOBS = (RayJobFailedError, PipesMessagesMissingError)
"""After these the job has ended, so that the operator sees an end."""


def run_call(settings: ClientSettings, call: Call) -> CompletedRayJob:
    """Run a Ray job on a RayJob's cluster, and clean up as the lifecycle says, also when the step is interrupted."""
    reach = Reach(settings.access, settings.head_host, settings.queue_timeout, goal="dashboard")
    if settings.evidence is not None:
        from dagster_ray.kuberay._bundle.storage import require_file_system

        require_file_system(settings.evidence)
    kubeconfig, deadline = (settings.kubeconfig_file, settings.kube_context), Deadline(settings.rayjob.timeout_seconds)
    with closing(StepCluster.open(kubeconfig, reach, call.context, deadline)) as cluster:
        return _RayJobCall(settings, call, cluster).run()


class _RayJobCall:
    """What one call holds."""

    def __init__(self, settings: ClientSettings, call: Call, cluster: StepCluster) -> None:
        self._settings, self._call, self._cluster = settings, call, cluster
        self._api, self._deadline = cluster.api, cluster.deadline
        self._namespace = namespace_of(call.plain, cluster)
        self._watch: RayJobWatch | None = None
        self._is_submitted = False
        self._submission_id: str | None = None
        self._handed: HandedSecret | None = None
        if call.secret_context is not None:
            labels = identity_of(call.context).labels
            self._handed = HandedSecret(CONTEXT_VARIABLE, call.secret_context, labels)
        self._report = StepReport(self, call.context)

    # What `StepReport` asks

    @property
    def display_name(self) -> str:
        """The RayJob's name for logs."""
        return self._name()

    @property
    def is_measured(self) -> bool:
        """Whether figures of the cluster are wanted."""
        return self._settings.hours

    def measure(self, context: DagsterContext) -> ClusterMeasurement | None:  # noqa: ARG002 - of resources
        """Measure what the cluster reserves, and what of it is used."""
        cluster = self._cluster
        if cluster.own is None:
            return None
        queue, started = cluster.queued_seconds, self._deadline.spent_seconds()
        return ClusterMeasurement(Measured(cluster, self._settings.rates, {"startup": started, "queue": queue}))

    def run(self) -> CompletedRayJob:
        """Run the job to its end."""
        from dagster_ray.core.failures.launcher import failures_told, is_tried_again

        allowed = self._settings.retry_infrastructure
        try:
            with failures_told(self._call.context, self._name, allowed, self._losses):
                found = self._run()
        except BaseException as error:
            with interrupts_deferred(redeliver=False):
                self._report.end(asks=not is_interrupt(error))
                is_retry = isinstance(error, dg.RetryRequested) and error.__cause__ is not None
                own = error.__cause__ if is_retry else error
                self._keep_evidence(own)
                deadline = Deadline(_CLEANUP_SECONDS)
                if is_tried_again(self._call.context, error) or not self._is_held(own, deadline):
                    self._end_after(own, deadline)
            raise
        with interrupts_deferred(redeliver=True):
            self._report.end()
            self._end_after(None, Deadline(_CLEANUP_SECONDS))
        return found

    def _name(self) -> str:
        return "RayJob" if self._cluster.own is None else self._cluster.own.target

    def _losses(self) -> "Sequence[Loss]":
        from dagster_ray.kuberay._steps.lost_pods import losses_of_cluster

        return losses_of_cluster(self._cluster, Deadline(_LOSSES_SECONDS))

    def _run(self) -> CompletedRayJob:
        """Run the job on the head that is there, or on the next one if that goes before it has taken the job."""
        ids, found = self._choose()
        if found is not None:
            self._adopt(ids, found)
        else:
            self._create(ids)
        is_first = True
        while True:
            with ExitStack() as opened:
                place, watch = self._reach(ids, found, opened)
                try:
                    with place.client.server.checked_by(watch.check):
                        attempt = self._attempt(place.client, ids, found, is_first=is_first)
                        run = JobRun(place, self._call.context, self._settings.run, self._call.identity)
                        job, extras, injector = self._call.job, self._call.extras, self._call.injector
                        return run.run(attempt, job, extras, injector, self._submitted)
                except JobLostError:
                    if self._is_submitted or watch.lost_head is None:
                        raise
                except JobServerUnavailableError as error:
                    raise watch.unreachable(error) from None  # the first one tells of a port of this machine
            said = "%s: %s. The job goes to the next head."
            self._cluster.log.warning(said, self._cluster.made.target, watch.lost_head)
            self._read_again()
            is_first = False

    def _read_again(self) -> None:
        """Read the RayJob as it is now, for the wait for its next head."""
        job = self._cluster.made
        try:
            rayjob = self._api.get(RAYJOBS, job.namespace, job.name, self._deadline)
        except NotFoundError as error:
            raise ClusterGoneError(job.target, "it was deleted by somebody else") from error
        if at(rayjob, "metadata", "uid") != job.uid:
            raise ClusterGoneError(job.target, "it was deleted by somebody else, and another one has its name")
        self._cluster.own = self._as_if_it_made_its_cluster(created(RAYJOBS, job.namespace, rayjob))

    # From nothing to a dashboard

    def _reach(self, ids: CallIds, found: Found | None, opened: ExitStack) -> tuple[Place, RayJobWatch]:
        """Return where the job runs once the dashboard answers, and what watches over it."""
        cluster = self._cluster
        cluster.wait(even_if_complete=found is not None and found.is_complete)
        cluster.keep_alive()
        cluster.read_token()
        client = open_client(cluster, opened)
        # A re-execution goes on with the RayJob of another run, by whose end it must not be judged any more.
        labels = {RUN_LABEL: Identity.label_value(self._call.context.run_id)}
        watch = RayJobWatch(cluster, ids.submission_id, labels=labels)
        self._watch = opened.enter_context(watch)
        patient = client.patient(self._settings.run.patience.server_seconds)
        self._report.begin()
        place = place_of(cluster, patient, watch, opened, judged=watch.judged)
        variables = frozenset[str]() if self._handed is None else frozenset({self._handed.variable})
        return replace(place, figures=self._report.metadata, variables=variables), watch

    def _choose(self) -> tuple[CallIds, Found | None]:
        """Look for what earlier attempts have left."""
        identity = self._call.identity
        keys = [identity.key(run_id) for run_id in identity.runs]
        selector = f"{CALL_LABEL} in ({','.join(keys)})"
        listed = self._api.list(RAYJOBS, self._namespace, self._deadline, label_selector=selector).items
        choice = choose_rayjob(keys, listed, rejected_jobs(self._call.context, identity) if listed else ())
        name = identity.submission_id(identity.runs[0], choice.number)
        chosen = self._call.job.get("submission_id")
        submission_id = name if chosen is None else numbered(chosen, choice.number)
        found = choice.found
        if found is not None:
            found = self._with_cluster_there(found)
        if found is not None:
            noted = at(found.rayjob, "metadata", "annotations", SUBMISSION_ANNOTATION)
            submission_id = str(at(found.rayjob, "spec", "jobId") or noted or submission_id)
        return CallIds(keys[0], choice.number, name, submission_id), found

    def _with_cluster_there(self, found: Found) -> Found | None:
        """Return a RayJob whose job is complete only if its cluster still has what the job has written."""
        if not found.is_complete:
            return found
        name = str(at(found.rayjob, "status", "rayClusterName") or "")
        try:
            cluster = self._api.get(RAYCLUSTERS, self._namespace, name, self._deadline)
        except NotFoundError:
            cluster = None
        if cluster is None or at(cluster, "metadata", "deletionTimestamp"):
            said = at(found.rayjob, "metadata", "name")
            self._cluster.log.warning(
                "RayJob %s has succeeded, but its cluster is deleted; the job is run again.", said
            )
            return None
        return found

    def _adopt(self, ids: CallIds, found: Found) -> None:
        job = created(RAYJOBS, self._namespace, found.rayjob)
        self._cluster.use(job, ClusterRequest(RAYJOBS, (job.name,), dict(found.rayjob), handed=self._handed))
        self._is_submitted = bool(at(found.rayjob, "spec", "jobId"))
        said = "Following %s, which an earlier attempt has left, for %s."
        self._cluster.log.info(said, job.target, ids.submission_id)
        self._cluster.own = self._as_if_it_made_its_cluster(job)
        if not self._is_submitted:
            self._cluster.hand_over()  # the earlier attempt may have ended before it could

    def _create(self, ids: CallIds) -> None:
        call, cluster = self._call, self._cluster
        existing = None if call.cluster is None else self._existing(call.cluster)
        settings, handed = self._settings.rayjob, self._handed
        request = request_of(call.plain, call.cluster, ids, settings, step=cluster, handed=handed)
        cluster.check_before(request, self._settings.preflight, "pipes", is_driver=False)
        cluster.create(request)
        if existing is not None:
            cluster.own = with_cluster_spec(cluster.made, existing)

    def _existing(self, name: str) -> Mapping[str, Any]:
        return existing_cluster(self._api, self._namespace, name, self._deadline)

    def _as_if_it_made_its_cluster(self, job: Created) -> Created:
        """Return a RayJob with the spec of the cluster that it selects, so that its token and ports are found."""
        name = self._call.cluster
        return job if name is None else with_cluster_spec(job, self._existing(name))

    def _attempt(self, client: RayJobClient, ids: CallIds, found: Found | None, *, is_first: bool) -> Attempt:
        if self._call.cluster is not None and (found is None or not at(found.rayjob, "spec", "jobId")):
            # The cluster outlives the RayJobs that select it, so it may have jobs of earlier attempts.
            call = self._call
            return find_attempt(client, call.context, call.identity, call.job.get("submission_id"))
        if found is None and is_first:
            return Attempt(ids.submission_id)
        try:
            return Attempt(ids.submission_id, client.details(ids.submission_id))
        except JobNotFoundError:
            return Attempt(ids.submission_id)  # the earlier attempt, or the head before, came as far as the RayJob

    def _submitted(self, submission_id: str) -> None:
        self._is_submitted, self._submission_id = True, submission_id
        if self._watch is not None:
            self._watch.submitted(submission_id)

    # The end

    def _keep_evidence(self, error: BaseException | None) -> None:
        """Keep what is known of a failure. Never raises: the job's own error matters more."""
        place, context = self._settings.evidence, self._call.context
        if place is None or not isinstance(error, Exception) or is_interrupt(error):
            return
        from dagster_ray.core.failures.evidence import EVIDENCE_SECONDS, evidence_of_call
        from dagster_ray.kuberay._bundle.collected import Driver
        from dagster_ray.kuberay._bundle.keeping import keep

        driver = Driver(submission_id=self._submission_id, in_cluster=True)
        values, handed = mapping(mapping(self._call.job.get("runtime_env")).get("env_vars")).values(), self._handed
        evidence_of_call(
            context,
            self._name(),
            error,
            self._losses,
            lambda failure: keep(
                self._cluster,
                place,
                self._name(),
                failures=[(failure, driver)],
                secrets=[*map(str, values), *([handed.value] if handed is not None else [])],
                deadline=Deadline(EVIDENCE_SECONDS),
            ),
        )

    def _is_held(self, error: BaseException | None, deadline: Deadline) -> bool:
        """Hold the RayJob of a job that has failed, if that is wanted; return whether the operator deletes it later."""
        seconds, watch = self._settings.hold_on_failure, self._watch
        is_wanted = seconds > 0 and isinstance(error, _OF_ENDED_JOBS) and self._settings.rayjob.cleanup != "never"
        if not is_wanted or watch is None or not self._cluster.may_exist:
            return False
        from dagster_ray.kuberay._steps.holding import hold

        self._cluster.stop_heartbeat()
        watch.register_at_end(deadline)
        if not watch.is_registered:
            said = "%s is not held although hold_on_failure is set: its operator does not know its job."
            self._cluster.log.warning(said, self._name())
            return False
        is_held = hold(self._cluster, seconds, deadline)
        if is_held:
            watch.leave(None, limit_of(self._cluster.made.manifest))
        return is_held

    def _end_after(self, error: BaseException | None, deadline: Deadline) -> None:
        """Delete the RayJob, or leave it to the operator."""
        self._cluster.stop_heartbeat()
        if not self._cluster.may_exist:
            return
        if error is not None and self._is_submitted and self._settings.run.leaves_job(error):
            return  # the job goes on, for a retry
        policy = self._settings.rayjob.cleanup
        if policy == "always" or (policy == "on_exception" and error is not None and not self._left_to_operator(error)):
            try:
                self._cluster.delete(deadline)
            except DagsterRayError as failed:
                self._cluster.log.warning("The RayJob could not be deleted: %s", failed)
            return
        self._leave_to_operator()
        if error is None or isinstance(error, RayJobFailedError):
            self._take_back(deadline)

    def _take_back(self, deadline: Deadline) -> None:
        """Delete the Secret of a job that has ended, unless its cluster may stay, and need it for another pod."""
        job, handed, log = self._cluster.own, self._handed, self._cluster.log
        if job is None or handed is None or not is_always_shut_down(mapping(job.manifest.get("spec"))):
            return
        try:
            take_back(self._api, job, handed, deadline)
        except DagsterRayError as failed:
            log.info("The Secret with the Pipes context stays until %s is deleted: %s", job.target, failed)

    def _left_to_operator(self, error: BaseException) -> bool:
        """Return whether the spec says what follows from a job that has failed, which the operator sees itself."""
        job = self._cluster.own
        spec: Mapping[str, Any] = mapping(job.manifest.get("spec")) if job is not None else {}
        is_unseen = self._watch is not None and self._watch.is_unseen and not ends_when_failed(spec)
        return bool(spec.get("deletionStrategy")) and isinstance(error, RayJobFailedError) and not is_unseen

    def _leave_to_operator(self) -> None:
        job = self._cluster.own
        if job is None or self._watch is None:
            return
        seconds = final_ttl(self._call.plain, job.manifest) if self._call.cluster is None else None
        # The limit of a RayJob that is followed was lifted by the earlier attempt.
        limit: Mapping[str, Any] = limit_of(job.manifest, operator_deadline(self._settings.rayjob.timeout_seconds))
        if self._watch.is_unseen:
            limit = limit_at_end(self._cluster, limit, stays=True)
        self._watch.leave(seconds, limit)

"""One call of `PipesKubeRayJobClient`: a RayJob around a Ray job, from its creation to its cleanup."""

# Type checkers see no type in Dagster's config classes.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import PipesContextInjector

from dagster_ray.core import Deadline, Identity, interrupts_deferred, log_of
from dagster_ray.core.errors import DagsterRayError
from dagster_ray.kuberay._head.route import Access, ForwardedAgents, goes_direct
from dagster_ray.kuberay._kubernetes.errors import NotFoundError
from dagster_ray.kuberay._kubernetes.fields import at
from dagster_ray.kuberay._kubernetes.kinds import RAYCLUSTERS, RAYJOBS
from dagster_ray.kuberay._labels import ALIVE_SECONDS, RUN_LABEL
from dagster_ray.kuberay._pipes.attempts import CALL_LABEL, SUBMISSION_ANNOTATION, Found, choose_rayjob
from dagster_ray.kuberay._pipes.rayjob import (
    CallIds,
    existing_cluster,
    final_ttl,
    wish_of,
    with_cluster_spec,
)
from dagster_ray.kuberay._pipes.watch import RayJobWatch
from dagster_ray.kuberay._spec.plain_json import Json
from dagster_ray.kuberay._status.cluster_state import Created, created
from dagster_ray.kuberay._status.errors import ClusterGoneError
from dagster_ray.kuberay._steps import cluster_steps as steps
from dagster_ray.kuberay._steps import interactive_steps
from dagster_ray.kuberay._steps.creation import Wish, create, forgotten_if_refused
from dagster_ray.kuberay._steps.heartbeat import Alive, Heartbeat
from dagster_ray.kuberay._steps.preflight import Flight, Preflight, check
from dagster_ray.kuberay._steps.wait import ClusterWait, WaitPlan
from dagster_ray.kuberay._steps.wishes import Settings, namespace_of
from dagster_ray.pipes import CompletedRayJob, RayJobClient
from dagster_ray.pipes.clients import (
    Attempt,
    CallIdentity,
    JobRun,
    Place,
    RunSettings,
    StepContext,
    find_attempt,
    numbered,
    rejected_jobs,
)
from dagster_ray.pipes.errors import JobLostError, JobNotFoundError, JobServerUnavailableError, RayJobFailedError

if TYPE_CHECKING:
    from dagster_ray.kuberay._head.route import Route
    from dagster_ray.kuberay._kubernetes.calls import KubernetesApi

_CLEANUP_SECONDS = 20.0
_LEAST_CALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The arguments of a client."""

    rayjob: Settings
    run: RunSettings
    queue_timeout: float
    access: Access
    head_host: str | None
    preflight: Preflight
    kubeconfig_file: str | None
    kube_context: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """What one call is about."""

    context: StepContext
    identity: CallIdentity
    plain: Json
    cluster: str | None
    job: Mapping[str, Any]
    extras: Mapping[str, Any] | None
    injector: PipesContextInjector


def run_call(settings: ClientSettings, call: Call) -> CompletedRayJob:
    """Run a Ray job on a RayJob's cluster, and clean up as the lifecycle says, also when the step is interrupted."""
    api = steps.load_api(settings.kubeconfig_file, settings.kube_context)
    with closing(api):
        return _RayJobCall(settings, call, api).run()


class _RayJobCall:
    """What one call holds."""

    def __init__(self, settings: ClientSettings, call: Call, api: "KubernetesApi") -> None:
        self._settings, self._call, self._api = settings, call, api
        self._log = log_of(call.context)
        self._namespace = namespace_of(call.plain, api)
        self._wish: Wish | None = None
        self._job: Created | None = None
        self._watch: RayJobWatch | None = None
        self._is_submitted = False

    def run(self) -> CompletedRayJob:
        """Run the job to its end."""
        try:
            found = self._run(Deadline(self._settings.rayjob.timeout_seconds))
        except BaseException as error:
            with interrupts_deferred(redeliver=False):
                self._end_after(error)
            raise
        with interrupts_deferred(redeliver=True):
            self._end_after(None)
        return found

    def _run(self, deadline: Deadline) -> CompletedRayJob:
        """Run the job on the head that is there, or on the next one if that goes before it has taken the job."""
        ids, found = self._choose(deadline)
        if found is not None:
            self._adopt(ids, found, deadline)
        else:
            self._create(ids, deadline)
        is_first = True
        while True:
            with ExitStack() as opened:
                place, watch = self._reach(ids, found, deadline, opened)
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
            self._log.warning("%s: %s. The job goes to the next head.", self._created.target, watch.lost_head)
            self._read_again(deadline)
            is_first = False

    def _read_again(self, deadline: Deadline) -> None:
        """Read the RayJob as it is now, for the wait for its next head."""
        job = self._created
        try:
            rayjob = self._api.get(RAYJOBS, job.namespace, job.name, deadline)
        except NotFoundError as error:
            raise ClusterGoneError(job.target, "it was deleted by somebody else") from error
        if at(rayjob, "metadata", "uid") != job.uid:
            raise ClusterGoneError(job.target, "it was deleted by somebody else, and another one has its name")
        self._job = created(RAYJOBS, job.namespace, rayjob)
        if self._call.cluster is not None:
            cluster = existing_cluster(self._api, self._namespace, self._call.cluster, deadline)
            self._job = with_cluster_spec(self._job, cluster)

    # From nothing to a dashboard

    def _reach(
        self, ids: CallIds, found: Found | None, deadline: Deadline, opened: ExitStack
    ) -> tuple[Place, RayJobWatch]:
        """Return where the job runs once the dashboard answers, and what watches over it."""
        plan = steps.wait_plan(
            self._api,
            access=self._settings.access,
            head_host=self._settings.head_host,
            queue_timeout=self._settings.queue_timeout,
            goal="dashboard",
            even_if_complete=found is not None and found.is_complete,
        )
        waiting, route = self._wait(plan, deadline, opened)
        job = self._created
        heartbeat = Heartbeat(self._api, job, Alive(), ALIVE_SECONDS, self._log)
        opened.callback(heartbeat.stop)
        client = self._job_client(job, waiting, route, deadline, opened=opened)
        # A re-execution goes on with the RayJob of another run, by whose end it must not be judged any more.
        labels = {RUN_LABEL: Identity.label_value(self._call.context.run_id)}
        watch = RayJobWatch(self._api, job, (waiting, route), ids, self._log, labels=labels)
        self._watch = opened.enter_context(watch)
        place = Place(
            client,
            route=self._agent_route(waiting.cluster or job.name, opened, direct=plan.direct),
            trusts_agents=not plan.direct or self._api.in_cluster,
            check=watch.check,
            metadata={"dagster_ray/rayjob": dg.MetadataValue.text(f"{job.namespace}/{job.name}")},
            has_link=plan.direct,
            uid=job.uid,
            judged=watch.judged,
        )
        return place, watch

    def _choose(self, deadline: Deadline) -> tuple[CallIds, Found | None]:
        """Look for what earlier attempts have left."""
        identity = self._call.identity
        keys = [identity.key(run_id) for run_id in identity.runs]
        selector = f"{CALL_LABEL} in ({','.join(keys)})"
        listed = self._api.list(RAYJOBS, self._namespace, deadline, label_selector=selector).items
        choice = choose_rayjob(keys, listed, rejected_jobs(self._call.context, identity) if listed else ())
        name = identity.submission_id(identity.runs[0], choice.number)
        chosen = self._call.job.get("submission_id")
        submission_id = name if chosen is None else numbered(chosen, choice.number)
        found = choice.found
        if found is not None:
            found = self._with_cluster_there(found, deadline)
        if found is not None:
            noted = at(found.rayjob, "metadata", "annotations", SUBMISSION_ANNOTATION)
            submission_id = str(at(found.rayjob, "spec", "jobId") or noted or submission_id)
        return CallIds(keys[0], choice.number, name, submission_id), found

    def _with_cluster_there(self, found: Found, deadline: Deadline) -> Found | None:
        """Return a RayJob whose job is complete only if its cluster still has what the job has written."""
        if not found.is_complete:
            return found
        name = str(at(found.rayjob, "status", "rayClusterName") or "")
        try:
            cluster = self._api.get(RAYCLUSTERS, self._namespace, name, deadline)
        except NotFoundError:
            cluster = None
        if cluster is None or at(cluster, "metadata", "deletionTimestamp"):
            said = at(found.rayjob, "metadata", "name")
            self._log.warning("RayJob %s has succeeded, but its cluster is deleted; the job is run again.", said)
            return None
        return found

    def _adopt(self, ids: CallIds, found: Found, deadline: Deadline) -> None:
        rayjob = found.rayjob
        self._job = job = created(RAYJOBS, self._namespace, rayjob)
        self._wish = Wish(RAYJOBS, self._namespace, (job.name,), "", lambda _: dict(rayjob), frozenset())
        self._is_submitted = bool(at(rayjob, "spec", "jobId"))
        self._log.info("Following %s, which an earlier attempt has left, for %s.", job.target, ids.submission_id)
        if self._call.cluster is not None:
            cluster = existing_cluster(self._api, self._namespace, self._call.cluster, deadline)
            self._job = with_cluster_spec(self._job, cluster)

    def _create(self, ids: CallIds, deadline: Deadline) -> None:
        call, settings = self._call, self._settings
        cluster = None
        if call.cluster is not None:
            cluster = existing_cluster(self._api, self._namespace, call.cluster, deadline)
        wish = wish_of(call.plain, call.cluster, ids, settings.rayjob, context=call.context, api=self._api)
        direct = goes_direct(settings.access, in_cluster=self._api.in_cluster, head_host=settings.head_host)
        features = ("pipes",) if direct else ("pipes", "port-forward")
        flight = Flight(wish, wish.render(wish.names[0]), features, is_driver=False)
        check(self._api, flight, settings.preflight, deadline, self._log)

        def forget() -> None:
            self._wish = None

        self._wish = wish
        with forgotten_if_refused(self._api, forget):
            self._job = create(self._api, wish, deadline, self._log)
        self._log.info("%s is created.", self._job.target)
        if cluster is not None:
            self._job = with_cluster_spec(self._job, cluster)

    def _wait(self, plan: WaitPlan, deadline: Deadline, opened: ExitStack) -> "tuple[ClusterWait, Route]":
        def keep(job: Created | None) -> None:
            self._job = job

        waiting, route = interactive_steps.wait(
            self._api, self._wanted, self._created, plan, keep, log=self._log, deadline=deadline
        )
        opened.callback(route.close)
        return waiting, route

    def _job_client(
        self, job: Created, waiting: ClusterWait, route: "Route", deadline: Deadline, *, opened: ExitStack
    ) -> RayJobClient:
        token = steps.token(self._api, job, waiting, deadline)
        seconds = max(_LEAST_CALL_SECONDS, deadline.remaining_seconds())
        client = RayJobClient(route.address, token=token, timeout=seconds, use_proxies=False)
        opened.callback(client.close)
        return client.patient(self._settings.run.patience.server_seconds)

    def _agent_route(self, cluster: str, opened: ExitStack, *, direct: bool) -> Callable[[str], str | None]:
        if not direct:
            agents = ForwardedAgents(self._api, self._namespace, cluster)
            opened.callback(agents.close)
            return agents.route
        # A host name for the head says nothing of the pods' own addresses.
        reachable = self._api.in_cluster or self._settings.head_host is None
        return lambda url: url if reachable else None

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
        self._is_submitted = True
        if self._watch is not None:
            self._watch.submitted(submission_id)

    @property
    def _created(self) -> Created:
        assert self._job is not None  # noqa: S101 - set by _create or _adopt
        return self._job

    @property
    def _wanted(self) -> Wish:
        assert self._wish is not None  # noqa: S101 - set by _create or _adopt
        return self._wish

    # The end

    def _end_after(self, error: BaseException | None) -> None:
        """Delete the RayJob, or leave it to the operator."""
        if self._wish is None:
            return
        if error is not None and self._is_submitted and self._settings.run.leaves_job(error):
            return  # the job goes on, for a retry
        policy = self._settings.rayjob.cleanup
        if policy == "always" or (policy == "on_exception" and error is not None and not self._left_to_operator(error)):
            try:
                steps.delete(self._api, self._wish, self._job, self._call.context, Deadline(_CLEANUP_SECONDS))
            except DagsterRayError as failed:
                self._log.warning("The RayJob could not be deleted: %s", failed)
            return
        self._shorten_life()

    def _left_to_operator(self, error: BaseException) -> bool:
        """Return whether the spec says what follows from a job that has failed, which the operator sees itself."""
        strategy = at(self._job.manifest, "spec", "deletionStrategy") if self._job is not None else None
        return bool(strategy) and isinstance(error, RayJobFailedError)

    def _shorten_life(self) -> None:
        if self._job is None or self._watch is None or self._call.cluster is not None:
            return
        seconds = final_ttl(self._call.plain, self._job.manifest)
        if seconds is not None:
            self._watch.shorten_life(seconds)
